"""What each role costs: latency as the base plus a term a role, and a test that the terms add up.

    model = fit_cost_model(calls)    # the calls of one point of a latency study
    model.terms                      # a row a role
    model.predictions                # a row a target set, measured or not
    model.additivity.sentence

The model is linear in the ratio to the base of the same round: ratio(S) = 1 + the sum of c_r over
the roles r of S. Roles that occur only together, as in a fused qkv, are one term. Every number is
computed from the same resamples of rounds, so that what the arms of a round share stays shared.

Where each term was also measured alone, those sets alone make the fit, and the others are held out
to test it. Otherwise all sets enter a least-squares fit, which is tested on the sets that the
remaining ones determine too: for these a residual over its standard error is the same number as
the error of predicting the set from the fit without it (Belsley, Kuh and Welsch, Regression
Diagnostics, 1980, chapter 2: the two differ by the factor 1 - leverage).
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd

from harness.errors import UserError
from harness.formatting import join_words
from harness.latency_analysis.additivity import Additivity, adjust_p_values, judge_additivity
from harness.latency_analysis.set_rounds import SetRounds, collect_rounds, rank_roles
from harness.resampling import Bounds, interval_of
from harness.target_sets import ROLES, label_roles, order_roles


@dataclass(frozen=True)
class CostModel:
    terms: pd.DataFrame
    """A row a term: role (`qkv` for roles that occur only together), share(_low, _high) of the
    base's time that it adds, seconds(_low, _high) the same in seconds a call or token."""
    predictions: pd.DataFrame
    """A row for each non-empty set of the terms: target_set, role_count, ratio(_low, _high) to base
    as predicted, fitted_on; where measured also measured(_low, _high), excess(_low, _high), which
    is measured - ratio, and adjusted_p_value of the excess where the set tests the terms."""
    additivity: Additivity
    base_seconds: float
    """Median of the base."""
    rounds: int
    """Rounds behind every number: those that timed the base and all sets of the model."""
    processes: int
    """Fresh processes behind them; from one, intervals say nothing of how processes differ."""
    left_out: tuple[str, ...]
    """Sets timed in under half of the rounds."""


@dataclass(frozen=True)
class _Design:
    terms: tuple[tuple[str, ...], ...]
    """Roles of each term; more than one where they were measured only together."""
    indicator: np.ndarray
    """Whether a measured set has a term, as 0 and 1, [sets, terms]."""
    fitted_on: np.ndarray
    """Bool [sets]."""
    tested: np.ndarray
    """Bool [sets]: held out, or determined by the other sets of the fit too."""


def fit_cost_model(
    calls: pd.DataFrame, *, arm: str = "unmerged", time: str = "end_to_end", seed: int = 0
) -> CostModel:
    """Fit the terms of the roles to the rows of one point of a `latency.parquet`.

    `time` is ttft, tpot or end_to_end. Target sets count as one under any spelling. Rounds that
    lack a set are left out, or the set where it was timed in under half of them. Sets may have been
    timed in processes of their own, later say, provided that these have their own numbers.

    Raises UserError where the rows are of several points, the time is undefined (tpot of one output
    token), under 6 rounds have all sets, or the sets do not determine every term; the line then
    says what to measure in addition.
    """
    rounds = collect_rounds(calls, arm, f"{time}_seconds")
    design = _design_fit(rounds.sets)
    sets = _combine(design.terms)
    estimates = _estimate(rounds, design, sets, seed)
    adjusted = adjust_p_values(estimates.excess, seed)
    tested = list(itertools.compress(map(label_roles, rounds.sets), design.tested))
    untimed = [label_roles(each) for each in sets if each not in rounds.sets]
    terms = pd.DataFrame({"role": [_name_term(roles) for roles in design.terms]})
    shares, seconds = (
        _name_bounds(name, getattr(estimates, name)) for name in ("share", "seconds")
    )
    return CostModel(
        terms=terms.assign(**shares, **seconds),
        predictions=_tabulate(rounds, design, sets, estimates, adjusted),
        additivity=judge_additivity(tested, estimates.excess, adjusted, untimed),
        base_seconds=float(np.median(rounds.base)),
        rounds=len(rounds.base),
        processes=len(np.unique(rounds.process)),
        left_out=rounds.left_out,
    )


