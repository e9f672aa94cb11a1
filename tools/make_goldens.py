#!/usr/bin/env python3
"""Writes `testdata/models/`: tiny random checkpoints and what transformers computes with them.

    pip install -r tools/requirements.txt
    python tools/make_goldens.py [--out testdata/models] [--only NAME ...]

Each folder holds `config.json` and the weights as transformers saves them, and `expected.safetensors` with
`tokens` (T, i32), `logits` (T, vocabulary, f32) at every position and `hidden.0` to `hidden.N` (T, hidden size,
f32): `hidden.0` is the embedding output, `hidden.i` the output of layer i, `hidden.N` before the final norm.
Some hold the same weights as `model.gguf` too.

The weights are drawn so that nothing is neutral: norm weights lie in [0.5, 1.5], biases are not zero, attention is
not flat. Before anything is written the generator checks that the case can judge: the logits change when the
feature it is there for is switched off or a single bias or norm is made neutral, no arg-max and no expert choice is a
near tie, and the reference's own rounding is far below the tolerance that tests use.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from golden_cases import CASES, Case
from golden_gguf import write_gguf

TOLERANCE = 2e-4
"""What tests allow: max |Δlogit| ≤ TOLERANCE · max |logit|."""

FILE_LIMIT = 64 * 1024
FOLDER_LIMIT = 1280 * 1024

Run = dict[str, np.ndarray]


class Unfit(Exception):
    """These weights cannot judge an implementation; another seed may."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "testdata" / "models")
    parser.add_argument("--only", nargs="*", default=None, help="names of cases; default all")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    for case in CASES:
        if arguments.only is None or case.name in arguments.only:
            make(case, arguments.out / case.name)
    total = sum(path.stat().st_size for path in arguments.out.rglob("*") if path.is_file())
    print(f"{len(CASES)} cases, {total:,} bytes under {arguments.out}")
    if total > FOLDER_LIMIT:
        raise SystemExit(f"expected at most {FOLDER_LIMIT:,} bytes under {arguments.out}, found {total:,}")
    return 0


def make(case: Case, folder: Path) -> None:
    """Writes one case, with the first seed whose weights can judge."""
    for attempt in range(20):
        seed = zlib.crc32(case.name.encode()) + attempt
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        try:
            summary = make_with_seed(case, folder, seed)
        except Unfit as reason:
            print(f"  {case.name}: seed {seed}: {reason}", file=sys.stderr)
            continue
        print(f"{case.name:28} seed {seed:10} {summary}")
        return
    raise SystemExit(f"{case.name}: no seed of 20 gives weights that can judge")


def make_with_seed(case: Case, folder: Path, seed: int) -> str:
    model = build(case.model_type, case.config)
    randomize(model, torch.Generator().manual_seed(seed))
    save(case, model, folder)

    # Everything below uses the folder as written, so that what is tested is what a reader finds.
    model = load(case, folder)
    tokens = draw_tokens(case, model.config.vocab_size, seed)
    run = forward(model, tokens)
    summary = check(case, model, tokens, run)
    save_file(run, folder / "expected.safetensors", metadata={"about": case.about})
    if case.gguf:
        write_gguf(folder / "model.gguf", case, model)
    for path in folder.iterdir():
        path.chmod(0o644)
        if path.stat().st_size > FILE_LIMIT:
            raise SystemExit(f"expected {path} to be at most {FILE_LIMIT:,} bytes, found {path.stat().st_size:,}")
    return summary


def build(model_type: str, values: dict[str, Any]) -> PreTrainedModel:
    config = AutoConfig.for_model(model_type, **values)
    return AutoModelForCausalLM.from_config(config, **plain_forms(model_type)).eval()


