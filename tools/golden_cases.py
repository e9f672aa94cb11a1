"""The tiny checkpoints that `make_goldens.py` writes, as data: one `Case` for each shape that has to be right.

Every case names the feature it is there for, and `without`, config values that switch that feature off: the
generator checks that the logits then differ, so that a reader that ignores the feature cannot pass.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """One tiny checkpoint: a transformers config, a seed, the length of the run and the forms it is written in."""

    name: str
    model_type: str
    about: str
    config: dict[str, Any]
    tokens: int = 12
    without: dict[str, Any] = field(default_factory=dict)
    published_keys: bool = False
    """Write config.json with `rope_theta`, `rope_scaling` and `torch_dtype`, as the published models have it."""
    gguf: bool = False
    dtype: str = "float32"
    shard_bytes: int | None = None


def llama(name: str, about: str, *, config: dict[str, Any] | None = None, **more: Any) -> Case:
    base = {
        "vocab_size": 41,
        "hidden_size": 16,
        "intermediate_size": 20,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "tie_word_embeddings": True,
    }
    return Case(name, "llama", about, base | (config or {}), **more)


def mistral(name: str, about: str, *, config: dict[str, Any] | None = None, **more: Any) -> Case:
    base = llama(name, about).config | {"sliding_window": None}
    return Case(name, "mistral", about, base | (config or {}), **more)


def qwen2(name: str, about: str, *, config: dict[str, Any] | None = None, **more: Any) -> Case:
    base = {
        "vocab_size": 41,
        "hidden_size": 16,
        "intermediate_size": 20,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
        "tie_word_embeddings": True,
    }
    return Case(name, "qwen2", about, base | (config or {}), **more)


def qwen3(name: str, about: str, *, config: dict[str, Any] | None = None, **more: Any) -> Case:
    return Case(name, "qwen3", about, QWEN3 | (config or {}), **more)


def qwen3_moe(name: str, about: str, *, config: dict[str, Any] | None = None, **more: Any) -> Case:
    base = QWEN3 | {
        "moe_intermediate_size": 10,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    }
    return Case(name, "qwen3_moe", about, base | (config or {}), **more)


QWEN3 = {
    "vocab_size": 41,
    "hidden_size": 20,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
    "tie_word_embeddings": True,
    "attention_bias": False,
}

# Llama 3.1's scaling with the lengths divided by 128: with heads of 16 at base 10000 the wavelengths run from
# 6.3 to 20,000, so that all three of its ranges (kept, blended, divided) hold at least one frequency.
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}

YARN_ROPE = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 32,
}

PLAIN_ROPE = {"rope_type": "default", "rope_theta": 10000.0}

LLAMA_CASES = [
    llama(
        "llama-mha",
        "as many KV heads as heads, untied head, three layers",
        config={
            "hidden_size": 18,
            "intermediate_size": 20,
            "num_hidden_layers": 3,
            "num_attention_heads": 3,
            "num_key_value_heads": 3,
            "tie_word_embeddings": False,
        },
    ),
    llama(
        "llama-gqa",
        "two query heads to a KV head, tied embeddings, a vocabulary of 97",
        config={
            "vocab_size": 97,
            "hidden_size": 32,
            "intermediate_size": 20,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
        },
    ),
    llama(
        "llama-one-kv-head",
        "five heads over one KV head, a single layer, published config keys",
        config={"hidden_size": 40, "num_attention_heads": 5, "num_hidden_layers": 1, "tie_word_embeddings": False},
        published_keys=True,
    ),
    llama(
        "llama-wide-heads",
        "head_dim 12 where hidden/heads is 4",
        config={"head_dim": 12, "num_attention_heads": 4, "intermediate_size": 12},
        gguf=True,
    ),
    llama(
        "llama-odd-sizes",
        "no size is a multiple of 32 or 8: hidden 20, heads of 10, FFN 27, vocabulary 61; a single layer",
        config={
            "vocab_size": 61,
            "hidden_size": 20,
            "intermediate_size": 27,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "tie_word_embeddings": False,
        },
    ),
    llama(
        "llama-rope-theta",
        "rope_theta 500 and a norm epsilon large enough to show, published config keys",
        config={"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}, "rms_norm_eps": 0.01},
        without={"rope_parameters": PLAIN_ROPE},
        published_keys=True,
    ),
    llama(
        "llama-rope-llama3",
        "Llama 3.1 rope scaling, positions past the original context",
        config={"head_dim": 16, "num_hidden_layers": 1, "rope_parameters": LLAMA3_ROPE},
        tokens=68,
        without={"rope_parameters": PLAIN_ROPE},
        gguf=True,
    ),
    llama(
        "llama-rope-llama3-published",
        "the same scaling in published config keys, untied head",
        config={
            "hidden_size": 24,
            "num_hidden_layers": 1,
            "num_attention_heads": 3,
            "rope_parameters": LLAMA3_ROPE | {"factor": 32.0, "original_max_position_embeddings": 32},
            "tie_word_embeddings": False,
        },
        tokens=40,
        without={"rope_parameters": PLAIN_ROPE},
        published_keys=True,
    ),
    llama(
        "llama-rope-linear",
        "linear rope scaling (positions divided by 2.5), published config keys (`type` instead of `rope_type`)",
        config={"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.5}},
        tokens=24,
        without={"rope_parameters": PLAIN_ROPE},
        published_keys=True,
        gguf=True,
    ),
    llama(
        "llama-rope-yarn",
        "yarn, positions past the original context",
        config={"head_dim": 16, "num_hidden_layers": 1, "rope_parameters": YARN_ROPE},
        tokens=40,
        without={"rope_parameters": PLAIN_ROPE},
        gguf=True,
    ),
    llama(
        "llama-rope-yarn-options",
        "yarn with its own attention factor, beta_fast and beta_slow and unrounded correction range",
        config={
            "hidden_size": 24,
            "num_hidden_layers": 1,
            "rope_parameters": YARN_ROPE
            | {"attention_factor": 1.25, "beta_fast": 4.0, "beta_slow": 0.5, "truncate": False},
        },
        tokens=40,
        without={"rope_parameters": YARN_ROPE},
    ),
    llama(
        "llama-bias",
        "attention_bias (q, k, v and o) and mlp_bias (gate, up and down)",
        config={"attention_bias": True, "mlp_bias": True},
        gguf=True,
    ),
    llama(
        "llama-bf16",
        "bf16 weights in several shards with an index; the logits are those of the bf16 values in f32",
        config={"tie_word_embeddings": False},
        dtype="bfloat16",
        shard_bytes=4_000,
    ),
    llama(
        "llama-f16",
        "f16 weights in one file; the logits are those of the f16 values in f32",
        dtype="float16",
        published_keys=True,
    ),
]

MISTRAL_CASES = [
    mistral(
        "mistral-window",
        "a window of 7 in every layer, over positions of two blocks",
        config={"sliding_window": 7},
        tokens=40,
        without={"sliding_window": None},
        gguf=True,
    ),
]

QWEN2_CASES = [
    qwen2(
        "qwen2-window",
        "a window of 5 from the second layer on, published config keys",
        config={"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
        tokens=40,
        without={"use_sliding_window": False},
        published_keys=True,
    ),
    qwen2("qwen2-tied", "bias on q, k and v, tied embeddings", gguf=True),
    qwen2(
        "qwen2-untied",
        "bias on q, k and v, untied head, published config keys with the sliding window that is switched off",
        config={
            "hidden_size": 24,
            "num_attention_heads": 3,
            "tie_word_embeddings": False,
            "vocab_size": 67,
        },
        published_keys=True,
    ),
    qwen2(
        "qwen2-rope-yarn",
        "yarn as the long-context note of Qwen2.5 sets it, published config keys",
        config={"hidden_size": 32, "num_key_value_heads": 2, "num_hidden_layers": 1, "rope_parameters": YARN_ROPE},
        tokens=40,
        without={"rope_parameters": PLAIN_ROPE},
        published_keys=True,
    ),
]

QWEN3_CASES = [
    qwen3(
        "qwen3-window",
        "a window of 34 in the first of two layers, named by layer_types",
        config={
            "use_sliding_window": True,
            "sliding_window": 34,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        tokens=68,
        without={"use_sliding_window": False, "layer_types": ["full_attention", "full_attention"]},
    ),
    qwen3("qwen3-tied", "QK norm, heads × head_dim = 24 over a hidden size of 20, tied embeddings", gguf=True),
    qwen3(
        "qwen3-untied",
        "QK norm, two heads to a KV head, untied head, published config keys",
        config={"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": False, "num_hidden_layers": 1},
        published_keys=True,
    ),
    qwen3(
        "qwen3-rope-yarn",
        "QK norm with yarn, positions past the original context",
        config={"head_dim": 16, "num_attention_heads": 2, "num_key_value_heads": 1, "rope_parameters": YARN_ROPE},
        tokens=40,
        without={"rope_parameters": PLAIN_ROPE},
    ),
    qwen3(
        "qwen3-bias",
        "attention_bias on q, k, v and o beside QK norm",
        config={"attention_bias": True},
    ),
]

QWEN3_MOE_CASES = [
    qwen3_moe(
        "qwen3moe-window",
        "a window of 6 in every layer",
        config={"num_hidden_layers": 1, "use_sliding_window": True, "sliding_window": 6, "moe_intermediate_size": 8},
        tokens=20,
        without={"use_sliding_window": False},
    ),
    qwen3_moe(
        "qwen3moe-norm",
        "8 experts, top 2, weights renormalised over the chosen",
        config={"num_hidden_layers": 1},
        without={"norm_topk_prob": False},
        gguf=True,
    ),
    qwen3_moe(
        "qwen3moe-raw",
        "8 experts, top 2, weights as the softmax gives them, untied head, published config keys",
        config={"num_hidden_layers": 1, "norm_topk_prob": False, "tie_word_embeddings": False},
        without={"norm_topk_prob": True},
        published_keys=True,
    ),
    qwen3_moe(
        "qwen3moe-sparse-step",
        "decoder_sparse_step 2: layers 1 and 3 have experts, layers 0 and 2 a dense FFN; top 3 of 5",
        config={
            "num_hidden_layers": 4,
            "decoder_sparse_step": 2,
            "num_experts": 5,
            "num_experts_per_tok": 3,
            "moe_intermediate_size": 8,
            "intermediate_size": 16,
            "hidden_size": 16,
        },
    ),
    qwen3_moe(
        "qwen3moe-mlp-only",
        "mlp_only_layers [0]: a dense first layer, then experts",
        config={"mlp_only_layers": [0], "moe_intermediate_size": 8, "hidden_size": 16, "intermediate_size": 20},
    ),
]

CASES = LLAMA_CASES + MISTRAL_CASES + QWEN2_CASES + QWEN3_CASES + QWEN3_MOE_CASES
