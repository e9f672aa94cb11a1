#!/usr/bin/env python3
"""Writes `testdata/encoders/`: tiny random encoders and what transformers computes with them.

    pip install -r tools/requirements.txt
    python tools/make_encoder_goldens.py [--out testdata/encoders]

Each folder holds a checkpoint as transformers saves it, the files of sentence-transformers where the case has them,
and `expected.safetensors` with `tokens` and `types` (all sequences one after another, i32), `lengths` (i32), `hidden`
(all tokens, hidden size, f32: the last layer's output, of a decoder after its final norm), and `vectors` (sequences,
hidden size: pooled, of length one) or `scores` (sequences, labels). Some hold the same weights as `model.gguf` too.

Every weight is drawn, none is neutral, and the generator checks that switching off what a case is for (token types,
positions, the look ahead, a bias, a norm) moves the result by far more than the tolerance of the tests.
"""

from __future__ import annotations

import argparse
import json
import shutil
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, PreTrainedModel

TOLERANCE = 2e-5
"""What tests allow: max |Δ| ≤ TOLERANCE · max |expected|."""

FILE_LIMIT = 64 * 1024
LENGTHS = (7, 1, 33, 50)
SHAPE = {
    "vocab_size": 60,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 64,
}


@dataclass
class Case:
    """One folder."""

    name: str
    about: str
    model_type: str
    config: dict[str, Any] = field(default_factory=dict)
    labels: int | None = None
    pooling: str | None = None
    dtype: str = "float32"
    gguf: bool = False


CASES = [
    Case("bert-mean", "BERT with token types, mean pooling", "bert", pooling="mean", gguf=True),
    Case("bert-cls-f16", "weights in f16, pooling by the first token", "bert", pooling="cls", dtype="float16"),
    Case("bert-scores", "a cross-encoder with a pooler", "bert", labels=1, gguf=True),
    Case("roberta-max", "positions from behind the padding, max pooling", "xlm-roberta", pooling="max",
         config={"max_position_embeddings": 66, "type_vocab_size": 1, "pad_token_id": 1}),
    Case("roberta-scores", "a classifier of XLM-RoBERTa with three labels", "xlm-roberta", labels=3,
         config={"max_position_embeddings": 66, "type_vocab_size": 1, "pad_token_id": 1}),
    Case("qwen3-last", "a decoder whose last hidden state is the vector, saved without its head", "qwen3",
         pooling="lasttoken", config={"num_key_value_heads": 1, "head_dim": 8, "tie_word_embeddings": False}),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "testdata" / "encoders")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for case in CASES:
        make(case, arguments.out / case.name)
    return 0


