#!/usr/bin/env python3
"""Writes `testdata/sampling.json`: which tokens transformers' logits processors keep of random rows of logits.

    pip install -r tools/requirements.txt
    python tools/make_sampler_goldens.py [--out testdata/sampling.json]

`rows` are logits, `seen` the tokens of prompt and answer. A case holds parameters under the names that requests use
and for each row `kept`, the ids that are left, ascending; `penalized` holds rows after the repetition penalty alone.
The processors run in the order of transformers' own generation loop. Rows whose outcome would hang on rounding are
drawn anew: where a change of MARGIN in a parameter would keep other tokens.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

VOCABULARY = 97
ROWS = 6
MARGIN = 1e-4
"""Relative change of the cut's parameter that must not change what is kept; f32 rounding is a thousandth of it."""

SEEN = [3, 5, 8, 13, 21, 34, 55, 89, 3, 5]

CASES: list[dict[str, Any]] = [
    {"temperature": 1.0, "top_k": 7},
    {"temperature": 0.7, "top_p": 0.9},
    {"temperature": 1.6, "top_p": 0.5},
    {"temperature": 1.0, "min_p": 0.05},
    {"temperature": 1.5, "min_p": 0.2},
    {"temperature": 1.0, "typical_p": 0.95},
    {"temperature": 1.0, "typical_p": 0.5},
    {"temperature": 0.6, "typical_p": 0.2},
    {"temperature": 2.0, "typical_p": 0.2},
    {"temperature": 1.2, "top_k": 30, "top_p": 0.8},
    {"temperature": 1.2, "top_k": 30, "typical_p": 0.6},
    {"temperature": 0.9, "top_k": 40, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.2},
]


def processors(case: dict[str, Any]) -> LogitsProcessorList:
    made = LogitsProcessorList()
    if "repetition_penalty" in case:
        made.append(RepetitionPenaltyLogitsProcessor(case["repetition_penalty"]))
    made.append(TemperatureLogitsWarper(case["temperature"]))
    if "top_k" in case:
        made.append(TopKLogitsWarper(case["top_k"]))
    if "top_p" in case:
        made.append(TopPLogitsWarper(case["top_p"]))
    if "min_p" in case:
        made.append(MinPLogitsWarper(case["min_p"]))
    if "typical_p" in case:
        made.append(TypicalLogitsWarper(case["typical_p"]))
    return made


def kept(case: dict[str, Any], row: torch.Tensor) -> list[int]:
    scores = processors(case)(torch.tensor([SEEN]), row[None].clone())[0]
    return torch.nonzero(torch.isfinite(scores)).flatten().tolist()


def penalize(factor: float, row: torch.Tensor) -> list[float]:
    return RepetitionPenaltyLogitsProcessor(factor)(torch.tensor([SEEN]), row[None].clone())[0].tolist()


def is_clear(case: dict[str, Any], row: torch.Tensor) -> bool:
    """Whether a small change of any cut keeps the same tokens."""
    cuts = [name for name in ("top_p", "min_p", "typical_p") if name in case]
    nearby = [case | {name: case[name] * (1 + sign * MARGIN)} for name in cuts for sign in (-1, 1)]
    return all(kept(other, row) == kept(case, row) for other in nearby)


def rows() -> torch.Tensor:
    generator = torch.Generator().manual_seed(20)
    found: list[torch.Tensor] = []
    while len(found) < ROWS:
        # Flat, peaked and in between.
        spread = [0.5, 2.0, 4.0][len(found) % 3]
        row = torch.randn(VOCABULARY, generator=generator) * spread
        row = (row * 1024).round() / 1024
        if len(set(row.tolist())) == VOCABULARY and all(is_clear(case, row) for case in CASES):
            found.append(row)
    return torch.stack(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "testdata" / "sampling.json")
    arguments = parser.parse_args()
    logits = rows()
    cases = [{"params": case, "kept": [kept(case, row) for row in logits]} for case in CASES]
    for case in cases:
        assert min(len(ids) for ids in case["kept"]) < VOCABULARY, f"{case['params']} removes nothing"
    penalized = [
        {"row": row, "factor": factor, "logits": penalize(factor, logits[row])}
        for row, factor in ((1, 1.3), (2, 0.8))
    ]
    document = {"seen": SEEN, "rows": logits.tolist(), "cases": cases, "penalized": penalized}
    arguments.out.write_text(json.dumps(document) + "\n")


if __name__ == "__main__":
    main()
