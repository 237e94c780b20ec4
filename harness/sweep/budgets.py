"""Ranks that make target sets comparable: as many parameters, or as much time, as a reference set.

At one rank, `all` has several times the parameters of `o_proj`, so a comparison at equal rank is
also one of sizes. A budget holds a size equal instead, and solves each set's rank for it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pandas as pd

from harness.adapters.counts import count_parameters
from harness.analysis.latency.cost_model import fit_cost_model
from harness.analysis.latency.latency_results import AXES, load_latency_study
from harness.config.schema import AdapterConfig
from harness.config.target_sets import parse_target_set
from harness.errors import UserError
from harness.models.projections import ModuleMap, Projection

TOLERANCE = 0.02
"""Share by which trainable parameters may differ from the reference set's."""
HIGHEST_RANK = 4096
"""Of reference ranks that are tried for a proposal."""
PROPOSED = 3


def resolve_budgets(
    wanted: Sequence[tuple[AdapterConfig, Sequence[Projection], str]], mapped: ModuleMap
) -> list[AdapterConfig]:
    """Give each (adapter, its projections, its set's label) the rank that its budget asks for.

    Raises UserError where no rank does, and names reference ranks for which every set has one.
    """
    return [_resolve(adapter, on, label, mapped, wanted) for adapter, on, label in wanted]


def _resolve(
    adapter: AdapterConfig,
    projections: Sequence[Projection],
    label: str,
    mapped: ModuleMap,
    wanted: Sequence[tuple[AdapterConfig, Sequence[Projection], str]],
) -> AdapterConfig:
    if adapter.budget in (None, "equal_rank"):
        return adapter
    if adapter.budget == "equal_params":
        target = parse_target_set(str(adapter.budget_set))
        reference = mapped.select(target.roles, target.layers)
        rank = _match_parameters(adapter, projections, reference)
        if rank is None:
            raise UserError(_explain_parameters(adapter, projections, label, reference, wanted))
    else:
        rank = find_latency_rank(adapter, label)
    return _set_rank(adapter, rank)


def _set_rank(adapter: AdapterConfig, rank: int) -> AdapterConfig:
    """Change the rank, and by the alpha policy what goes with it."""
    assert adapter.rank is not None
    share = rank / adapter.rank
    alpha, initial = adapter.alpha, adapter.initial_rank
    if alpha is not None:
        alpha *= {"ratio": share, "root": share**0.5, "fixed": 1.0}[adapter.alpha_policy]
    if initial is not None:
        initial = max(1, round(initial * share))
    return replace(adapter, rank=rank, alpha=alpha, initial_rank=initial)


def _count(adapter: AdapterConfig, projections: Sequence[Projection], rank: int) -> int:
    """Parameters at the end of training, where ranks move until then."""
    initial = None if adapter.initial_rank is None else rank
    return count_parameters(projections, replace(adapter, rank=rank, initial_rank=initial))


def _match_parameters(
    adapter: AdapterConfig, projections: Sequence[Projection], reference: Sequence[Projection]
) -> int | None:
    """The rank at which `projections` have as many parameters as `reference` at adapter.rank."""
    assert adapter.rank is not None
    target = _count(adapter, reference, adapter.rank)
    rank, count = _find_nearest(adapter, projections, target)
    return rank if abs(count / target - 1) <= TOLERANCE else None


def _find_nearest(
    adapter: AdapterConfig, projections: Sequence[Projection], target: int
) -> tuple[int, int]:
    """(rank, parameters) nearest to a number of parameters; they grow by a step a rank."""
    first = _count(adapter, projections, 1)
    step = _count(adapter, projections, 2) - first
    rank = max(1, 1 + round((target - first) / step))
    return rank, _count(adapter, projections, rank)


def _explain_parameters(
    adapter: AdapterConfig,
    projections: Sequence[Projection],
    label: str,
    reference: Sequence[Projection],
    wanted: Sequence[tuple[AdapterConfig, Sequence[Projection], str]],
) -> str:
    assert adapter.rank is not None
    target = _count(adapter, reference, adapter.rank)
    rank, count = _find_nearest(adapter, projections, target)
    alike = [(on, name) for each, on, name in wanted if each == adapter]
    found = _propose_ranks(adapter, [on for on, _ in alike], reference)
    proposal = (
        f"with adapter.rank={', '.join(map(str, found))} every set of this sweep has such a rank"
        if found
        else f"no adapter.rank up to {HIGHEST_RANK} gives every set of this sweep one: remove a "
        "set, or use adapter.budget=equal_rank"
    )
    return (
        f"adapter.budget is equal_params: no rank gives {label} the {target:,} parameters of "
        f"{adapter.budget_set} at rank {adapter.rank} within {TOLERANCE:.0%}; the nearest, {rank}, "
        f"has {count:,}; {proposal}"
    )


