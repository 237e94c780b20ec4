"""Studies side by side: does the recommendation change with model, machine, version or recipe?

python -m harness.studies results/before results/after
python -m harness.studies results/before results/after --out results/compared
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.analysis.studies.study_comparison import compare_studies
from harness.analysis.verdict.decision import BALANCED
from harness.cli.quiet_end import end_quietly
from harness.errors import UserError
from harness.reporting.studies_page import text_comparison, write_studies


@end_quietly
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of `python -m harness.studies`; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m harness.studies", description="Put two or more studies side by side."
    )
    parser.add_argument(
        "studies", nargs="+", type=Path, help="folders of studies, or folders that contain studies"
    )
    parser.add_argument(
        "--delta",
        type=float,
        default=BALANCED.delta,
        help="tolerance in mean score that may be lost against the best set (default: %(default)s)",
    )
    parser.add_argument("--out", type=Path, help="folder for studies.md and studies.csv")
    options = parser.parse_args(arguments)
    try:
        compared = compare_studies(options.studies, options.delta)
        print(text_comparison(compared))
        if options.out is not None:
            print(f"\nPage: {write_studies(compared, options.out)}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
