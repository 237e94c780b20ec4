"""`python -m harness.latency`: the command is `harness.cli.latency`."""

import sys

from harness.cli.latency import main
from harness.timing.latency_study import run_study

__all__ = ["main", "run_study"]

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