def _propose_ranks(
    adapter: AdapterConfig,
    sets: Sequence[Sequence[Projection]],
    reference: Sequence[Projection],
) -> list[int]:
    """Reference ranks nearest to the one asked for at which every set has a rank of its own."""
    assert adapter.rank is not None
    asked = adapter.rank
    found: list[int] = []
    for rank in sorted(range(1, HIGHEST_RANK + 1), key=lambda each: (abs(each - asked), each)):
        changed = replace(adapter, rank=rank)
        if all(_match_parameters(changed, on, reference) is not None for on in sets):
            found.append(rank)
        if len(found) == PROPOSED:
            break
    return sorted(found)


@dataclass(frozen=True)
class _Cost:
    """A set's end-to-end time over the base's at one rank, as a cost model predicts it."""

    ratio: float
    low: float
    high: float


def find_latency_rank(adapter: AdapterConfig, label: str) -> int:
    """The rank at which a set is predicted to be as slow as the reference set is at adapter.rank.

    Costs come from a latency study that timed at least two ranks; between these they are read on
    a straight line. Raises UserError where no rank's interval holds the reference's cost.
    """
    assert adapter.rank is not None
    costs = _read_costs(str(adapter.budget_study))
    reference = parse_target_set(str(adapter.budget_set)).label
    for name in (reference, label):
        if any(name not in at_rank for at_rank in costs.values()):
            raise UserError(
                f"adapter.budget_study is {adapter.budget_study}: its cost model does not "
                f"cover {name}; time each of its roles at every rank"
            )
    target = _interpolate(costs, reference)(adapter.rank).ratio
    cost = _interpolate(costs, label)
    within = [
        rank
        for rank in range(min(costs), max(costs) + 1)
        if cost(rank).low <= target <= cost(rank).high
    ]
    if within:
        asked = adapter.rank
        return min(within, key=lambda rank: (abs(cost(rank).ratio - target), abs(rank - asked)))
    lowest, highest = cost(min(costs)), cost(max(costs))
    raise UserError(
        f"adapter.budget is equal_latency: no rank from {min(costs)} to {max(costs)} makes {label} "
        f"take {target:.3f} times the base's time, as {reference} does at rank {adapter.rank}; it "
        f"takes {lowest.ratio:.3f} to {highest.ratio:.3f}; choose another adapter.budget_set, or "
        "time more ranks"
    )


def _read_costs(path: str) -> dict[int, dict[str, _Cost]]:
    """Rank -> target set -> its cost, of the sets that the study's cost model predicts."""
    study = load_latency_study(Path(path))
    done = [point for point in study.facts.points if point.status == "done"]
    ranks = {int(point.axes["rank"]): point for point in done}
    others = [{name: point.axes[name] for name in AXES if name != "rank"} for point in done]
    if len(ranks) < 2 or len(ranks) < len(done) or any(each != others[0] for each in others):
        raise UserError(
            f"adapter.budget_study is {path}: expected one point for each of two or more ranks, "
            f"otherwise equal, found {len(done)} at ranks {sorted(ranks)}; for example python -m "
            "harness.timing.latency_study target_modules=q,k,v,o_proj,fc1,fc2 adapter.rank=4,64"
        )
    return {
        rank: _tabulate(study.calls_of(point.number), point.covered)
        for rank, point in ranks.items()
    }


def _tabulate(calls: pd.DataFrame, covered: Mapping[str, Mapping[str, float]]) -> dict[str, _Cost]:
    rows = fit_cost_model(calls, covered=covered).predictions
    return {
        row["target_set"]: _Cost(row["ratio"], row["ratio_low"], row["ratio_high"])
        for _, row in rows.iterrows()
    }


def _interpolate(costs: Mapping[int, Mapping[str, _Cost]], name: str) -> Callable[[int], _Cost]:
    ranks = sorted(costs)

    def at(rank: int) -> _Cost:
        inside = min(max(rank, ranks[0]), ranks[-1])
        low, high = next(pair for pair in pairwise(ranks) if pair[0] <= inside <= pair[1])
        # Beyond the ranks that were timed, along the last line.
        share = (rank - low) / (high - low)
        first, last = costs[low][name], costs[high][name]
        ends = zip(
            (first.ratio, first.low, first.high), (last.ratio, last.low, last.high), strict=True
        )
        return _Cost(*(a + share * (b - a) for a, b in ends))

    return at
