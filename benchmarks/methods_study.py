"""The study of adapter methods: each on its target sets, at rates tuned for each variant.

    python benchmarks/methods_study.py
    python -m harness.report results/methods

One sweep, so that all variants are timed in one session: LoRA, rsLoRA, DoRA, PiSSA, LoRA-FA and
full fine-tuning on o_proj, o_proj+fc2 and all; bottleneck adapters on the two that they have;
prefix tuning on the model as a whole. FinCoT's embedded questions, three seeds. Further arguments
are overrides of all variants.
"""

import argparse
import sys

from harness.config.composing import compose
from harness.config.schema import Config
from harness.sweep.process_server import start_server
from harness.sweep.run import run_sweep

SETS = ("o_proj", "o_proj+fc2", "all")
ARMS = {
    "lora": SETS,
    "rslora": SETS,
    "dora": SETS,
    "pissa": SETS,
    "lora_fa": SETS,
    "full": SETS,
    "bottleneck": SETS[:2],
    "prefix": ("model",),
}
MIDDLES = {"lora_fa": 2e-3, "pissa": 6e-4, "full": 2e-4, "bottleneck": 3e-3, "prefix": 6e-3}
"""Of the grids: a model of 135M in a dozen steps wants more than the papers' rates."""
SEEDS = (0, 1, 2)

RECIPE = (
    *("task=fincot", "study=methods", "train.learning_rate=tuned", "train.warmup_ratio=0"),
    *("task.train_examples=24", "task.test_examples=64", "task.max_prompt_tokens=320"),
    *("task.max_completion_tokens=64", "train.batch_size=2", "train.tuning_rates=3"),
    *("train.tuning_most=6", "train.validation_examples=32"),
    *("latency.fresh_processes=false", "latency.mixed=false", "latency.min_processes=1"),
    *("latency.half_width=0.05", "latency.max_seconds=900"),
    *("latency.prompt_tokens=96", "latency.output_tokens=4"),
)


def make_configs(overrides: list[str]) -> list[Config]:
    return [
        compose(
            [
                *(f"adapter={method}", f"target_modules={target_set}", f"seed={seed}"),
                f"adapter.learning_rate={MIDDLES.get(method, 2e-3)}",
                *RECIPE,
                *overrides,
            ]
        )
        for method, sets in ARMS.items()
        for target_set in sets
        for seed in SEEDS
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*", help="Hydra overrides of every variant")
    arguments = parser.parse_args()
    start_server()
    outcomes = run_sweep(make_configs(arguments.overrides), in_processes=True)
    return 0 if all(outcome.status == "ok" for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
