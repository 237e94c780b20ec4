"""Do other tools time the same calls alike?

    python benchmarks/latency_agreement.py

The embedded model, base and unmerged with every role adapted, timed by the harness's decoder and by
`torch.utils.benchmark`, in turns in one process: medians, interquartile ranges, and whether each
median lies inside the other's range. And the base by transformers' own `generate`, as
optimum-benchmark 0.6 times it (prefill: one new token; decode: the further ones), beside TTFT and
the time after it; optimum-benchmark itself cannot be imported beside transformers 5. Writes
benchmarks/results/latency-agreement.json.
"""

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.benchmark import Timer

from harness.adapters.storage import write_random_adapter
from harness.config.schema import AdapterConfig, ModelConfig
from harness.models.devices import describe_environment
from harness.models.loading import load_model, load_structure
from harness.models.projections import map_modules
from harness.timing.arms import Arm, build_models, line_up
from harness.timing.points import Build, TimedAdapter

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


def time_by_generate(arm: Arm, input_ids: torch.Tensor, rounds: int) -> dict[str, Any]:
    """Prefill and decode by `generate`, in turns with the harness's decoder."""
    generate = partial(
        arm.model.generate,
        input_ids,
        attention_mask=torch.ones_like(input_ids),
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )

    def clock(tokens: int) -> float:
        started = time.perf_counter()
        generate(max_new_tokens=tokens, min_new_tokens=tokens)
        return time.perf_counter() - started

    own, prefills, wholes = [], [], []
    for number in range(-2, rounds):
        times = arm.decoder.run(input_ids, OUTPUT_TOKENS), clock(1), clock(OUTPUT_TOKENS)
        if number >= 0:
            for kept, value in zip((own, prefills, wholes), times, strict=True):
                kept.append(value)
    prefill, ttft = np.median(prefills), np.median([each.first_seconds for each in own])
    decode = np.median(np.subtract(wholes, prefills))
    rest = np.median([each.last_seconds - each.first_seconds for each in own])
    return {
        "prefill_seconds": float(prefill),
        "ttft_seconds": float(ttft),
        "ttft_against_prefill": float(ttft / prefill),
        "decode_seconds": float(decode),
        "after_first_token_seconds": float(rest),
        "decode_ratio": float(rest / decode),
    }


def run(rounds: int) -> dict[str, Any]:
    spec = ModelConfig()
    structure = load_structure(spec)
    mapped = map_modules(structure.model, structure.config, {})
    with tempfile.TemporaryDirectory() as folder:
        write_random_adapter(
            structure.model,
            mapped.select(mapped.roles),
            AdapterConfig(rank=8, alpha=16),
            Path(folder),
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
    base = next(arm for arm in arms if arm.is_base)
    result["generate"] = time_by_generate(base, input_ids, rounds)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    result = run(parser.parse_args().rounds)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({k: v for k, v in result.items() if k != "environment"}, indent=2))


if __name__ == "__main__":
    main()