def _design_fit(sets: Sequence[tuple[str, ...]]) -> _Design:
    """Choose terms and the sets to fit on; UserError where the sets do not determine the terms."""
    members: dict[tuple[bool, ...], list[str]] = {}
    for role in ROLES:
        occurs = tuple(role in each for each in sets)
        if any(occurs):
            members.setdefault(occurs, []).append(role)
    terms = tuple(tuple(roles) for roles in members.values())
    indicator = np.array([*members]).T.astype(float)
    _check_rank(indicator, terms, sets)
    alone = indicator.sum(axis=1) == 1
    # Distinct sets of one term each: as many as there are terms are all of them.
    if alone.sum() == len(terms):
        return _Design(terms, indicator, fitted_on=alone, tested=~alone)
    leverage = np.diag(indicator @ np.linalg.pinv(indicator))
    return _Design(terms, indicator, np.ones(len(sets), bool), tested=leverage < 1 - 1e-9)


def _check_rank(
    indicator: np.ndarray, terms: Sequence[tuple[str, ...]], sets: Sequence[tuple[str, ...]]
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
            f"cost model: {', '.join(map(label_roles, sets))} do not tell the costs of "
            f"{', '.join(map(_name_term, terms))} apart; time {join_words(needed)} in addition"
        )


def _combine(terms: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return the roles of every non-empty set of terms, small sets first."""
    chosen = (
        order_roles(itertools.chain(*some))
        for count in range(1, len(terms) + 1)
        for some in itertools.combinations(terms, count)
    )
    return sorted(chosen, key=rank_roles)


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
    rounds: SetRounds, design: _Design, sets: Sequence[tuple[str, ...]], seed: int
) -> _Estimates:
    solver = np.zeros(design.indicator.T.shape)
    solver[:, design.fitted_on] = np.linalg.pinv(design.indicator[design.fitted_on])
    has_term = np.array([[set(term) <= set(each) for term in design.terms] for each in sets])

    def compute(drawn: np.ndarray) -> np.ndarray:
        medians = [np.median(logs[drawn], axis=1) for logs in rounds.logs.T]
        measured = np.exp(np.stack(medians, axis=1))
        share = (measured - 1) @ solver.T
        seconds = share * np.median(rounds.base[drawn], axis=1)[:, None]
        excess = (measured - 1 - share @ design.indicator.T)[:, design.tested]
        return np.hstack([share, seconds, 1 + share @ has_term.T, measured, excess])

    bounds = interval_of(compute, rounds.process, seed=seed)
    count = len(design.terms)
    ends = np.cumsum([count, count, len(sets), len(rounds.sets)])
    parts = np.split(np.arange(bounds.estimate.shape[-1]), ends)
    return _Estimates(*(_select(bounds, part) for part in parts))


def _select(bounds: Bounds, part: np.ndarray) -> Bounds:
    return Bounds(*(getattr(bounds, each.name)[..., part] for each in fields(bounds)))


def _tabulate(
    rounds: SetRounds,
    design: _Design,
    sets: Sequence[tuple[str, ...]],
    estimates: _Estimates,
    adjusted: np.ndarray,
) -> pd.DataFrame:
    labels = [label_roles(each) for each in rounds.sets]
    tested = list(itertools.compress(labels, design.tested))
    measured = pd.DataFrame(_name_bounds("measured", estimates.measured), index=labels)
    excess = pd.DataFrame(_name_bounds("excess", estimates.excess), index=tested)
    target_set = [label_roles(each) for each in sets]
    table = pd.DataFrame(
        {"target_set": target_set, "role_count": [len(each) for each in sets]}
        | _name_bounds("ratio", estimates.ratio)
    )
    table["fitted_on"] = table["target_set"].isin(itertools.compress(labels, design.fitted_on))
    added = measured.join(excess.assign(adjusted_p_value=adjusted))
    return table.join(added, on="target_set")


def _name_bounds(name: str, bounds: Bounds) -> dict[str, np.ndarray]:
    return {name: bounds.estimate, f"{name}_low": bounds.low, f"{name}_high": bounds.high}


def _name_term(roles: tuple[str, ...]) -> str:
    return roles[0] if len(roles) == 1 else label_roles(roles)
