"""Where does the time of a packed training step, a scoring pass and a packed generation go?

    python benchmarks/step_profile.py
    python benchmarks/step_profile.py --avx2

Five target sets (qkv, o_proj, qkv+o_proj, o_proj+fc2, all) at rank 8 on the embedded model, with
the rows of `experiment=quickstart`: one training step of MedMCQA and one of invoice_ocr, the
scoring of one batch of MedMCQA, and the first tokens that invoice_ocr writes. One thread, and the
process's CPU time, so that other work on the machine disturbs little; medians over `--rounds`.

Time is told apart by torch.profiler, whose shares are laid on the time of undisturbed rounds.
`--avx2` holds PyTorch, MKL and oneDNN to AVX2, on a CPU that has more, in fp32.

Figures go to benchmarks/results/step-profile-<instructions>-<dtype>.json.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function
from transformers import AttentionInterface

from harness.adapters.attach import attach_adapter
from harness.config.composing import compose
from harness.evaluation.generation import WritingRules, decode
from harness.evaluation.respondents import Respondents
from harness.evaluation.scoring import choose
from harness.models.devices import describe_environment
from harness.models.loading import LoadedModel, load_model
from harness.sweep.plan import VariantPlan, plan_sweep
from harness.training.loop import Passes, Recipe, train_pack
from harness.training.packed_model import BASE_ROW, Pack, PackedProjection

RESULTS = Path(__file__).resolve().parent / "results"
AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
}
SETS = ("qkv", "o_proj", "qkv+o_proj", "o_proj+fc2", "all")
WRITTEN_TOKENS = 16

# Innermost first: an operation belongs to the first of these that it runs under.
OF_BACKWARD = {
    "Mm": "frozen projections, backward",
    "Addmm": "frozen projections, backward",
    "Bmm": "adapters' products, backward",
    "_AddProducts": "adapters' products, backward",
    "Attention": "attention, backward",
    "Softmax": "attention, backward",
    "Normalise": "norms, backward",
    "Rsqrt": "norms, backward",
    "Mean": "norms, backward",
    "Pow": "norms, backward",
    "Silu": "MLP's activation, backward",
    "AccumulateGrad": "adapters' products, backward",
}


def make_plans(task: str, dtype: str) -> list[VariantPlan]:
    shared = ["experiment=quickstart", "latency=off", f"task={task}", "results_dir=/nowhere"]
    shared += ["variables.size=l", f"model.dtype={dtype}"]
    return list(
        plan_sweep([compose([*shared, f"target_modules={each}"]) for each in SETS]).variants
    )


def make_pack(plans: list[VariantPlan], loaded: LoadedModel) -> Pack:
    members = [
        attach_adapter(loaded.model, p.projections, p.adapter, seed=0, steps=len(p.steps))
        for p in plans
    ]
    with torch.no_grad():
        for member in members:
            for name, weight in member.named_parameters():
                if "lora_B" in name:  # Else the first step is shared by all.
                    weight.normal_(std=1e-4)
    return Pack(loaded.model, members)


def make_step(plans: list[VariantPlan], loaded: LoadedModel) -> Callable[[], None]:
    """One training step of the pack, on the step of median length."""
    pack, first = make_pack(plans, loaded), plans[0]
    rows = first.prepared.train
    steps = sorted(first.steps, key=lambda step: max(rows[i].length for i in step))
    examples = [rows[i] for i in steps[len(steps) // 2]]
    recipe = Recipe([examples], 1e-6, "constant", 0.0, 0.0, 1.0, 0)

    def run() -> None:
        train_pack(
            pack,
            [recipe] * len(plans),
            Passes(first.max_tokens_per_pass),
            pad_token_id=0,
        )

    run.pack, run.tokens = pack, len(plans) * sum(item.length for item in examples)  # type: ignore[attr-defined]
    return run


def make_scoring(plans: list[VariantPlan], loaded: LoadedModel) -> Callable[[], None]:
    pack = make_pack(plans, loaded)
    pack.eval()
    rows = sorted(plans[0].prepared.test, key=lambda item: len(item.prompt_ids))
    batch = rows[len(rows) // 2 :][:5]
    owners = [BASE_ROW, *range(len(plans))]
    respondents = Respondents(pack, owners, loaded.tokenizer)

    def run() -> None:
        choose(respondents, batch)

    run.pack, run.tokens = pack, len(owners) * sum(len(item.prompt_ids) for item in batch)  # type: ignore[attr-defined]
    return run


def make_generation(plans: list[VariantPlan], loaded: LoadedModel) -> Callable[[], None]:
    pack = make_pack(plans, loaded)
    pack.eval()
    batch = plans[0].prepared.test[:16]
    owners = [owner for owner in (BASE_ROW, *range(len(plans))) for _ in batch]
    prompts = [item.prompt_ids for item in batch] * (len(plans) + 1)
    rules = WritingRules.of(loaded.model, loaded.tokenizer, WRITTEN_TOKENS)

    def run() -> None:
        with torch.inference_mode():
            decode(pack, owners, prompts, rules)

    run.pack, run.tokens = pack, sum(map(len, prompts)) + len(owners) * WRITTEN_TOKENS  # type: ignore[attr-defined]
    return run


def find_part(module: nn.Module, path: str) -> str | None:
    """What the time under a module counts as, outside of its children with parts of their own."""
    name = type(module).__name__
    if isinstance(module, PackedProjection):
        return "adapters' products, forward"
    if path.endswith("lm_head"):
        return "head and loss"
    if isinstance(module, nn.Linear):
        return "frozen projections, forward"
    if name.endswith("Norm"):
        return "norms, forward"
    if name.endswith("RotaryEmbedding"):
        return "RoPE, residuals, reshapes"
    if name.endswith("MLP"):
        return "MLP's activation, forward"
    if name.endswith("DecoderLayer"):
        return "RoPE, residuals, reshapes"
    return None


@contextmanager
def parts_named(model: Any) -> Iterator[None]:
    """Put a profiler's label around each module, and around attention itself."""
    handles, open_labels = [], []

    def enter(label: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            scope = record_function(f"part:{label}")
            scope.__enter__()  # type: ignore[no-untyped-call]
            open_labels.append(scope)

        return hook

    def leave(*_: Any) -> None:
        open_labels.pop().__exit__(None, None, None)

    for path, module in model.named_modules():
        if label := find_part(module, path):
            handles.append(module.register_forward_pre_hook(enter(label)))
            handles.append(module.register_forward_hook(leave, always_call=True))
    name = model.config._attn_implementation
    attend = AttentionInterface()[name]

    def labelled(*args: Any, **kwargs: Any) -> Any:
        with record_function("part:attention, forward"):
            return attend(*args, **kwargs)

    AttentionInterface.register(name, labelled)
    try:
        yield
    finally:
        AttentionInterface.register(name, attend)
        for handle in handles:
            handle.remove()


def name_part(event: Any) -> str:
    """The part that an operation's own time belongs to: that of its nearest parent with one."""
    while event is not None:
        if event.name.startswith("part:"):
            return str(event.name.removeprefix("part:"))
        if event.name.startswith("Optimizer.step"):
            return "optimizer and clipping"
        if event.name.startswith("autograd::engine::evaluate_function: "):
            node = event.name.removeprefix("autograd::engine::evaluate_function: ")
            named = (part for key, part in OF_BACKWARD.items() if key in node)
            return next(named, "RoPE, residuals, reshapes")
        event = event.cpu_parent
    return "rest: Python, batches, clipping"


def split_time(run: Any) -> dict[str, float]:
    """Share of a run's time by part."""
    with parts_named(run.pack.model), profile(activities=[ProfilerActivity.CPU]) as profiler:
        started = time.perf_counter()
        run()
        whole = (time.perf_counter() - started) * 1e6
    spent: dict[str, float] = defaultdict(float)
    for event in profiler.events():
        spent[name_part(event)] += event.self_cpu_time_total
    spent["rest: Python, batches, clipping"] += max(0.0, whole - sum(spent.values()))
    total = sum(spent.values())
    return {part: value / total for part, value in spent.items()}


def measure(run: Any, rounds: int) -> dict[str, Any]:
    run()
    seconds, system, shares = [], [], []
    for _ in range(rounds):
        before, kernel = time.process_time(), os.times().system
        run()
        seconds.append(time.process_time() - before)
        system.append(os.times().system - kernel)
        shares.append(split_time(run))
    whole = statistics.median(seconds)
    parts = {
        part: statistics.median(each.get(part, 0.0) for each in shares)
        for part in set().union(*shares)
    }
    total = sum(parts.values())
    return {
        "tokens": run.tokens,
        "cpu_seconds": whole,
        "cpu_seconds_of_rounds": seconds,
        "cpu_seconds_in_the_system": statistics.median(system),
        "parts": {
            part: {"seconds": whole * share / total, "share": share / total}
            for part, share in sorted(parts.items(), key=lambda item: -item[1])
        },
    }


def measure_peak() -> float:
    """Operations a CPU second of a square fp32 product."""
    left, best = torch.randn(1024, 1024), 1e9
    for _ in range(5):
        started = time.process_time()
        left @ left
        best = min(best, time.process_time() - started)
    return float(2 * 1024**3 / best)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--avx2", action="store_true", help="hold the libraries to AVX2")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.avx2 and not AVX2.items() <= os.environ.items():
        # Libraries read these as they are loaded.
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | AVX2)
    torch.set_num_threads(1)
    # By `auto` it would go by the CPU, not by what the libraries are held to.
    dtype = "float32" if options.avx2 else "auto"
    of_task = {task: make_plans(task, dtype) for task in ("medmcqa", "invoice_ocr")}
    loaded = load_model(of_task["medmcqa"][0].config.model)
    works = {
        "training step, medmcqa": make_step(of_task["medmcqa"], loaded),
        "training step, invoice_ocr": make_step(of_task["invoice_ocr"], loaded),
        "scoring of five questions, medmcqa": make_scoring(of_task["medmcqa"], loaded),
        f"{WRITTEN_TOKENS} tokens written, invoice_ocr": make_generation(
            of_task["invoice_ocr"], loaded
        ),
    }
    dtype = str(loaded.model.dtype).removeprefix("torch.")
    kind = torch.backends.cpu.get_cpu_capability().lower()
    written: dict[str, Any] = {
        "dtype": dtype,
        "instructions": kind,
        "is_imitated": options.avx2,
        "matrix_product_operations_per_cpu_second": measure_peak(),
        "environment": describe_environment(torch.device("cpu")),
        "work": {},
    }
    for title, run in works.items():
        found = written["work"][title] = measure(run, options.rounds)
        print(f"{title}, {dtype}, {kind}: {found['cpu_seconds']:.2f} s, {found['tokens']} tokens")
        for part, value in found["parts"].items():
            print(f"  {value['share']:6.1%} {value['seconds']:8.3f} s  {part}", flush=True)
    name = f"step-profile-{kind}-{dtype}.json"
    (RESULTS / name).write_text(json.dumps(written, indent=2, default=str) + "\n")


if __name__ == "__main__":
    main()
