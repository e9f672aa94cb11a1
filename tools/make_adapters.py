#!/usr/bin/env python3
"""Writes `testdata/adapters/`: tiny random adapters over `testdata/models/` and what PEFT computes with them.

    pip install -r tools/requirements.txt
    python tools/make_adapters.py [--out testdata/adapters] [--only NAME ...]

Each folder holds `adapter_config.json` and `adapter_model.safetensors` as PEFT saves them, with the name of the base's
folder as `base_model_name_or_path`, and `expected.safetensors` as `make_goldens.py` writes it, of base and adapter.
Some hold the same adapter as `adapter.gguf` too, in the conventions of llama.cpp.

Nothing is neutral: A and B are random. Before anything is written the generator checks that the case can judge: leaving
out any single pair, or the feature the case is there for, moves the logits by far more than the tolerance.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import zlib
from pathlib import Path

import gguf
import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.numpy import load_file as load_numpy
from safetensors.numpy import save_file
from safetensors.torch import load_file, save_file as save_torch
from transformers import PreTrainedModel

from adapter_cases import ADAPTER_CASES, AdapterCase
from golden_cases import CASES
from golden_gguf import ARCHITECTURES, gguf_name, halves_to_pairs
from make_goldens import TOLERANCE, Run, Unfit, can_judge, distance, forward, load

FILE_LIMIT = 32 * 1024
PREFIX = "base_model.model."
BASES = {case.name: case for case in CASES}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    testdata = Path(__file__).parent.parent / "testdata"
    parser.add_argument("--out", type=Path, default=testdata / "adapters")
    parser.add_argument("--models", type=Path, default=testdata / "models")
    parser.add_argument("--only", nargs="*", default=None, help="names of cases; default all")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for case in ADAPTER_CASES:
        if arguments.only is None or case.name in arguments.only:
            make(case, arguments.models / case.base, arguments.out / case.name)
    return 0


def make(case: AdapterCase, base: Path, folder: Path) -> None:
    """Writes one case, with the first seed whose adapter can judge."""
    for attempt in range(20):
        seed = zlib.crc32(case.name.encode()) + attempt
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        try:
            summary = make_with_seed(case, base, folder, seed)
        except Unfit as reason:
            print(f"  {case.name}: seed {seed}: {reason}", file=sys.stderr)
            continue
        print(f"{case.name:24} seed {seed:10} {summary}")
        return
    raise SystemExit(f"{case.name}: no seed of 20 gives an adapter that can judge")


def make_with_seed(case: AdapterCase, base: Path, folder: Path, seed: int) -> str:
    tokens = load_numpy(base / "expected.safetensors")["tokens"]
    save_adapter(case, base, folder, seed)

    # Everything below uses the folder as written, so that what is tested is what a reader finds.
    model = with_adapter(base, folder)
    run = forward(model, tokens)
    summary = check(case, base, folder, model, tokens, run)
    save_file(run, folder / "expected.safetensors", metadata={"about": case.about})
    if case.gguf:
        write_gguf(case, base, folder)
    for path in folder.iterdir():
        path.chmod(0o644)
        if path.stat().st_size > FILE_LIMIT:
            raise SystemExit(f"expected {path} to be at most {FILE_LIMIT:,} bytes, found {path.stat().st_size:,}")
    return summary


def base_model(base: Path) -> PreTrainedModel:
    return load(BASES[base.name], base)


def with_adapter(base: Path, folder: Path) -> PreTrainedModel:
    """The base with PEFT's layers in place."""
    return PeftModel.from_pretrained(base_model(base), folder).get_base_model().eval()


def save_adapter(case: AdapterCase, base: Path, folder: Path, seed: int) -> None:
    config = LoraConfig(task_type="CAUSAL_LM", **case.config)
    model = get_peft_model(base_model(base), config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                # So that B·A is about half as large as a weight.
                fan_in = parameter.shape[-1]
                parameter.copy_(0.7 * torch.randn(parameter.shape, generator=generator) / fan_in**0.5)
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    weights = folder / "adapter_model.safetensors"
    save_torch({name: value.to(getattr(torch, case.dtype)) for name, value in load_file(weights).items()}, weights)
    change_config(folder, {"base_model_name_or_path": base.name})


def change_config(folder: Path, values: dict[str, object]) -> None:
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text()) | values
    if isinstance(config["target_modules"], list):
        # PEFT keeps a set, whose order changes from run to run.
        config["target_modules"].sort()
    path.write_text(json.dumps(config, indent=2, sort_keys=False) + "\n")


def check(case: AdapterCase, base: Path, folder: Path, model: PreTrainedModel, tokens: np.ndarray, run: Run) -> str:
    """Raises `Unfit` unless this adapter tells a right implementation from a wrong one; returns a line of numbers."""
    line = can_judge(model, tokens, run)
    weakest = weakest_pair(model, tokens, run)
    if weakest < 10 * TOLERANCE:
        raise Unfit(f"a pair moves the logits by {weakest:.1e} only")
    line += f"  weakest pair {weakest:.1e}"
    if case.without:
        effect = without(case, base, folder, tokens, run)
        if effect < 50 * TOLERANCE:
            raise Unfit(f"without {', '.join(case.without)} the logits move by {effect:.1e} only")
        line += f"  feature {effect:.1e}"
    return line


def weakest_pair(model: PreTrainedModel, tokens: np.ndarray, run: Run) -> float:
    """The smallest effect on the logits of making one B zero."""
    effects = []
    for name, parameter in model.named_parameters():
        if ".lora_B." not in name:
            continue
        kept = parameter.detach().clone()
        with torch.no_grad():
            parameter.zero_()
            effects.append(distance(forward(model, tokens), run))
            parameter.copy_(kept)
    return min(effects)


def without(case: AdapterCase, base: Path, folder: Path, tokens: np.ndarray, run: Run) -> float:
    """The same matrices under the configuration with the feature switched off."""
    other = folder.with_name(folder.name + "-without")
    shutil.copytree(folder, other)
    try:
        change_config(other, case.without)
        return distance(forward(with_adapter(base, other), tokens), run)
    finally:
        shutil.rmtree(other)


def write_gguf(case: AdapterCase, base: Path, folder: Path) -> None:
    """One alpha for all: that of the configuration, times √r where PEFT divides by √r and the format by r."""
    model = base_model(base)
    architecture = ARCHITECTURES[BASES[base.name].model_type]
    writer = gguf.GGUFWriter(folder / "adapter.gguf", architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    alpha = case.config["lora_alpha"] * (case.config["r"] ** 0.5 if case.config.get("use_rslora") else 1)
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(alpha))
    heads = {"q_proj": model.config.num_attention_heads, "k_proj": model.config.num_key_value_heads}
    for name, value in sorted(load_file(folder / "adapter_model.safetensors").items()):
        module, half = name.removeprefix(PREFIX).removesuffix(".weight").rsplit(".", 1)
        values = value.float().numpy()
        projection = module.rsplit(".", 1)[1]
        if half == "lora_B" and architecture == "llama" and projection in heads:
            values = halves_to_pairs(values, heads[projection])
        target = gguf_name(f"{module}.weight")
        writer.add_tensor(f"{target}.{half.lower()}", np.ascontiguousarray(values, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    sys.exit(main())
