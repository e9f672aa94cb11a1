"""The tiny adapters that `make_adapters.py` writes, as data: one `AdapterCase` for each thing that has to be right."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class AdapterCase:
    """One adapter over one of the checkpoints of `testdata/models`."""

    name: str
    base: str
    about: str
    config: dict[str, Any]
    """Of PEFT's `LoraConfig`."""
    without: dict[str, Any] = field(default_factory=dict)
    """Values that switch off what the case is there for; ranks stay. The generator checks that the logits then differ."""
    gguf: bool = False
    """Written as GGUF too; only where one alpha says all."""
    dtype: str = "float32"


ADAPTER_CASES = [
    AdapterCase(
        "llama-all-linear",
        "llama-mha",
        "every linear layer, alpha over rank",
        {"r": 4, "lora_alpha": 6, "target_modules": ALL_LINEAR},
        without={"lora_alpha": 4},
        gguf=True,
    ),
    AdapterCase(
        "llama-rslora",
        "llama-rope-llama3",
        "alpha over the root of the rank, a rank that is no power of two",
        {"r": 3, "lora_alpha": 2, "use_rslora": True, "target_modules": "all-linear"},
        without={"use_rslora": False},
        gguf=True,
    ),
    AdapterCase(
        "llama-patterns",
        "llama-mha",
        "ranks and alphas by pattern: an end of a name, an anchored name and an expression; the first that matches counts",
        {
            "r": 2,
            "lora_alpha": 3,
            "target_modules": ["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"],
            "rank_pattern": {"v_proj": 1, r"layers\.1\..*down_proj": 5, "^model.layers.0.mlp.up_proj": 3},
            "alpha_pattern": {r"layers\.[01]\.self_attn\.(q|o)_proj": 7, "q_proj": 1.5, "layers.1.mlp.down_proj": 9.5},
        },
        without={"alpha_pattern": {}},
    ),
    AdapterCase(
        "llama-bias-expression",
        "llama-bias",
        "beside biases; modules selected by one expression",
        {"r": 2, "lora_alpha": 4, "target_modules": r".*\.(self_attn\.k_proj|self_attn\.o_proj|mlp\.gate_proj|mlp\.down_proj)"},
        gguf=True,
    ),
    AdapterCase(
        "qwen3-subset",
        "qwen3-tied",
        "QK norm; three modules of the second layer alone",
        {"r": 4, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj", "down_proj"], "layers_to_transform": [1]},
        gguf=True,
    ),
    AdapterCase(
        "qwen3-bf16",
        "qwen3-tied",
        "QK norm; bf16 matrices, and one module excluded; the logits are those of the bf16 values in f32",
        {"r": 5, "lora_alpha": 5, "target_modules": "all-linear", "exclude_modules": ["k_proj"]},
        dtype="bfloat16",
    ),
    AdapterCase(
        "qwen2-qkv",
        "qwen2-tied",
        "queries, keys and values beside their biases, of different ranks",
        {"r": 3, "lora_alpha": 3, "target_modules": ["q_proj", "k_proj", "v_proj"], "rank_pattern": {"k_proj": 1, "v_proj": 4}},
    ),
    AdapterCase(
        "qwen3moe-attention",
        "qwen3moe-norm",
        "attention of a mixture of experts",
        {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]},
        gguf=True,
    ),
]
