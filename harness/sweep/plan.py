"""What a sweep will do, checked and counted before the first step: data, roles, tokens, time.

Everything that can be wrong without training is found here, for the whole sweep at once.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from harness.adapters.requirements import check_method
from harness.config.catalog import METHODS
from harness.config.schema import AdapterConfig, Config, LatencyConfig, hash_values
from harness.data.batching import plan_steps
from harness.data.preparation import PreparedTask, prepare_task
from harness.errors import UserError
from harness.models.devices import resolve_device, resolve_dtype
from harness.models.embedded import embedded_folder
from harness.models.loading import find_context_length, load_structure
from harness.models.memory import find_pass_tokens
from harness.models.projections import ModuleMap, Projection, map_modules
from harness.progress import format_seconds
from harness.records.record import TUNED
from harness.sweep.budgets import resolve_budgets


@dataclass(frozen=True)
class VariantPlan:
    config: Config
    prepared: PreparedTask
    modules: ModuleMap
    adapter: AdapterConfig
    """The configuration's, with the rank that its budget asks for."""
    learning_rate: float
    """The configuration's; until it is tuned, the method's own."""
    steps: tuple[tuple[int, ...], ...]
    """For each optimizer step, the indices of its training examples."""
    train_seconds: float
    """Estimates, all three."""
    score_seconds: float
    latency_seconds: float

    @property
    def label(self) -> str:
        """Target set, and the method where it is not LoRA."""
        return label_run(self.config.target_set, self.adapter.method)

    @property
    def projections(self) -> tuple[Projection, ...]:
        """What the adapter goes on."""
        return self.modules.select(self.config.roles)

    @property
    def can_be_packed(self) -> bool:
        """Whether the variant can share its passes with others."""
        is_packable = METHODS[self.adapter.method].is_packable
        return is_packable and not any(p.experts or ".experts." in p.path for p in self.projections)

    @property
    def max_tokens_per_pass(self) -> int:
        """Tokens of a training pass, of all variants that share it."""
        set_by_user = self.config.train.max_tokens_per_pass
        return set_by_user or find_pass_tokens(resolve_device(self.config.model.device))

    @property
    def timed_lengths(self) -> tuple[int, int]:
        """Tokens of prompt and output of a timed call."""
        return _find_timed_lengths(self.config.latency, self.prepared)

    @property
    def timed_kind(self) -> tuple[object, ...]:
        """Same for adapters whose calls take the same time, whatever they have learned."""
        adapter = self.adapter
        own = adapter.method, adapter.rank or 0, adapter.virtual_tokens or 0
        return (self.config.roles, *own)

    @property
    def train_tokens(self) -> int:
        return sum(self.prepared.train[i].length for step in self.steps for i in step)


@dataclass(frozen=True)
class Plan:
    variants: tuple[VariantPlan, ...]

    @property
    def seconds(self) -> float:
        """Estimated time of all variants, and of scoring the bases that they are compared to."""
        bases = {plan.config.base_run_id: plan for plan in self.variants}
        work = sum(p.train_seconds + p.score_seconds for p in self.variants)
        work += sum(p.score_seconds for p in bases.values())
        # What is timed in calls of the same lengths is timed once.
        timed = {(p.timed_kind, p.timed_lengths): p.latency_seconds for p in self.variants}
        return work + sum(timed.values())


def label_run(target_set: str, method: str) -> str:
    """How a variant is called on a terminal."""
    return target_set if method in ("lora", "none") else f"{target_set}, {method}"


def plan_sweep(configs: Sequence[Config]) -> Plan:
    """Check every variant and count its work.

    Raises UserError for the first thing that would fail later: a model that is not there, a role
    that it has not, data that cannot be read, a prompt that cannot fit.
    """
    prepared: dict[str, PreparedTask] = {}
    maps: dict[str, tuple[ModuleMap, int]] = {}
    rates: dict[tuple[str, str], float] = {}
    parts: dict[str, tuple[PreparedTask, ModuleMap, float]] = {}
    for config in configs:
        model_key = hash_values(config.identity["model"])
        if model_key not in maps:
            structure = load_structure(config.model)
            maps[model_key] = (
                map_modules(structure.model, structure.config, config.model.roles),
                find_context_length(structure.config),
            )
        mapped, context_length = maps[model_key]
        mapped.select(config.roles)
        task_key = hash_values({"model": model_key, "task": config.identity["task"]})
        if task_key not in prepared:
            prepared[task_key] = prepare_task(config, context_length)
        speed_key = (config.model.device, config.model.dtype)
        if speed_key not in rates:
            rates[speed_key] = measure_rate(*speed_key)
        _check_timed_length(config, prepared[task_key], context_length)
        parts[config.run_id] = prepared[task_key], mapped, rates[speed_key]
    adapters = _resolve_budgets(configs, {name: mapped for name, (_, mapped, _) in parts.items()})
    plans = [
        _plan_variant(config, adapter, *parts[config.run_id])
        for config, adapter in zip(configs, adapters, strict=True)
    ]
    for each in plans:
        check_method(each.projections, each.adapter, len(each.steps), each.config.model.device)
    return Plan(tuple(plans))


def _resolve_budgets(
    configs: Sequence[Config], maps: Mapping[str, ModuleMap]
) -> list[AdapterConfig]:
    """Every variant's adapter at the rank of its budget, model by model."""
    resolved: dict[int, AdapterConfig] = {}
    by_model: dict[int, list[int]] = {}
    for place, config in enumerate(configs):
        by_model.setdefault(id(maps[config.run_id]), []).append(place)
    for places in by_model.values():
        mapped = maps[configs[places[0]].run_id]
        wanted = [
            (configs[i].adapter, mapped.select(configs[i].roles), configs[i].target_set)
            for i in places
        ]
        resolved |= zip(places, resolve_budgets(wanted, mapped), strict=True)
    return [resolved[place] for place in range(len(configs))]


