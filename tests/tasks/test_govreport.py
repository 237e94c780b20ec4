"""GovReport: what is cut, what is not, and the headline."""

import pytest

from tasks.base import DataError
from tasks.govreport import GOVREPORT, to_example


def test_only_the_report_may_be_cut() -> None:
    example = to_example({"report": "\n Long report. \n", "summary": " Short. "})
    assert example.body == "Long report."
    assert example.prompt.startswith("You are given a report by a government agency.")
    assert example.prompt.endswith("\n\nSummary:")
    assert example.completion == example.reference == "Short."
    assert GOVREPORT.truncation == "head_tail"


def test_every_part_of_rouge_is_named_for_what_it_is() -> None:
    example = to_example({"report": "x", "summary": "Costs fell."})
    scores = GOVREPORT.score(example, "Costs fell.")
    assert scores == dict.fromkeys(("rouge1", "rouge2", "rougeL", "rougeLsum"), 1.0)
    assert GOVREPORT.metric in scores


def test_either_public_sets_columns_give_the_same_example() -> None:
    ccdv = {"report": "Long.", "summary": "Short."}
    launch = {"document": "Long.", "summary": "Short."}
    assert to_example(ccdv) == to_example(launch)
    assert GOVREPORT.split_key(ccdv) == GOVREPORT.split_key(launch) == "Long."
    with pytest.raises(DataError, match="column 'report' is missing"):
        to_example({"summary": "Short."})
    with pytest.raises(DataError, match="column 'document' is null"):
        to_example({"document": None, "summary": "Short."})
