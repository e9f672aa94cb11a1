"""The same tiny checkpoints as GGUF f32 files, in the conventions of the files that are published.

For the `llama` architecture the rows of q and k are reordered within each head, from halves (i, i + hd/2) to adjacent
pairs (2i, 2i + 1); the Qwen architectures keep their order. Llama 3's rope scaling becomes the tensor
`rope_freqs.weight`, the factors by which frequencies are divided. Experts become one 3-D tensor a projection.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from transformers import PreTrainedModel

from golden_cases import Case

ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "qwen3_moe": "qwen3moe"}
PRE_TOKENIZERS = {"llama": "llama-bpe", "mistral": "llama-bpe", "qwen2": "qwen2", "qwen3": "qwen2", "qwen3_moe": "qwen2"}

LAYER_TENSORS = {
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm.weight": "attn_q_norm.weight",
    "self_attn.k_norm.weight": "attn_k_norm.weight",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate.weight": "ffn_gate_inp.weight",
    "mlp.experts.down_proj": "ffn_down_exps.weight",
}


def write_gguf(path: Path, case: Case, model: PreTrainedModel) -> None:
    """Writes `model` (f32) to `path` as GGUF v3."""
    config = model.config
    writer = gguf.GGUFWriter(path, ARCHITECTURES[case.model_type])
    writer.add_name(case.name)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    write_shape(writer, case, config)
    write_rope(writer, config)
    write_vocabulary(writer, PRE_TOKENIZERS[case.model_type], config.vocab_size)
    for name, values in gguf_tensors(case, model):
        writer.add_tensor(name, np.ascontiguousarray(values, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_shape(writer: gguf.GGUFWriter, case: Case, config: Any) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    if ARCHITECTURES[case.model_type] == "llama":
        writer.add_rope_dimension_count(head_dim(config))
    if head_dim(config) * config.num_attention_heads != config.hidden_size or "qwen3" in case.model_type:
        writer.add_key_length(head_dim(config))
        writer.add_value_length(head_dim(config))
    if getattr(config, "sliding_window", None) is not None:
        writer.add_sliding_window(config.sliding_window)
    if case.model_type == "qwen3_moe":
        writer.add_expert_count(config.num_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)


def write_rope(writer: gguf.GGUFWriter, config: Any) -> None:
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])


def write_vocabulary(writer: gguf.GGUFWriter, pre_tokenizer: str, size: int) -> None:
    """A byte-level vocabulary of the small letters, space, newline, one merge and one control token."""
    words = [chr(code) for code in range(ord("a"), ord("z") + 1)] + ["Ġ", "Ċ", "th", "<|end|>"]
    end = len(words) - 1
    words += [f"[PAD{index}]" for index in range(len(words), size)]
    types = [gguf.TokenType.NORMAL] * end + [gguf.TokenType.CONTROL] + [gguf.TokenType.UNUSED] * (size - end - 1)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizer)
    writer.add_token_list(words)
    writer.add_token_types(types)
    writer.add_token_merges(["t h"])
    writer.add_eos_token_id(end)
    writer.add_add_bos_token(False)


def gguf_tensors(case: Case, model: PreTrainedModel) -> list[tuple[str, np.ndarray]]:
    """Every tensor under its GGUF name, q and k rows reordered where the architecture asks for it."""
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    tensors = []
    if config.rope_parameters["rope_type"] == "llama3":
        tensors.append(("rope_freqs.weight", llama3_factors(config)))
    for name, parameter in model.named_parameters():
        values = parameter.detach().numpy()
        projection = name.split(".")[-2]
        if ARCHITECTURES[case.model_type] == "llama" and projection in heads:
            values = halves_to_pairs(values, heads[projection])
        if name.endswith("experts.gate_up_proj"):
            gate, up = np.split(values, 2, axis=1)
            layer = name.split(".")[2]
            tensors.append((f"blk.{layer}.ffn_gate_exps.weight", gate))
            tensors.append((f"blk.{layer}.ffn_up_exps.weight", up))
            continue
        tensors.append((gguf_name(name), values))
    return tensors


def gguf_name(name: str) -> str:
    outside = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    if name in outside:
        return outside[name]
    layer, rest = name.removeprefix("model.layers.").split(".", 1)
    if rest in LAYER_TENSORS:
        return f"blk.{layer}.{LAYER_TENSORS[rest]}"
    module, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{LAYER_TENSORS[module]}.{kind}"


def halves_to_pairs(values: np.ndarray, heads: int) -> np.ndarray:
    """Rows (heads, 2, hd/2, …) to (heads, hd/2, 2, …): row i + hd/2 of a head moves beside row i."""
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)


def llama3_factors(config: Any) -> np.ndarray:
    """The divisor of each rotary frequency under Llama 3's scaling, (hd/2).

    Wavelengths under original/high are kept (1), those over original/low are divided by the factor, and between
    them the two frequencies are blended linearly in original/wavelength.
    """
    rope = config.rope_parameters
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    original, factor = rope["original_max_position_embeddings"], rope["factor"]
    factors = []
    for index in range(0, head_dim(config), 2):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (index / head_dim(config))
        blend = (original / wavelength - low) / (high - low)
        blend = min(max(blend, 0.0), 1.0)
        factors.append(1.0 / ((1.0 - blend) / factor + blend))
    return np.array(factors, dtype=np.float32)


def head_dim(config: Any) -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
