"""`python -m harness.report`: the command is `harness.cli.report`."""

import sys

from harness.cli.report import main
from harness.reporting.study_report import build_report

__all__ = ["build_report", "main"]

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