def make(case: Case, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = AutoConfig.for_model(case.model_type, **{**SHAPE, **case.config})
    config._attn_implementation = "eager"
    kind = AutoModel
    if case.labels is not None:
        config.num_labels = case.labels
        kind = AutoModelForSequenceClassification
    options = {"add_pooling_layer": False} if kind is AutoModel and case.model_type != "qwen3" else {}
    model = kind.from_config(config, **options).eval()
    randomize(model, torch.Generator().manual_seed(zlib.crc32(case.name.encode())))
    model.to(getattr(torch, case.dtype)).save_pretrained(folder)
    model = model.float()
    if case.pooling is not None:
        write_modules(folder, case)
    sequences, types = draw(case)
    expected = run(case, model, sequences, types)
    judge(case, model, sequences, types, expected)
    expected |= {
        "tokens": np.concatenate(sequences).astype(np.int32),
        "types": np.concatenate(types).astype(np.int32),
        "lengths": np.array([len(tokens) for tokens in sequences], dtype=np.int32),
    }
    save_file(expected, folder / "expected.safetensors", metadata={"about": case.about})
    if case.gguf:
        write_gguf(folder / "model.gguf", case, model)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            path.chmod(0o644)
            assert path.stat().st_size <= FILE_LIMIT, (path, path.stat().st_size)
    print(f"{case.name:16} {sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()):,} bytes")


def randomize(model: PreTrainedModel, generator: torch.Generator) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            normal = torch.randn(parameter.shape, generator=generator)
            if name.endswith("bias"):
                values = 0.3 * normal
            elif "norm" in name.lower():
                values = 0.5 + torch.rand(parameter.shape, generator=generator)
            elif "embed" in name:
                values = 0.6 * normal
            else:
                gain = 1.7 if any(part in name for part in ("query", "key", "q_proj", "k_proj")) else 1.0
                values = gain * normal / parameter.shape[-1] ** 0.5
            parameter.copy_(values)


def draw(case: Case) -> tuple[list[np.ndarray], list[np.ndarray]]:
    random = np.random.default_rng(zlib.crc32(case.name.encode()))
    kinds = case.config.get("type_vocab_size", 1 if case.model_type == "qwen3" else 2)
    sequences, types = [], []
    for length in LENGTHS:
        # Not the token of padding, behind which positions of RoBERTa would stop.
        sequences.append(random.integers(2, SHAPE["vocab_size"], length))
        second = np.arange(length) >= length // 2
        types.append(second.astype(np.int64) if kinds > 1 else np.zeros(length, dtype=np.int64))
    return sequences, types


def run(case: Case, model: PreTrainedModel, sequences: list, types: list) -> dict[str, np.ndarray]:
    """Each sequence alone: nothing is padded."""
    hidden, vectors, scores = [], [], []
    with torch.no_grad():
        for tokens, kinds in zip(sequences, types):
            inputs = {"input_ids": torch.tensor(tokens)[None]}
            if case.model_type != "qwen3":
                inputs["token_type_ids"] = torch.tensor(kinds)[None]
            result = model(**inputs, output_hidden_states=True)
            states = result.hidden_states[-1][0]
            hidden.append(states.numpy())
            if case.labels is not None:
                scores.append(result.logits[0].numpy())
            else:
                vectors.append(torch.nn.functional.normalize(pool(case.pooling, states), dim=-1).numpy())
    out = {"hidden": np.concatenate(hidden)}
    out |= {"scores": np.stack(scores)} if scores else {"vectors": np.stack(vectors)}
    return {name: np.ascontiguousarray(values, dtype=np.float32) for name, values in out.items()}


def pool(pooling: str, states: torch.Tensor) -> torch.Tensor:
    if pooling == "mean":
        return states.mean(dim=0)
    if pooling == "max":
        return states.max(dim=0).values
    return states[0 if pooling == "cls" else -1]


def judge(case: Case, model: PreTrainedModel, sequences: list, types: list, expected: dict) -> None:
    """Any one bias or norm made neutral, or other token types, must be seen in the result."""
    key = "scores" if case.labels is not None else "vectors"

    def moved(other: dict) -> float:
        return float(np.abs(other[key] - expected[key]).max() / np.abs(expected[key]).max())

    for name, parameter in model.named_parameters():
        # Softmax does not see what is added to all scores of a query alike.
        if name.endswith("key.bias") or not (name.endswith("bias") or "norm" in name.lower()):
            continue
        before = parameter.detach().clone()
        with torch.no_grad():
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
        change = moved(run(case, model, sequences, types))
        with torch.no_grad():
            parameter.copy_(before)
        assert change > 20 * TOLERANCE, (case.name, name, change)
    if any(kinds.any() for kinds in types):
        change = moved(run(case, model, sequences, [np.zeros_like(kinds) for kinds in types]))
        assert change > 20 * TOLERANCE, (case.name, "token types", change)
    backwards = [tokens[::-1].copy() for tokens in sequences]
    assert moved(run(case, model, backwards, types)) > 20 * TOLERANCE, (case.name, "positions")


def write_modules(folder: Path, case: Case) -> None:
    """The files of sentence-transformers, in their published form."""
    module = "sentence_transformers.models."
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": module + "Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": module + "Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": module + "Normalize"},
    ]
    modes = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "lasttoken": "lasttoken"}
    pooling = {f"pooling_mode_{name}": mode == case.pooling for mode, name in modes.items()}
    (folder / "1_Pooling").mkdir()
    write_json(folder / "modules.json", modules)
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": SHAPE["hidden_size"], **pooling})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 60, "do_lower_case": False})


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


GGUF_NAMES = [
    ("bert.", ""),
    ("embeddings.word_embeddings", "token_embd"),
    ("embeddings.position_embeddings", "position_embd"),
    ("embeddings.token_type_embeddings", "token_types"),
    ("embeddings.LayerNorm", "token_embd_norm"),
    ("encoder.layer.", "blk."),
    ("attention.self.query", "attn_q"),
    ("attention.self.key", "attn_k"),
    ("attention.self.value", "attn_v"),
    ("attention.output.dense", "attn_output"),
    ("attention.output.LayerNorm", "attn_output_norm"),
    ("intermediate.dense", "ffn_up"),
    ("output.dense", "ffn_down"),
    ("output.LayerNorm", "layer_output_norm"),
    ("pooler.dense", "cls"),
    ("classifier", "cls.output"),
]


def write_gguf(path: Path, case: Case, model: PreTrainedModel) -> None:
    """The names and keys that llama.cpp's converter writes."""
    config = model.config
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_name(case.name)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(60)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_layer_norm_eps(config.layer_norm_eps)
    writer.add_causal_attention(False)
    pooling = gguf.PoolingType.RANK if case.labels is not None else gguf.PoolingType.MEAN
    writer.add_pooling_type(pooling)
    for name, values in model.state_dict().items():
        for long, short in GGUF_NAMES:
            name = name.replace(long, short)
        writer.add_tensor(name, np.ascontiguousarray(values.numpy(), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    raise SystemExit(main())
