#!/usr/bin/env python3
"""Writes `testdata/minilm.safetensors`: what transformers makes of some texts with all-MiniLM-L6-v2.

    pip install -r tools/requirements.txt
    python tools/make_minilm_golden.py FOLDER [--out testdata/minilm.safetensors]

FOLDER is the model as `cargo xtask test` fetches it. The texts stand in the file's own metadata, `vectors` is
(texts, 384) in f32: the mean over the last hidden states, of length one, each text computed alone.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModel, AutoTokenizer

TEXTS = [
    "Own your AI.",
    "The quick brown fox jumps over the lazy dog.",
    "A house that is owned outright is freehold.",
    "Ein Haus, das einem ganz gehört: naïve café, Ångström, 東京 and emoji 🙂.",
    "fn main() { println!(\"{}\", 1 + 2); } // [CLS] is no special token here",
    "What does the fox jump over?",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    " ".join(f"Sentence number {number} says that rain in Spain stays mainly in the plain." for number in range(12)),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "testdata" / "minilm.safetensors")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(arguments.folder)
    model = AutoModel.from_pretrained(arguments.folder, add_pooling_layer=False).eval()
    vectors = []
    with torch.no_grad():
        for text in TEXTS:
            # Text from users never becomes a special token.
            inputs = tokenizer(text, return_tensors="pt", split_special_tokens=True)
            assert inputs["input_ids"].shape[1] <= 256, "the model is made for so many tokens"
            hidden = model(**inputs).last_hidden_state[0]
            vectors.append(torch.nn.functional.normalize(hidden.mean(dim=0), dim=-1))
    save_file({"vectors": torch.stack(vectors)}, arguments.out, metadata={"texts": json.dumps(TEXTS)})
    arguments.out.chmod(0o644)


if __name__ == "__main__":
    main()