def _plan_variant(
    config: Config,
    adapter: AdapterConfig,
    prepared: PreparedTask,
    mapped: ModuleMap,
    rate: float,
) -> VariantPlan:
    train, latency = config.train, config.latency
    steps = plan_steps(
        [item.length for item in prepared.train],
        batch_size=train.batch_size,
        epochs=train.epochs,
        max_steps=train.max_steps,
        seed=config.seed,
    )
    weights = sum(p.in_features * p.out_features * max(p.experts, 1) for p in mapped.projections)
    tokens = sum(prepared.train[i].length for step in steps for i in step)
    prompts = sum(len(item.prompt_ids) for item in prepared.test)
    batches = -(-len(prepared.test) // config.evaluation.batch_size)
    writing = 0 if prepared.test[0].choice_ids else prepared.output_tokens
    prompt, output = _find_timed_lengths(latency, prepared)
    call = 2 * weights * latency.batch_size * prompt / rate + _decode_seconds(
        weights, latency.batch_size, output - 1, rate
    )
    arms = (2 if latency.merged else 1) + 1
    return VariantPlan(
        config=config,
        prepared=prepared,
        modules=mapped,
        adapter=adapter,
        learning_rate=adapter.learning_rate
        if train.learning_rate == TUNED
        else train.learning_rate,
        steps=tuple(tuple(step) for step in steps),
        # Forward, and backward through the activations alone: 4 operations a weight and token.
        train_seconds=4 * weights * tokens / rate,
        score_seconds=2 * weights * prompts / rate
        + batches * _decode_seconds(weights, config.evaluation.batch_size, writing, rate),
        latency_seconds=latency.enabled * arms * call * _count_rounds(latency),
    )


def _count_rounds(latency: LatencyConfig) -> int:
    """Rounds to expect, warm-up included, where the target is reached with the least."""
    processes = latency.min_processes if latency.fresh_processes else 1
    return min(latency.min_rounds, latency.max_rounds or latency.min_rounds) + 3 * processes


def _find_timed_lengths(latency: LatencyConfig, prepared: PreparedTask) -> tuple[int, int]:
    prompt = latency.prompt_tokens or prepared.timed_prompt_tokens
    return prompt, latency.output_tokens or prepared.timed_output_tokens(latency.max_output_tokens)


def _check_timed_length(config: Config, prepared: PreparedTask, context_length: int) -> None:
    latency = config.latency
    if not latency.enabled:
        return
    prompt, output = _find_timed_lengths(latency, prepared)
    if prompt + output > context_length:
        raise UserError(
            f"latency: a prompt of {prompt} and an output of {output} tokens are "
            f"{prompt + output} tokens; {config.model_name} takes {context_length}: lower "
            "latency.prompt_tokens or latency.output_tokens"
        )


def _decode_seconds(weights: int, rows: int, steps: int, rate: float) -> float:
    """Rough: a decode step reads all weights once, and multiplies far below the peak."""
    bytes_a_second = rate / 20
    return steps * (2 * weights / bytes_a_second + 2 * weights * rows / (rate / 8))


def measure_rate(device_name: str, dtype_name: str) -> float:
    """Operations a second that this machine reaches in a matrix product, less what models lose."""
    device, dtype = resolve_device(device_name), resolve_dtype(dtype_name, device_name)
    size = 4096 if device.type == "cuda" else 768
    left = torch.randn(size, size, device=device, dtype=dtype)
    threads = torch.get_num_threads()
    # One thread is right beside other work too; several would wait for each other.
    torch.set_num_threads(1)
    try:
        seconds = []
        for _ in range(5):
            started = time.perf_counter()
            (left @ left).sum().item()
            seconds.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    speedup = 1.0 if device.type == "cuda" else math.sqrt(threads)
    return 0.5 * 2 * size**3 / min(seconds) * speedup


def format_plan(plan: Plan, finished: int) -> str:
    """The plan as text: a line a task, the totals, and the estimated time."""
    count = len(plan.variants) + finished
    lines = [f"plan: {count} variants" + (f", {finished} already finished" if finished else "")]
    tasks: dict[tuple[str, str], list[VariantPlan]] = {}
    for item in plan.variants:
        tasks.setdefault((item.config.model_name, item.config.task.name), []).append(item)
    for (model, task), items in tasks.items():
        first = items[0]
        sets = ", ".join(dict.fromkeys(item.config.target_set for item in items))
        cut = sum(item.is_cut for item in (*first.prepared.train, *first.prepared.test))
        stand_in = first.prepared.test_source.stand_in
        lines.append(
            f"  {task} on {model}: {sets}; {len(first.prepared.train)} training examples, "
            f"{len(first.steps)} steps and {first.train_tokens:,} tokens per variant; "
            f"{len(first.prepared.test)} test examples"
            + (f"; {cut} examples truncated to fit" if cut else "")
            + (f"; substitute data: {stand_in}" if stand_in else "")
        )
    total = sum(item.train_tokens for item in plan.variants)
    lines.append(
        f"  total: {total:,} training tokens, roughly {format_seconds(plan.seconds)}"
        if plan.variants
        else "  nothing left to do"
    )
    return "\n".join(lines)


def warm_cache(configs: Sequence[Config]) -> None:
    """Convert the embedded model before anything else needs it, and say so: it takes a while."""
    if any(config.model.source in ("embedded", "random") for config in configs):
        embedded_folder()
