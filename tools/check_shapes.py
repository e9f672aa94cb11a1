#!/usr/bin/env python3
"""Draws random shapes of the supported families and compares `freehold trace` with transformers on each.

    pip install -r tools/requirements.txt
    cargo build --release
    python tools/check_shapes.py target/release/freehold [--count 40] [--seed 1] [--keep FOLDER]

Where `make_goldens.py` fixes the shapes that have to be right, this looks for those that nobody thought of: sizes
that are no multiple of anything, every rope scaling, both forms of config keys, f32, f16 and bf16, shards, GGUF.
Every hidden state is compared, so that a failure names the first layer that is wrong. Exit code 1 if any differs.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file
from transformers.utils import logging

from golden_cases import Case
from golden_gguf import write_gguf
from make_goldens import TOLERANCE, build, draw_tokens, expert_margin, forward, load, randomize, save


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("freehold", type=Path, help="the binary")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1, help="of the first shape; the others count up")
    parser.add_argument("--keep", type=Path, default=None, help="a folder for the checkpoints that differ")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()

    failures = 0
    for seed in range(arguments.seed, arguments.seed + arguments.count):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "model"
            problem = check_shape(arguments.freehold, draw_case(seed), folder, seed)
            if problem is None:
                continue
            failures += 1
            print(f"FAILED seed {seed}: {problem}")
            if arguments.keep is not None:
                shutil.copytree(folder, arguments.keep / f"seed-{seed}", dirs_exist_ok=True)
    print(f"{arguments.count - failures} of {arguments.count} shapes agree")
    return 1 if failures else 0


def check_shape(freehold: Path, case: Case, folder: Path, seed: int) -> str | None:
    """Writes a checkpoint and compares each of its forms; the difference in words, or None."""
    folder.mkdir(parents=True)
    model = build(case.model_type, case.config)
    randomize(model, torch.Generator().manual_seed(seed))
    save(case, model, folder)
    model = load(case, folder)
    tokens = draw_tokens(case, case.config["vocab_size"], seed)
    if expert_margin(model, tokens) < 1e-5:
        print(f"skipped: seed {seed}: a choice of experts is a near tie")
        return None
    expected = forward(model, tokens)
    forms = [folder]
    if case.gguf:
        forms.append(folder / "model.gguf")
        write_gguf(forms[-1], case, model)
    for form in forms:
        problem = compare(freehold, form, expected, folder / "traced.safetensors")
        if problem is not None:
            return f"{form.name}: {problem}; {case.about}"
    print(f"seed {seed}: {case.about}")
    return None


def compare(freehold: Path, model: Path, expected: dict[str, np.ndarray], out: Path) -> str | None:
    ids = ",".join(str(token) for token in expected["tokens"])
    command = [freehold, "trace", model, "--tokens", ids, "--layers", "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return f"exit code {done.returncode}: {done.stderr.strip()}"
    found = load_file(out)
    layers = sum(1 for name in expected if name.startswith("hidden."))
    for name in [f"hidden.{index}" for index in range(layers)] + ["logits"]:
        if name not in found:
            return f"no {name}"
        if found[name].shape != expected[name].shape:
            return f"{name}: expected the shape {expected[name].shape}, found {found[name].shape}"
        difference = float(np.abs(found[name] - expected[name]).max() / np.abs(expected[name]).max())
        # Not `>`: a NaN has to fail.
        if not difference <= TOLERANCE:
            row = int(np.abs(found[name] - expected[name]).max(axis=1).argmax())
            return f"{name} differs by {difference:.1e} of its largest value, first at position {row}"
    return None


def draw_case(seed: int) -> Case:
    """A case of any family; the same seed gives the same case."""
    draw = random.Random(seed)
    model_type = draw.choice(["llama", "qwen2", "qwen3", "qwen3_moe"])
    config = draw_sizes(draw, model_type)
    tokens = draw.randint(5, 120)
    config["max_position_embeddings"] = 4 * tokens
    config["rope_parameters"] = draw_rope(draw, tokens)
    config["rms_norm_eps"] = draw.choice([1e-6, 1e-5, 1e-3])
    config["tie_word_embeddings"] = draw.random() < 0.5
    if model_type == "llama":
        config |= {"attention_bias": draw.random() < 0.3, "mlp_bias": draw.random() < 0.3}
    if model_type == "qwen3":
        config["attention_bias"] = draw.random() < 0.2
    if model_type == "qwen3_moe":
        config |= draw_experts(draw, config["num_hidden_layers"])
    published = draw.random() < 0.5
    dtype = draw.choice(["float32", "float32", "bfloat16", "float16"])
    shard_bytes = draw.choice([None, None, 20_000])
    about = f"{model_type}, {tokens} tokens, {config}, published keys {published}, {dtype}, shards {shard_bytes}"
    return Case(
        name=f"seed-{seed}",
        model_type=model_type,
        about=about,
        config=config,
        tokens=tokens,
        published_keys=published,
        gguf=fits_gguf(model_type, config),
        dtype=dtype,
        shard_bytes=shard_bytes,
    )


def draw_sizes(draw: random.Random, model_type: str) -> dict[str, Any]:
    kv_heads = draw.randint(1, 4)
    heads = kv_heads * draw.randint(1, 4)
    head_dim = 2 * draw.randint(2, 20)
    sizes: dict[str, Any] = {
        "vocab_size": draw.randint(33, 400),
        "hidden_size": heads * head_dim,
        "intermediate_size": draw.randint(5, 150),
        "num_hidden_layers": draw.randint(1, 4),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
    }
    if model_type.startswith("qwen3"):
        sizes |= {"head_dim": head_dim, "hidden_size": draw.randint(7, 200)}
    elif model_type == "llama" and draw.random() < 0.4:
        # This family wants a hidden size that the heads divide, even where head_dim is given.
        sizes |= {"head_dim": head_dim, "hidden_size": heads * draw.randint(3, 30)}
    return sizes


def draw_rope(draw: random.Random, tokens: int) -> dict[str, Any]:
    rope: dict[str, Any] = {"rope_theta": draw.choice([500.0, 10000.0, 1000000.0])}
    kind = draw.choice(["default", "default", "linear", "llama3", "yarn"])
    rope["rope_type"] = kind
    original = max(4, draw.randint(tokens // 3, tokens))
    if kind != "default":
        rope["factor"] = draw.choice([2.0, 4.0, 8.0])
    if kind == "llama3":
        rope |= {"low_freq_factor": 1.0, "high_freq_factor": draw.choice([2.0, 4.0])}
        rope["original_max_position_embeddings"] = original
    if kind == "yarn":
        rope["original_max_position_embeddings"] = original
        options = {"attention_factor": 1.5, "beta_fast": 8.0, "beta_slow": 2.0, "truncate": False}
        rope |= {key: value for key, value in options.items() if draw.random() < 0.2}
    return rope


def draw_experts(draw: random.Random, layers: int) -> dict[str, Any]:
    experts = draw.randint(2, 12)
    return {
        "moe_intermediate_size": draw.randint(4, 40),
        "num_experts": experts,
        "num_experts_per_tok": draw.randint(1, min(experts, 8)),
        "norm_topk_prob": draw.random() < 0.6,
        "decoder_sparse_step": draw.choice([1, 1, 2]),
        "mlp_only_layers": [index for index in range(layers) if draw.random() < 0.1],
    }


def fits_gguf(model_type: str, config: dict[str, Any]) -> bool:
    """Whether the GGUF files of that architecture can say all of this."""
    rope = config["rope_parameters"]
    plain_yarn = not {"attention_factor", "beta_fast", "beta_slow", "truncate"} & set(rope)
    scaling = rope["rope_type"] in ("default", "linear", "yarn") or model_type == "llama"
    every_layer_alike = config.get("decoder_sparse_step", 1) == 1 and not config.get("mlp_only_layers")
    renormalised = config.get("norm_topk_prob", True)
    biased = model_type.startswith("qwen3") and config.get("attention_bias", False)
    return plain_yarn and scaling and every_layer_alike and renormalised and not biased


if __name__ == "__main__":
    sys.exit(main())
