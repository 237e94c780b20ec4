"""Scores of examples -> what an `evaluate` module returns."""

from collections.abc import Mapping, Sequence

Scores = dict[str, float | list[float]]


def gather_scores(scores: Sequence[Mapping[str, float]], use_aggregator: bool) -> Scores:
    """The mean of each score; without the aggregator (as with `evaluate`'s own ROUGE) a list of it,
    one value an example."""
    columns = {name: [each[name] for each in scores] for name in scores[0]}
    if not use_aggregator:
        return dict(columns)
    return {name: sum(values) / len(values) for name, values in columns.items()}