def randomize(model: PreTrainedModel, generator: torch.Generator) -> None:
    """Draws every parameter by its role; scales keep the residual stream near 1 and the logits within about ±10."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            normal = torch.randn(parameter.shape, generator=generator)
            uniform = torch.rand(parameter.shape, generator=generator)
            if "norm" in name:
                values = 0.5 + uniform
            elif name.endswith("bias"):
                values = 0.4 * normal
            elif "embed_tokens" in name:
                values = 0.6 * normal
            else:
                # Queries and keys are drawn larger, so that attention is far from flat and positions matter.
                gain = 1.7 if ("q_proj" in name or "k_proj" in name or name.endswith("mlp.gate.weight")) else 1.0
                gain = 1.5 if "lm_head" in name else gain
                values = gain * normal / parameter.shape[-1] ** 0.5
            parameter.copy_(values)


def save(case: Case, model: PreTrainedModel, folder: Path) -> None:
    options: dict[str, Any] = {}
    if case.shard_bytes is not None:
        options["max_shard_size"] = case.shard_bytes
    model.to(getattr(torch, case.dtype)).save_pretrained(folder, **options)
    (folder / "generation_config.json").unlink(missing_ok=True)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    if case.published_keys:
        config = with_published_keys(case.model_type, config)
    path.write_text(json.dumps(config, indent=2) + "\n")


def with_published_keys(model_type: str, config: dict[str, Any]) -> dict[str, Any]:
    """The same values under the keys that the hub's config.json files carry, written before transformers 5."""
    config = dict(config)
    config["torch_dtype"] = config.pop("dtype")
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    kind = rope.pop("rope_type")
    if kind == "default":
        config["rope_scaling"] = None
    elif kind == "linear" or model_type == "qwen2":
        config["rope_scaling"] = {"type": kind, **rope}
    else:
        config["rope_scaling"] = {"rope_type": kind, **rope}
    if model_type == "qwen2":
        if not config["use_sliding_window"]:
            config |= {"use_sliding_window": False, "sliding_window": 64, "max_window_layers": 1}
        config.pop("layer_types", None)
    if model_type == "qwen3_moe" and "num_local_experts" in config:
        config["num_experts"] = config.pop("num_local_experts")
    if model_type == "llama":
        # The published files leave out what has its default value.
        if not config["tie_word_embeddings"]:
            config.pop("tie_word_embeddings")
        if config["head_dim"] * config["num_attention_heads"] == config["hidden_size"]:
            config.pop("head_dim")
    config["transformers_version"] = "4.51.0"
    return dict(sorted(config.items()))


def load(case: Case, folder: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, **plain_forms(case.model_type)).eval()


def plain_forms(model_type: str) -> dict[str, Any]:
    """f32 and the reference's own plain loops, no fused forms."""
    forms = {"attn_implementation": "eager", "dtype": torch.float32}
    if "moe" in model_type:
        forms["experts_implementation"] = "eager"
    return forms


def draw_tokens(case: Case, vocab_size: int, seed: int) -> np.ndarray:
    """T ids that include the first and the last of the vocabulary, and one id twice in a row."""
    tokens = np.random.default_rng(seed).integers(0, vocab_size, case.tokens).astype(np.int32)
    tokens[0], tokens[2] = 1, 0
    tokens[-2] = vocab_size - 1
    tokens[4] = tokens[3]
    return tokens


def forward(model: PreTrainedModel, tokens: np.ndarray) -> Run:
    """One pass without a cache. Hooks take the hidden states: `output_hidden_states` ends after the final norm."""
    hidden: list[torch.Tensor] = []

    def take(_module: torch.nn.Module, _inputs: Any, output: Any) -> None:
        hidden.append(output[0] if isinstance(output, tuple) else output)

    handles = [model.model.embed_tokens.register_forward_hook(take)]
    handles += [layer.register_forward_hook(take) for layer in model.model.layers]
    with torch.no_grad():
        logits = model(input_ids=torch.from_numpy(tokens.astype(np.int64))[None], use_cache=False).logits[0]
    for handle in handles:
        handle.remove()

    run: Run = {"tokens": tokens, "logits": logits.float().numpy().copy()}
    for index, state in enumerate(hidden):
        run[f"hidden.{index}"] = state.reshape(len(tokens), -1).float().numpy().copy()
    return run


