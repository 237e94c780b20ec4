"""What each role costs: latency as the base plus a term a role, and a test that the terms add up.

    model = fit_cost_model(calls)    # the calls of one point of a latency study
    model.terms                      # a row a role
    model.predictions                # a row a target set, measured or not
    model.additivity.sentence
    check_predictions(model, {7: later_calls})    # sets timed afterwards, as a point of their own

The model is linear in the ratio to the base of the same round: ratio(S) = 1 + the sum over the
roles r of S of c_r times the share of r's blocks that S adapts, which is 1 unless S names layers.
Roles that occur only together, as in a fused qkv, are one term. Every number is
computed from the same resamples of rounds, so that what the arms of a round share stays shared.

Where each term was also measured alone, those sets alone make the fit, and the others are held out
to test it. Otherwise all sets enter a least-squares fit, which is tested on the sets that the
remaining ones determine too. The excess of a set is then what it was measured at less what the fit
without it predicts: its residual over 1 - leverage (Belsley, Kuh and Welsch, Regression
Diagnostics, 1980, chapter 2). Few sets leave few such tests: where the excess of one is a multiple
of another's, the data do not say which of the two departs.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
import pandas as pd

from harness.analysis.inference import correct_holm, find_mover_widths
from harness.analysis.latency.additivity import (
    Additivity,
    find_p_values,
    judge_additivity,
)
from harness.analysis.latency.resampling import Bounds, interval_of
from harness.analysis.latency.set_rounds import (
    COLUMNS,
    Covered,
    SetRounds,
    collect_rounds,
    name_shares,
    rank_shares,
)
from harness.config.target_sets import label_roles
from harness.errors import UserError
from harness.formatting import join_words

CHECKED = (
    *("target_set", "point", "rounds", "processes", "measured", "measured_low", "measured_high"),
    *("ratio", "ratio_low", "ratio_high", "excess", "excess_low", "excess_high"),
    "adjusted_p_value",
)
"""Columns of check_predictions."""


@dataclass(frozen=True)
class CostModel:
    terms: pd.DataFrame
    """A row a term: role (`qkv` for roles that occur only together), share(_low, _high) of the
    base's time that it adds, seconds(_low, _high) the same in seconds a call or token."""
    predictions: pd.DataFrame
    """A row for each non-empty set of the terms and for each measured set: target_set, role_count,
    ratio(_low, _high) to base
    as predicted, fitted_on; where measured also measured(_low, _high); where the set tests the
    terms, excess(_low, _high), which is measured less what the fit without the set predicts, and
    its adjusted_p_value."""
    ratios: Bounds
    """As predicted, of the rows of `predictions`."""
    additivity: Additivity
    base_seconds: float
    """Median of the base."""
    rounds: int
    """Rounds behind every number: those that timed the base and all sets of the model."""
    processes: int
    """Fresh processes behind them; from one, intervals say nothing of how processes differ."""
    left_out: tuple[str, ...]
    """Sets timed in under half of the rounds."""
    covered: Covered
    """What was said of the sets' blocks."""
    arm: str
    """That was fitted: unmerged or merged."""
    time: str
    """That was fitted: ttft, tpot or end_to_end."""


@dataclass(frozen=True)
class _Design:
    terms: tuple[tuple[str, ...], ...]
    """Roles of each term; more than one where they were measured only together."""
    fitted_on: np.ndarray
    """Bool [sets]."""
    solver: np.ndarray
    """Times the sets' ratios - 1, the terms' shares, [terms, sets]."""
    tested: np.ndarray
    """Held out, or determined by the other sets of the fit too, bool [sets]."""
    contrasts: np.ndarray
    """Times the sets' ratios - 1, the excess of each tested set, [tested, sets]."""
    alike: np.ndarray
    """Number of each tested set; sets whose excesses are multiples of each other have the same."""


def fit_cost_model(
    calls: pd.DataFrame,
    *,
    arm: str = "unmerged",
    time: str = "end_to_end",
    seed: int = 0,
    covered: Covered | None = None,
) -> CostModel:
    """Fit the terms of the roles to the rows of one point of a `latency.parquet`.

    `time` is ttft, tpot or end_to_end. Target sets count as one under any spelling. `covered` says
    which share of a role's blocks a set adapts: needed for sets that name layers, and for `all`
    where the model has more than attention and feed-forward. Rounds that lack a set are left out,
    or the set where it was timed in under half of them.

    Raises UserError where the rows are of several points, the time is undefined (tpot of one output
    token), under 6 rounds have all sets, or the sets do not determine every term; the line then
    says what to measure in addition.
    """
    rounds = collect_rounds(calls, arm, f"{time}_seconds", covered)
    design = _design_fit(rounds)
    sets = _list_predicted(rounds, design.terms)
    estimates = _estimate(rounds, design, sets, seed)
    excess = estimates.excess
    own = find_p_values(excess.estimate, excess.standard_error, excess.degrees_of_freedom)
    # Resamples of P processes know how the sets depend on each other in P - 1 directions only.
    adjusted = correct_holm(own, design.alike)
    tested = list(itertools.compress(rounds.sets, design.tested))
    untimed = [name for name in sets if name not in rounds.sets]
    terms = pd.DataFrame({"role": [_name_term(roles) for roles in design.terms]})
    shares, seconds = (
        _name_bounds(name, getattr(estimates, name)) for name in ("share", "seconds")
    )
    return CostModel(
        terms=terms.assign(**shares, **seconds),
        predictions=_tabulate(rounds, design, sets, estimates, adjusted),
        ratios=estimates.ratio,
        additivity=judge_additivity(tested, excess, adjusted, design.alike, untimed),
        base_seconds=float(np.median(rounds.base)),
        rounds=len(rounds.base),
        processes=len(np.unique(rounds.process)),
        left_out=rounds.left_out,
        covered=covered or {},
        arm=arm,
        time=time,
    )


