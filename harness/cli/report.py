"""Rebuilds everything derived from a study's records: tables, plots, recommendation, report.

python -m harness.report results/quickstart
python -m harness.report results/quickstart --delta 0.03
python -m harness.report results/quickstart --profile merged
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.analysis.verdict.decision import BALANCED, PROFILES
from harness.cli.quiet_end import end_quietly
from harness.errors import UserError
from harness.formatting import join_words
from harness.reporting.study_report import _list_builders


@end_quietly
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of `python -m harness.report`; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m harness.report", description="Rebuild a study's report from its records."
    )
    parser.add_argument("study", type=Path, help="a study's folder, such as results/quickstart")
    parser.add_argument(
        "--delta",
        type=float,
        help="tolerance in mean score that may be lost against the best set (default: profile's)",
    )
    parser.add_argument(
        "--profile",
        default=BALANCED.name,
        help=f"use case, which sets cost and tolerance: {join_words([p.name for p in PROFILES])}",
    )
    options = parser.parse_args(arguments)
    try:
        builders = list(_list_builders(options.study, options.delta, options.profile))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    status = 0
    for build in builders:
        try:
            report = build()
        except UserError as error:
            # The folder's other report, where it has one, can still be built.
            print(f"error: {error}", file=sys.stderr)
            status = 2
        else:
            print(f"{report.text}\n\nReport: {report.html}")
    return status