def can_judge(model: PreTrainedModel, tokens: np.ndarray, run: Run) -> str:
    """Raises `Unfit` where rounding could decide; returns a line of numbers."""
    logits = run["logits"]
    largest = float(np.abs(logits).max())
    if not np.isfinite(logits).all() or not 2.0 < largest < 60.0:
        raise Unfit(f"largest |logit| is {largest:.2f}")

    top = np.sort(logits, axis=-1)
    gap = float((top[:, -1] - top[:, -2]).min()) / largest
    if gap < 10 * TOLERANCE:
        raise Unfit(f"arg-max is decided by {gap:.1e} of the largest logit")

    noise = distance(forward(model.double(), tokens), run)
    model.float()
    if noise > TOLERANCE / 10:
        raise Unfit(f"rounding in f32 alone moves the logits by {noise:.1e}")
    return f"max {largest:5.2f}  gap {gap:.1e}  f32 noise {noise:.1e}"


def check(case: Case, model: PreTrainedModel, tokens: np.ndarray, run: Run) -> str:
    """Raises `Unfit` unless these weights tell a right implementation from a wrong one; returns a line of numbers."""
    line = can_judge(model, tokens, run)
    weakest = weakest_vector(model, tokens, run)
    if weakest < 10 * TOLERANCE:
        raise Unfit(f"a bias or a norm moves the logits by {weakest:.1e} only")
    routing = expert_margin(model, tokens)
    if routing < 2e-3:
        raise Unfit(f"the choice of an expert is decided by {routing:.1e}")

    line += f"  weakest vector {weakest:.1e}"
    if case.without:
        effect = distance(run_with(case, model, tokens), run)
        if effect < 50 * TOLERANCE:
            raise Unfit(f"without {', '.join(case.without)} the logits move by {effect:.1e} only")
        line += f"  feature {effect:.1e}"
    return line


def distance(other: Run, run: Run) -> float:
    """max |Δlogit| relative to max |logit|."""
    return float(np.abs(other["logits"] - run["logits"]).max() / np.abs(run["logits"]).max())


def run_with(case: Case, model: PreTrainedModel, tokens: np.ndarray) -> Run:
    """The same weights under the config with the feature switched off."""
    other = build(case.model_type, case.config | case.without)
    other.load_state_dict(model.state_dict())
    return forward(other, tokens)


def weakest_vector(model: PreTrainedModel, tokens: np.ndarray, run: Run) -> float:
    """The smallest effect on the logits of making one bias zero or one norm weight one."""
    effects = [1.0]
    for name, parameter in model.named_parameters():
        if parameter.dim() != 1:
            continue
        kept = parameter.detach().clone()
        with torch.no_grad():
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
            effects.append(distance(forward(model, tokens), run))
            parameter.copy_(kept)
    return min(effects)


def expert_margin(model: PreTrainedModel, tokens: np.ndarray) -> float:
    """The smallest difference in probability between the last expert chosen and the first one not; 1 without experts."""
    margins = [1.0]

    def take(module: torch.nn.Module, _inputs: Any, output: Any) -> None:
        ordered = output[0].softmax(-1).sort(-1, descending=True).values
        if module.top_k == ordered.shape[-1]:
            return
        margins.append(float((ordered[:, module.top_k - 1] - ordered[:, module.top_k]).min()))

    gates = [module for name, module in model.named_modules() if name.endswith("mlp.gate")]
    handles = [gate.register_forward_hook(take) for gate in gates]
    forward(model, tokens)
    for handle in handles:
        handle.remove()
    return min(margins)


if __name__ == "__main__":
    sys.exit(main())