def check_predictions(
    model: CostModel, later: Mapping[int, pd.DataFrame], seed: int = 0
) -> pd.DataFrame:
    """Return target sets that were timed afterwards against what `model` predicted for them.

    `later` holds the calls of points by their numbers: of the model's axes and machine, and timed
    in other processes. They test the prediction and never enter the fit. A row a point and target
    set that the model predicts: CHECKED, named as in `CostModel.predictions`; rounds and processes
    are the later point's. Points in which no set has 6 rounds have no rows.

    Both are independent, each with its own base, so the bounds of excess = measured - ratio combine
    theirs by MOVER (`analysis.inference`). Its p-value is from
    Student's t of the fewer degrees of freedom of the two, which never finds too much (Mickey and
    Brown, Annals of Mathematical Statistics 37:639, 1966), and is adjusted for all rows. NaN where
    there are too few rounds or processes.
    """
    checked = (_check_point(model, number, calls, seed) for number, calls in later.items())
    tables = [table for table in checked if len(table)]
    if not tables:
        return pd.DataFrame(columns=list(CHECKED))
    table = pd.concat(tables, ignore_index=True)
    adjusted = correct_holm(table["p_value"].to_numpy(float))
    return table.assign(adjusted_p_value=adjusted)[list(CHECKED)]


def _check_point(model: CostModel, number: int, calls: pd.DataFrame, seed: int) -> pd.DataFrame:
    """CHECKED of one later point, but with each row's own p_value."""
    try:
        rounds = collect_rounds(calls, model.arm, f"{model.time}_seconds", model.covered)
    except UserError:
        return pd.DataFrame()
    places = {name: place for place, name in enumerate(model.predictions["target_set"])}
    labels = list(rounds.sets)
    known = [index for index, label in enumerate(labels) if label in places]
    predicted = _select(model.ratios, np.array([places[labels[index]] for index in known], int))
    bounds = interval_of(partial(_take_ratios, rounds), rounds.process, seed=seed)
    measured = _select(bounds, np.array(known, int))
    excess = measured.estimate - predicted.estimate
    both = measured, predicted
    middles, lows, highs = (
        [getattr(each, end) for each in both] for end in ("estimate", "low", "high")
    )
    below, above = find_mover_widths(middles, lows, highs, weights=(1, -1))
    # Every part of the one with every part of the other.
    error = np.hypot(measured.standard_error[:, None], predicted.standard_error)
    degrees = np.minimum(measured.degrees_of_freedom[:, None], predicted.degrees_of_freedom)
    chances = find_p_values(excess, np.concatenate(error), np.concatenate(degrees))
    return pd.DataFrame(
        {
            "target_set": [labels[index] for index in known],
            "point": number,
            "rounds": len(rounds.base),
            "processes": len(np.unique(rounds.process)),
            **_name_bounds("measured", measured),
            **_name_bounds("ratio", predicted),
            "excess": excess,
            "excess_low": excess - below,
            "excess_high": excess + above,
            "p_value": chances,
        }
    )


def _design_fit(rounds: SetRounds) -> _Design:
    """Choose terms and the sets to fit on; UserError where the sets do not determine the terms."""
    members: dict[tuple[float, ...], list[str]] = {}
    for role, column in zip(COLUMNS, rounds.shares.T, strict=True):
        if column.any():
            members.setdefault(tuple(column.tolist()), []).append(role)
    terms = tuple(tuple(roles) for roles in members.values())
    indicator = np.array([*members]).T
    _check_rank(indicator, terms, rounds.sets)
    alone = (indicator > 0).sum(axis=1) == 1
    # Sets of one term each: if every term has one, the others test what they add up to.
    whole = alone & (indicator.max(axis=1) == 1)
    fitted_on = whole if whole.sum() == len(terms) else np.ones(len(rounds.sets), bool)
    solver = np.zeros(indicator.T.shape)
    solver[:, fitted_on] = np.linalg.pinv(indicator[fitted_on])
    residuals = np.eye(len(rounds.sets)) - indicator @ solver
    # 1 - leverage in the fit; a held-out set has none.
    remaining = np.diag(residuals)
    tested = remaining > 1e-9
    contrasts = residuals[tested] / remaining[tested, None]
    directions = contrasts / np.linalg.norm(contrasts, axis=1, keepdims=True)
    is_alike = np.abs(directions @ directions.T) > 1 - 1e-9
    # A set's number is the first one that it is alike to; with none tested there is no axis to ask.
    alike = is_alike.argmax(axis=1) if tested.any() else np.empty(0, int)
    return _Design(terms, fitted_on, solver, tested, contrasts, alike)


