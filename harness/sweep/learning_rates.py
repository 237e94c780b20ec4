"""Learning rates chosen variant by variant, on rows held back from training, never on test rows.

What is best for one target set, method or rank is too much or too little for another, so a
comparison at one rate is also one of how well that rate happens to suit each. The grid's runs are
variants like any other: they share passes, are recorded in a study of their own under `tuning/`,
and are not done twice.
"""

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from harness.config.schema import Config, hash_values
from harness.errors import UserError
from harness.progress import announce
from harness.records.files import write_json
from harness.records.record import TUNED, read_record
from harness.sweep.plan import VariantPlan
from harness.sweep.resuming import find_finished

STEP = math.sqrt(10)
"""Half a decade, between neighbours of a grid."""
FILE = "tuning.json"
RUNGS = (0.25, 0.5)
"""Shares of the steps after which halving drops the worse half of the rates."""

RunSweep = Callable[[Sequence[Config]], object]


@dataclass
class _Search:
    """The search for one variant's rate."""

    plan: VariantPlan
    middle: float
    """Rate in the middle of the first grid."""
    losses: dict[float, float] = field(default_factory=dict)
    """Rate -> validation loss after all steps; infinite where training failed."""
    rungs: list[dict[float, float]] = field(default_factory=list)
    """The same after fewer steps, where rates were halved."""

    @property
    def config(self) -> Config:
        return self.plan.config

    @property
    def title(self) -> str:
        config = self.config
        return f"{config.task.name} \N{MIDDLE DOT} {config.target_set}, {config.adapter.method}"

    @property
    def best(self) -> float | None:
        """The rate of the lowest loss; None while no loss is finite."""
        rate = min(self.losses, key=self.losses.__getitem__, default=None)
        return rate if rate is not None and math.isfinite(self.losses[rate]) else None

    def propose(self) -> list[float]:
        """Rates to try next; none once the best one has a neighbour on either side."""
        count = self.config.train.tuning_rates
        if not self.losses:
            return [self.rate(k) for k in range(-(count // 2), count - count // 2)]
        tried = sorted(self.losses)
        if len(tried) >= self.config.train.tuning_most:
            return []
        # Where nothing is finite, all rates were too high.
        if self.best is None or self.best == tried[0]:
            return [self.rate(self.place(tried[0]) - 1)]
        return [self.rate(self.place(tried[-1]) + 1)] if self.best == tried[-1] else []

    def rate(self, place: int) -> float:
        """The rate so many half decades above the middle."""
        return float(f"{self.middle * STEP**place:.3g}")

    def place(self, rate: float) -> int:
        return round(math.log(rate / self.middle, STEP))


def find_middle(config: Config) -> float:
    """Where a variant's grid starts: the rate that its study to start from has chosen for its set.

    The geometric mean over tasks, or that of the same task; else the method's own rate. Raises
    UserError where the study's file is not whole.
    """
    if config.train.tuning_study is None:
        return config.adapter.learning_rate
    path = Path(config.train.tuning_study) / FILE
    rows = _read(path)
    if not rows:
        raise UserError(f"{path}: no tuned rates; choose another train.tuning_study")
    own = [row for row in rows if _is_alike(row, config) and row.get("chosen")]
    own = [row for row in own if row.get("task") == config.task.name] or own
    logs = [math.log(float(row["chosen"])) for row in own]
    return float(f"{math.exp(fmean(logs)):.3g}") if logs else config.adapter.learning_rate


def _is_alike(row: dict[str, Any], config: Config) -> bool:
    kind = row.get("target_set"), row.get("method")
    return kind == (config.target_set, config.adapter.method)


def tune_rates(plans: Sequence[VariantPlan], run: RunSweep) -> dict[str, float | UserError]:
    """Choose the rates of the variants that ask for it: run id -> rate, or why there is none.

    `run` does a sweep of configurations. Variants that differ in their seed alone share a rate,
    which is chosen under a seed that none of them has.
    """
    asking = [plan for plan in plans if plan.config.train.learning_rate == TUNED]
    searches: dict[str, _Search] = {}
    for plan in asking:
        searches.setdefault(_name_search(plan.config), _begin(plan))
    if not searches:
        return {}
    if any(find_finished(trial) is None for trial in list_first_trials(asking)):
        announce(f"tuning learning rates of {len(searches)} variants on held-out training rows")
    active = list(searches.values())
    if asking[0].config.train.tuning == "halving":
        proposals = [(search, search.propose()) for search in active]
        for share in RUNGS:
            proposals = _halve(proposals, share, run)
        _try(proposals, run)
        for search in active:
            # What was dropped counts as worse than anything that was not.
            for rung in search.rungs:
                for rate in rung:
                    search.losses.setdefault(rate, math.inf)
    while active:
        proposals = [(search, rates) for search in active if (rates := search.propose())]
        _try(proposals, run)
        active = [search for search, _ in proposals]
    _write(list(searches.values()))
    return {plan.config.run_id: _conclude(searches[_name_search(plan.config)]) for plan in asking}


def list_first_trials(plans: Sequence[VariantPlan]) -> list[Config]:
    """The runs of the first grids of those variants that ask for a tuned rate."""
    asking = [plan for plan in plans if plan.config.train.learning_rate == TUNED]
    searches = {_name_search(plan.config): _begin(plan) for plan in asking}
    return [_make_trial(s.config, rate) for s in searches.values() for rate in s.propose()]


def _begin(plan: VariantPlan) -> _Search:
    return _Search(plan, find_middle(plan.config))


def _name_search(config: Config) -> str:
    return hash_values(_make_trial(config, config.adapter.learning_rate).identity)


def _make_trial(config: Config, rate: float, steps: int | None = None) -> Config:
    """A run that trains as `config` will, at one rate, and is scored on validation rows."""
    train = config.train
    return dataclasses.replace(
        config,
        seed=train.tuning_seed,
        study=f"{config.study}/tuning",
        task=dataclasses.replace(
            config.task, tuning_examples=train.validation_examples, extra_test_examples=0
        ),
        train=dataclasses.replace(
            train,
            learning_rate=rate,
            max_steps=steps or train.max_steps,
            tuning="grid",
            tuning_study=None,
        ),
        latency=dataclasses.replace(config.latency, enabled=False),
    )


def _halve(
    proposals: Sequence[tuple[_Search, list[float]]], share: float, run: RunSweep
) -> list[tuple[_Search, list[float]]]:
    """Train each rate for a share of the steps, and keep the better half of each search's."""
    kept = []
    lengths = {id(s): max(1, math.ceil(share * len(s.plan.steps))) for s, _ in proposals}
    trials = [_make_trial(s.config, r, lengths[id(s)]) for s, rates in proposals for r in rates]
    _run_new(trials, run)
    for search, rates in proposals:
        losses = {
            rate: _read_loss(_make_trial(search.config, rate, lengths[id(search)]))
            for rate in rates
        }
        search.rungs.append(losses)
        kept.append((search, sorted(rates, key=losses.__getitem__)[: -(-len(rates) // 2)]))
    return kept


def _try(proposals: Sequence[tuple[_Search, list[float]]], run: RunSweep) -> None:
    """Train the proposed rates to the end, all searches' together, and note their losses."""
    trials = [_make_trial(search.config, rate) for search, rates in proposals for rate in rates]
    _run_new(trials, run)
    for search, rates in proposals:
        for rate in rates:
            search.losses[rate] = _read_loss(_make_trial(search.config, rate))


def _run_new(trials: Sequence[Config], run: RunSweep) -> None:
    """Run those that an earlier sweep, or an earlier round, has not."""
    left = [trial for trial in trials if find_finished(trial) is None]
    if left:
        run(left)


def _read_loss(trial: Config) -> float:
    """A trial's validation loss; infinite where it failed. Its adapter has served its turn."""
    folder = trial.study_folder / "runs" / trial.run_id
    record = read_record(folder)
    if record.status != "ok" or record.eval is None:
        return math.inf
    shutil.rmtree(folder / "adapter", ignore_errors=True)
    loss = record.eval.scores["loss"]
    return loss if math.isfinite(loss) else math.inf


def _conclude(search: _Search) -> float | UserError:
    if search.best is not None:
        return search.best
    tried = sorted(search.losses)
    return UserError(
        f"train.learning_rate is tuned: none of the {len(tried)} rates from {tried[0]:g} to "
        f"{tried[-1]:g} gave {search.title} a finite loss; set train.learning_rate, or lower "
        "adapter.learning_rate, the middle of the grid"
    )


def _read(path: Path) -> list[dict[str, Any]]:
    """What earlier sweeps chose; a file that cannot be read is written anew from the runs."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _write(searches: Sequence[_Search]) -> None:
    """Keep what was tried and chosen, in the study's `tuning.json`, beside earlier sweeps'."""
    path = Path(searches[0].config.study_folder) / FILE
    rows = [
        {
            "search": _name_search(search.config),
            "task": search.config.task.name,
            "target_set": search.config.target_set,
            "method": search.config.adapter.method,
            "chosen": search.best,
            "at_an_end": search.best in (min(search.losses), max(search.losses)),
            "losses": {f"{rate:g}": search.losses[rate] for rate in sorted(search.losses)},
            "rungs": [{f"{r:g}": rung[r] for r in sorted(rung)} for rung in search.rungs],
        }
        for search in searches
    ]
    names = {row["search"] for row in rows}
    write_json(path, [*(r for r in _read(path) if r.get("search") not in names), *rows])
    for row in rows:
        if row["chosen"] is not None:
            announce(f"{row['task']}: {row['target_set']}, {row['method']}: rate {row['chosen']:g}")
