#!/usr/bin/env python3
"""Makes the golden files beside it: random blocks of every type and what they decode to.

The reference is the `gguf` package of the llama.cpp project: pip install gguf==0.19.0 numpy
Each `NAME.decode` holds: block count (u32), the blocks, the decoded f32 values, all little-endian.
Each `NAME.encode` holds: value count (u32), f32 values, the blocks that the reference encodes them to.
"""

import pathlib

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import quants

HERE = pathlib.Path(__file__).parent
RANDOM = np.random.default_rng(20240607)

# Byte offsets of the half-precision fields of a block.
HALVES = {
    T.F32: [], T.F16: [0], T.BF16: [],
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0],
    T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
    T.IQ4_NL: [0], T.IQ4_XS: [0],
}
# Scales at the edges of half precision: zeros, subnormals, the largest, and one of each sign.
EXTREMES = [0.0, -0.0, 6e-8, -6e-8, 3e-5, 65504.0, -65504.0, 1.0, -1.0, 0.333]
N_DECODE = {T.F32: 64, T.F16: 256, T.BF16: 64}


def random_blocks(kind):
    block_bytes = quants.GGML_QUANT_SIZES[kind][1]
    count = N_DECODE.get(kind, 16)
    blocks = RANDOM.integers(0, 256, (count, block_bytes), dtype=np.uint8)
    # All-zero and all-one codes.
    blocks[0, :] = 0
    blocks[1, :] = 255
    for field, at in enumerate(HALVES[kind]):
        usual = RANDOM.normal(0, 0.02, count)
        values = usual.astype(np.float16)
        for i in range(min(len(EXTREMES), count - 2)):
            values[i + 2] = EXTREMES[(i + 3 * field) % len(EXTREMES)]
        blocks[:, at : at + 2] = values.view(np.uint8).reshape(-1, 2)
    if kind in (T.F32, T.BF16):
        # No NaN: their payloads are not part of the definition.
        blocks[:, -1] &= 0xBF
    return blocks


def write_decode(kind):
    blocks = random_blocks(kind)
    if kind == T.F32:
        values = blocks.view("<f4")
    elif kind == T.F16:
        values = blocks.view("<f2").astype(np.float32)
    else:
        values = quants.dequantize(blocks, kind)
    assert not np.isnan(values).any(), kind
    data = np.uint32(len(blocks)).tobytes() + blocks.tobytes() + values.astype("<f4").tobytes()
    (HERE / f"{kind.name}.decode").write_bytes(data)


def write_encode(kind):
    values = RANDOM.normal(0, 0.05, (8, 32)).astype(np.float32)
    values[1] = 0
    values[2] = RANDOM.normal(0, 1000, 32)
    values[3] = np.abs(values[3])
    values[4] = -np.abs(values[4])
    values[5, 7] = 3.0
    values = values.reshape(-1)
    blocks = quants.quantize(values, kind)
    data = np.uint32(values.size).tobytes() + values.astype("<f4").tobytes() + blocks.tobytes()
    (HERE / f"{kind.name}.encode").write_bytes(data)


for kind in HALVES:
    write_decode(kind)
for kind in (T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0):
    write_encode(kind)
