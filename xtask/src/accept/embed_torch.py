"""Embeds with transformers as sentence-transformers does: the mean of the last hidden states over
the tokens that are there, scaled to length 1.

argv: the model's folder, threads, texts together. Each line of standard input is a JSON list of
texts; each line of standard output says in how many seconds they were embedded, and the vectors."""

import json
import sys
import time

import torch
from transformers import AutoModel, AutoTokenizer

folder, threads, together = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(threads)
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()


def embed(texts):
    batch = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
    mask = batch["attention_mask"].unsqueeze(-1).float()
    hidden = model(**batch).last_hidden_state
    mean = (hidden * mask).sum(1) / mask.sum(1)
    return torch.nn.functional.normalize(mean, dim=1).tolist()


with torch.inference_mode():
    for line in sys.stdin:
        texts = json.loads(line)
        begun = time.perf_counter()
        # Texts of alike length together, so that little is padded.
        order = sorted(range(len(texts)), key=lambda at: -len(texts[at]))
        vectors = [None] * len(texts)
        for first in range(0, len(order), together):
            places = order[first : first + together]
            for place, vector in zip(places, embed([texts[at] for at in places])):
                vectors[place] = vector
        seconds = time.perf_counter() - begun
        print(json.dumps({"seconds": seconds, "vectors": vectors}), flush=True)