def _check_rank(
    indicator: np.ndarray, terms: Sequence[tuple[str, ...]], sets: Sequence[str]
) -> None:
    needed: list[str] = []
    known = indicator
    for term, row in zip(terms, np.eye(len(terms)), strict=True):
        wider = np.vstack([known, row])
        if np.linalg.matrix_rank(wider) > np.linalg.matrix_rank(known):
            needed.append(label_roles(term))
            known = wider
    if needed:
        raise UserError(
            f"cost model: {', '.join(sets)} do not separate the costs of "
            f"{', '.join(map(_name_term, terms))}; also time {join_words(needed)}"
        )


def _list_predicted(rounds: SetRounds, terms: Sequence[tuple[str, ...]]) -> dict[str, np.ndarray]:
    """Label -> shares, [COLUMNS], of all sets of terms and all measured ones, small first."""
    chosen = (
        np.isin(COLUMNS, [*itertools.chain(*some)]).astype(float)
        for count in range(1, len(terms) + 1)
        for some in itertools.combinations(terms, count)
    )
    sets = {name_shares(each, rounds.every): each for each in chosen}
    sets |= dict(zip(rounds.sets, rounds.shares, strict=True))
    return dict(sorted(sets.items(), key=lambda item: rank_shares(item[1])))


@dataclass(frozen=True)
class _Estimates:
    share: Bounds
    seconds: Bounds
    ratio: Bounds
    """Of each set of terms."""
    measured: Bounds
    """Ratio of each measured set."""
    excess: Bounds
    """Of each tested set."""


def _estimate(
    rounds: SetRounds, design: _Design, sets: Mapping[str, np.ndarray], seed: int
) -> _Estimates:
    first = [COLUMNS.index(term[0]) for term in design.terms]
    shares = np.array([*sets.values()])[:, first]

    def compute(drawn: np.ndarray) -> np.ndarray:
        measured = _take_ratios(rounds, drawn)
        share = (measured - 1) @ design.solver.T
        seconds = share * np.median(rounds.base[drawn], axis=1)[:, None]
        excess = (measured - 1) @ design.contrasts.T
        return np.hstack([share, seconds, 1 + share @ shares.T, measured, excess])

    bounds = interval_of(compute, rounds.process, seed=seed)
    count = len(design.terms)
    ends = np.cumsum([count, count, len(sets), len(rounds.sets)])
    parts = np.split(np.arange(bounds.estimate.shape[-1]), ends)
    return _Estimates(*(_select(bounds, part) for part in parts))


def _take_ratios(rounds: SetRounds, drawn: np.ndarray) -> np.ndarray:
    """Ratio of each set in samples of the rounds, [samples, sets]."""
    medians = [np.median(logs[drawn], axis=1) for logs in rounds.logs.T]
    return np.asarray(np.exp(np.stack(medians, axis=1)))


def _select(bounds: Bounds, part: np.ndarray) -> Bounds:
    return Bounds(*(getattr(bounds, each.name)[..., part] for each in fields(bounds)))


def _tabulate(
    rounds: SetRounds,
    design: _Design,
    sets: Mapping[str, np.ndarray],
    estimates: _Estimates,
    adjusted: np.ndarray,
) -> pd.DataFrame:
    tested = list(itertools.compress(rounds.sets, design.tested))
    measured = pd.DataFrame(_name_bounds("measured", estimates.measured), index=list(rounds.sets))
    excess = pd.DataFrame(_name_bounds("excess", estimates.excess), index=tested)
    table = pd.DataFrame(
        {"target_set": list(sets), "role_count": [np.count_nonzero(each) for each in sets.values()]}
        | _name_bounds("ratio", estimates.ratio)
    )
    table["fitted_on"] = table["target_set"].isin(
        [*itertools.compress(rounds.sets, design.fitted_on)]
    )
    added = measured.join(excess.assign(adjusted_p_value=adjusted))
    return table.join(added, on="target_set")


def _name_bounds(name: str, bounds: Bounds) -> dict[str, np.ndarray]:
    return {name: bounds.estimate, f"{name}_low": bounds.low, f"{name}_high": bounds.high}


def _name_term(roles: tuple[str, ...]) -> str:
    return roles[0] if len(roles) == 1 else label_roles(roles)
