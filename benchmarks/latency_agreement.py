"""Do other tools time the same calls alike?

    python benchmarks/latency_agreement.py

The embedded model, base and unmerged with every role adapted, timed by the harness's own rounds and
by `torch.utils.benchmark`, in turns in one process: medians, interquartile ranges, and whether each
median lies inside the other's range. Where `optimum-benchmark` is installed, its prefill and decode
times of the base stand beside TTFT and TPOT. Writes benchmarks/results/latency-agreement.json.
"""

import argparse
import importlib.util
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.benchmark import Timer

from harness.adapters import write_random_adapter
from harness.config import ModelConfig
from harness.environment import describe_environment
from harness.models import embedded_folder, load_model, load_structure
from harness.modules import map_modules
from harness.target_sets import ROLES
from harness.timing.arms import Arm, build_models, line_up
from harness.timing.plan import Build, TimedAdapter

RESULTS = Path(__file__).resolve().parent / "results" / "latency-agreement.json"
BATCH, PROMPT_TOKENS, OUTPUT_TOKENS = 1, 64, 8


@dataclass(frozen=True)
class Spread:
    median: float
    """[s]"""
    lower_quartile: float
    upper_quartile: float

    @classmethod
    def of(cls, times: list[float]) -> "Spread":
        return cls(*(float(each) for each in np.quantile(times, [0.5, 0.25, 0.75])))

    def holds(self, value: float) -> bool:
        return self.lower_quartile <= value <= self.upper_quartile


def time_both(arm: Arm, input_ids: torch.Tensor, rounds: int) -> dict[str, Any]:
    """Time one arm by both, in turns, after two calls of each."""
    timer = Timer(
        "run(input_ids, output_tokens)",
        globals={
            "run": arm.decoder.run,
            "input_ids": input_ids,
            "output_tokens": OUTPUT_TOKENS,
        },
        num_threads=torch.get_num_threads(),  # its own default is one
    )
    own, theirs = [], []
    for number in range(-2, rounds):
        seconds = arm.decoder.run(input_ids, OUTPUT_TOKENS).last_seconds
        other = timer.timeit(1).median
        if number >= 0:
            own.append(seconds)
            theirs.append(other)
    ours, torch_benchmark = Spread.of(own), Spread.of(theirs)
    return {
        "arm": f"{arm.kind} {arm.variant}",
        "harness": asdict(ours),
        "torch_benchmark": asdict(torch_benchmark),
        "ratio_of_medians": ours.median / torch_benchmark.median,
        "medians_within_both_spreads": torch_benchmark.holds(ours.median)
        and ours.holds(torch_benchmark.median),
    }


def time_by_optimum(rounds: int) -> dict[str, Any]:
    """Prefill and decode of the base by optimum-benchmark, beside TTFT and TPOT taken after it."""
    from optimum_benchmark import Benchmark, BenchmarkConfig, InferenceConfig, PyTorchConfig
    from optimum_benchmark import InlineConfig as LauncherConfig

    folder = embedded_folder()
    report = Benchmark.launch(
        BenchmarkConfig(
            name="base",
            launcher=LauncherConfig(),
            backend=PyTorchConfig(
                model=folder, device="cpu", no_weights=False, torch_dtype=_own_dtype()
            ),
            scenario=InferenceConfig(
                latency=True,
                memory=False,
                input_shapes={"batch_size": BATCH, "sequence_length": PROMPT_TOKENS},
                generate_kwargs={
                    "max_new_tokens": OUTPUT_TOKENS,
                    "min_new_tokens": OUTPUT_TOKENS,
                },
                iterations=rounds,
                warmup_runs=3,
                duration=0,
            ),
        )
    )
    return {
        "prefill_seconds": float(np.median(report.prefill.latency.values)),
        "decode_seconds": float(np.median(report.decode.latency.values)),
    }


def _own_dtype() -> str:
    return str(load_model(ModelConfig()).model.dtype).removeprefix("torch.")


def run(rounds: int) -> dict[str, Any]:
    spec = ModelConfig()
    structure = load_structure(spec)
    mapped = map_modules(structure.model, structure.config, {})
    with tempfile.TemporaryDirectory() as folder:
        write_random_adapter(
            structure.model,
            mapped.select(ROLES),
            Path(folder),
            rank=8,
            alpha=16,
            seed=0,
            base_name="embedded",
        )
        model = load_model(spec).model
        build = Build(spec, (TimedAdapter("all", folder, False),))
        built = build_models(model, build)
    generator = torch.Generator().manual_seed(0)
    input_ids = torch.randint(40_000, (BATCH, PROMPT_TOKENS), generator=generator)
    arms = [arm for arm in line_up(built, build, BATCH) if arm.kind in ("base", "unmerged")]
    result: dict[str, Any] = {
        "batch": BATCH,
        "prompt_tokens": PROMPT_TOKENS,
        "output_tokens": OUTPUT_TOKENS,
        "rounds": rounds,
        "torch_benchmark": [time_both(arm, input_ids, rounds) for arm in arms],
        "environment": describe_environment(torch.device("cpu")),
    }
    if importlib.util.find_spec("optimum_benchmark"):
        base = next(arm for arm in arms if arm.is_base)
        theirs = [time_by_optimum(rounds)]
        calls = [base.decoder.run(input_ids, OUTPUT_TOKENS) for _ in range(rounds + 2)][2:]
        theirs.append(time_by_optimum(rounds))
        result["optimum_benchmark"] = {
            "runs": theirs,
            "prefill_seconds": float(np.median([call.first_seconds for call in calls])),
            "decode_seconds": float(
                np.median([call.last_seconds - call.first_seconds for call in calls])
            ),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    result = run(parser.parse_args().rounds)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({k: v for k, v in result.items() if k != "environment"}, indent=2))


if __name__ == "__main__":
    main()
