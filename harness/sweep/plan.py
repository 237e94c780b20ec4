"""What a sweep will do, checked and counted before the first step: data, roles, tokens, time.

Everything that can be wrong without training is found here, for the whole sweep at once.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.adapters.requirements import check_method
from harness.config.catalog import METHODS
from harness.config.schema import AdapterConfig, Config, LatencyConfig, hash_values
from harness.data.batching import plan_steps
from harness.data.preparation import PreparedTask, prepare_task
from harness.errors import UserError
from harness.formatting import format_duration, pluralize
from harness.models.devices import resolve_device
from harness.models.embedded import embedded_folder
from harness.models.loading import check_checkpoint, find_context_length, load_structure
from harness.models.memory import find_training_tokens
from harness.models.projections import BYPASSED, ModuleMap, Projection, map_modules
from harness.progress import announce
from harness.records.record import TUNED
from harness.sweep.activations import Activations
from harness.sweep.budgets import resolve_budgets
from harness.sweep.model_size import check_size, save_bytes
from harness.sweep.speed import Speed, Trial, can_be_measured, guess_speed, measure_speed

MEASURED_ABOVE_SECONDS = 60.0
"""Shorter sweeps are over before a better estimate would help."""
MEASURED_TOGETHER = 5
"""Variants of the pack that speed is measured with."""


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
    """Estimates, all four."""
    score_seconds: float
    """Of reading the prompts, and of the rows that are written."""
    batch_seconds: float
    """Of every batch that is written, whatever its rows: variants that are scored together share
    it."""
    latency_seconds: float
    scored_examples: int
    weight_bytes: int
    """Of the base."""
    activations: Activations
    """What a training pass keeps."""
    max_tokens_per_pass: int
    """Tokens of a training pass, of all variants that share it; fewer where memory is short."""
    gradient_checkpointing: bool
    """As configured, or where memory is too short without."""
    is_trained: bool = False
    """Whether an earlier sweep trained it, with all that shared its pack."""

    @property
    def label(self) -> str:
        """Target set, and the method where it is not LoRA."""
        return label_run(self.config.target_set, self.adapter.method)

    @property
    def projections(self) -> tuple[Projection, ...]:
        """What the adapter goes on."""
        return self.modules.select(self.config.roles, self.config.target.layers)

    @property
    def can_be_packed(self) -> bool:
        """Whether the variant can share its passes with others."""
        is_packable = METHODS[self.adapter.method].is_packable
        return is_packable and all(p.is_packable for p in self.projections)

    @property
    def timed_lengths(self) -> tuple[int, int]:
        """Tokens of prompt and output of a timed call."""
        return _find_timed_lengths(self.config.latency, self.prepared)

    @property
    def timed_kind(self) -> tuple[object, ...]:
        """Same for adapters whose calls take the same time, whatever they have learned."""
        adapter = self.adapter
        own = adapter.method, adapter.rank or 0, adapter.virtual_tokens or 0
        return (self.config.target_set, *own)

    @property
    def train_tokens(self) -> int:
        return sum(self.prepared.train[i].length for step in self.steps for i in step)


@dataclass(frozen=True)
class Plan:
    variants: tuple[VariantPlan, ...]
    speeds: tuple[Speed, ...] = ()
    """One a model."""

    @property
    def work_seconds(self) -> float:
        """Estimated time to train and score all variants and their bases, in one process."""
        bases: dict[str, list[VariantPlan]] = {}
        for plan in self.variants:
            bases.setdefault(plan.config.base_run_id, []).append(plan)
        scoring = sum(estimate_scoring([*plans, plans[0]]) for plans in bases.values())
        return scoring + sum(plan.train_seconds for plan in self.variants)

    @property
    def latency_seconds(self) -> float:
        """Estimated time of all timing. What is timed in calls of the same lengths counts once."""
        sessions: dict[tuple[int, int], dict[tuple[object, ...], VariantPlan]] = {}
        for plan in self.variants:
            sessions.setdefault(plan.timed_lengths, {})[plan.timed_kind] = plan
        return sum(
            min(
                sum(plan.latency_seconds for plan in kinds.values()),
                max(plan.config.latency.max_seconds for plan in kinds.values()),
            )
            for kinds in sessions.values()
        )


def estimate_scoring(plans: Sequence[VariantPlan]) -> float:
    """Estimated time to score variants, or the base by one of their plans, in the same batches."""
    rows = sum(plan.scored_examples for plan in plans)
    batches = math.ceil(rows / plans[0].config.evaluation.batch_size)
    return batches * plans[0].batch_seconds + sum(plan.score_seconds for plan in plans)


def label_run(target_set: str, method: str) -> str:
    """How a variant is called on a terminal."""
    return target_set if method in ("lora", "none") else f"{target_set}, {method}"


def plan_sweep(
    configs: Sequence[Config], workers: int = 1, finished: Sequence[Config] = ()
) -> Plan:
    """Check every variant and count its work, for as many processes as will work at a time.

    `finished` are the sweep's variants that have nothing left to do.

    Raises UserError for the first thing that would fail later: a model that is not there or lacks
    weights, a role that it has not, data that cannot be read, a prompt that cannot fit.
    """
    prepared: dict[str, PreparedTask] = {}
    maps: dict[str, tuple[ModuleMap, int, int]] = {}
    parts: dict[str, tuple[PreparedTask, ModuleMap]] = {}
    for config in configs:
        model_key = _name_model(config)
        if model_key not in maps:
            structure = load_structure(config.model)
            weight_bytes = check_size(config, structure.model)
            check_checkpoint(config.model)
            maps[model_key] = (
                map_modules(structure.model, structure.config, config.model.roles),
                find_context_length(structure.config),
                weight_bytes,
            )
        mapped, context_length, _ = maps[model_key]
        mapped.select(config.roles, config.target.layers)
        task_key = hash_values(
            {
                "model": model_key,
                "task": config.identity["task"],
                "content": (config.data_digest, config.metric_digest),
                "extra": config.task.extra_test_examples,
                "keeps_validation": config.keeps_validation,
            }
        )
        if task_key not in prepared:
            prepared[task_key] = prepare_task(config, context_length)
        _check_timed_length(config, prepared[task_key], context_length)
        parts[config.run_id] = prepared[task_key], mapped
    known = [config for config in finished if _name_model(config) in maps]
    _refuse_twins([(c, maps[_name_model(c)][0]) for c in (*known, *configs)])
    adapters = _resolve_budgets(configs, {name: mapped for name, (_, mapped) in parts.items()})
    models = {_name_model(config): config.model for config in configs}
    speeds = {name: guess_speed(model, maps[name][0], workers) for name, model in models.items()}

    def plan_variants() -> list[VariantPlan]:
        return [
            _plan_variant(
                config,
                adapter,
                *parts[config.run_id],
                speeds[_name_model(config)],
                maps[_name_model(config)][2],
            )
            for config, adapter in zip(configs, adapters, strict=True)
        ]

    plans = plan_variants()
    for each in plans:
        check_method(each.projections, each.adapter, len(each.steps), each.config.model.device)
    if Plan(tuple(plans)).work_seconds > MEASURED_ABOVE_SECONDS * workers:
        for name, model in models.items():
            own = [plan for plan in plans if _name_model(plan.config) == name]
            if can_be_measured(model):
                speeds[name] = _measure_once(name, _make_trial(own, workers))
        plans = plan_variants()
    return Plan(tuple(plans), tuple(speeds.values()))


def _refuse_twins(variants: Sequence[tuple[Config, ModuleMap]]) -> None:
    """Raise UserError for two names of one set of modules: both would be trained and compared."""
    known: dict[tuple[int, frozenset[str]], str] = {}
    for config, mapped in variants:
        chosen = mapped.select(config.roles, config.target.layers)
        key = id(mapped), frozenset(p.path for p in chosen)
        other = known.setdefault(key, config.target_set)
        if other != config.target_set:
            raise UserError(
                f"target_modules: {other} and {config.target_set} are the same modules of "
                f"{config.model_name}; leave one of them out"
            )


_measured: dict[tuple[str, int], Speed] = {}


def _measure_once(name: str, trial: Trial) -> Speed:
    """Speed of a model, measured once a process; what differs between sweeps is little."""
    key = name, trial.workers
    if key not in _measured:
        announce("measuring the speed of this machine on a few blocks of the model")
        _measured[key] = measure_speed(trial)
    return _measured[key]


def _name_model(config: Config) -> str:
    return hash_values(config.identity["model"])


def _weigh(values: Sequence[int], weights: Sequence[int]) -> int:
    """Mean by weight, at least 1."""
    return max(1, round(statistics.fmean(values, weights)))


def _make_trial(plans: Sequence[VariantPlan], workers: int) -> Trial:
    """A pack of up to five target sets, on an example such as the sweep's typical token is part of.

    Most of the time goes into long examples, whose attention and completions cost more a token.
    """
    distinct = {plan.config.target_set: plan for plan in plans if plan.can_be_packed}
    members = list(distinct.values())[:MEASURED_TOGETHER] or plans[:1]
    examples = [item for plan in plans for item in plan.prepared.train]
    lengths = [item.length for item in examples]
    return Trial(
        model=plans[0].config.model,
        adapters=[
            # What cannot be packed is taken to be as fast as LoRA.
            (plan.adapter if plan.can_be_packed else AdapterConfig(), plan.projections)
            for plan in members
        ],
        prompt_tokens=_weigh([len(item.prompt_ids) for item in examples], lengths),
        completion_tokens=_weigh([len(item.completion_ids) for item in examples], lengths),
        batch_size=plans[0].config.train.batch_size,
        pass_tokens=plans[0].max_tokens_per_pass,
        workers=workers,
    )


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
            (configs[i].adapter, mapped.select(target.roles, target.layers), target.label)
            for i in places
            for target in [configs[i].target]
        ]
        resolved |= zip(places, resolve_budgets(wanted, mapped), strict=True)
    return [resolved[place] for place in range(len(configs))]


def _plan_variant(
    config: Config,
    adapter: AdapterConfig,
    prepared: PreparedTask,
    mapped: ModuleMap,
    speed: Speed,
    weight_bytes: int,
) -> VariantPlan:
    train, latency, costs = config.train, config.latency, speed.costs
    steps = plan_steps(
        [item.length for item in prepared.train],
        batch_size=train.batch_size,
        epochs=train.epochs,
        max_steps=train.max_steps,
        seed=config.seed,
    )
    tokens = sum(prepared.train[i].length for step in steps for i in step)
    prompts = sum(len(item.prompt_ids) for item in prepared.test)
    writing = 0 if prepared.test[0].choice_ids else prepared.output_tokens
    prompt, output = _find_timed_lengths(latency, prepared)
    call = latency.batch_size * prompt * costs.prompt + costs.decode(latency.batch_size, output - 1)
    arms = (2 if latency.merged else 1) + 1
    saved = save_bytes(mapped, config) if adapter.method == "qlora" else 0
    return VariantPlan(
        config=config,
        prepared=prepared,
        modules=mapped,
        adapter=adapter,
        learning_rate=adapter.learning_rate
        if train.learning_rate == TUNED
        else train.learning_rate,
        steps=tuple(tuple(step) for step in steps),
        train_seconds=tokens * costs.train,
        score_seconds=prompts * costs.prompt + len(prepared.test) * writing * costs.row,
        batch_seconds=writing * costs.step,
        scored_examples=len(prepared.test),
        weight_bytes=weight_bytes - saved,
        activations=speed.activations,
        max_tokens_per_pass=train.max_tokens_per_pass
        or find_training_tokens(resolve_device(config.model.device)),
        gradient_checkpointing=train.gradient_checkpointing,
        # All threads time together; twice as many are taken to be 1.4 times as fast.
        latency_seconds=latency.enabled
        * (arms * call * _count_rounds(latency) / math.sqrt(speed.workers)),
    )


def _count_rounds(latency: LatencyConfig) -> int:
    """Rounds to expect, warm-up included.

    In fresh processes the least. One process was seen to need from the least to eight times as
    many, by doublings: two of them are expected.
    """
    processes = latency.min_processes if latency.fresh_processes else 1
    rounds = latency.min_rounds * (1 if latency.fresh_processes else 4)
    return min(rounds, latency.max_rounds or rounds) + 3 * processes


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


def format_plan(plan: Plan, finished: int, seconds: float) -> str:
    """The plan as text: a line a task, the totals, and the estimated wall time in `seconds`."""
    count = len(plan.variants) + finished
    done = f", {finished} already finished" if finished else ""
    lines = [f"plan: {pluralize(count, 'variant')}{done}"]
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
    notes = [(item.config.model_name, n) for item in plan.variants for n in item.prepared.notes]
    lines += [f"  {model}: {note}" for model, note in dict.fromkeys(notes)]
    lines += _describe_coverage(plan)
    total = sum(item.train_tokens for item in plan.variants if not item.is_trained)
    lines.append(
        f"  total: {total:,} training tokens, about {format_duration(seconds)} "
        f"({'; '.join(map(format_speed, plan.speeds))})"
        if plan.variants
        else "  nothing left to do"
    )
    return "\n".join(lines)


FEW_BLOCKS = 0.1
"""Share of its blocks below which a set is named, with the blocks."""


def _describe_coverage(plan: Plan) -> list[str]:
    """A line a model where some blocks lack a role, and one for each set in few of the blocks."""
    lines: dict[str, None] = {}
    for item in plan.variants:
        mapped, name = item.modules, item.config.model_name
        partial = mapped.list_partial_roles()
        if partial:
            lines[f"  not every block of {name} has every role: {'; '.join(partial)}"] = None
        for each in mapped.uncovered:
            if each.reason == BYPASSED:
                lines[f"  {name}: {each.pattern} takes no adapter, because {BYPASSED}"] = None
        covered = sorted(mapped.find_blocks(item.projections))
        if covered and len(covered) < FEW_BLOCKS * mapped.block_count:
            listed = ", ".join(map(str, covered))
            lines[
                f"  warning: {item.config.target_set} is in {len(covered)} of "
                f"{pluralize(mapped.block_count, 'block')} of {name} only: {listed}"
            ] = None
    return list(lines)


def format_speed(speed: Speed) -> str:
    """A speed in words: "float32, 2 processes, 410 training tokens/s measured"."""
    processes = "1 process" if speed.workers == 1 else f"{speed.workers} processes"
    origin = "measured" if speed.is_measured else "estimated"
    rate = speed.train_tokens_per_second
    return f"{speed.dtype}, {processes}, {rate:,.0f} training tokens/s {origin}"


def warm_cache(configs: Sequence[Config]) -> None:
    """Convert the embedded model before anything else needs it, and say so: it takes a while."""
    if any(config.model.source in ("embedded", "random") for config in configs):
        embedded_folder()
