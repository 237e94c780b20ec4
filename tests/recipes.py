"""The default recipe of training in tests, and how a step is cut into passes."""

from typing import Any

from harness.training.loop import Passes

RECIPE: dict[str, Any] = {
    "learning_rate": 1e-2,
    "schedule": "cosine",
    "warmup_ratio": 0.1,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "seed": 0,
}
PASSES = Passes(max_tokens=8192)
