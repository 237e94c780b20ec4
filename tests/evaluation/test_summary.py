"""What a record keeps of scored examples."""

import math
from collections.abc import Callable
from typing import Any

from harness.data.preparation import prepare_task
from harness.evaluation.scoring import ScoredExample
from harness.evaluation.summary import summarize


def test_a_mean_length_is_over_the_answers_whose_length_is_known(
    tiny_config: Callable[..., Any],
) -> None:
    prepared = prepare_task(tiny_config(), context_length=512)
    scored = [
        ScoredExample(
            id=item.example.id,
            prediction="A",
            reference=item.example.reference,
            is_truncated=False,
            scores={"accuracy": 1.0},
            completion_tokens=length,
        )
        for item, length in zip(prepared.test, (3, None, 8, None), strict=True)
    ]
    summary = summarize(scored, prepared, seconds=1.0)
    assert summary.completion_tokens == 5.5
    assert math.isnan(summary.reasoning_tokens)
