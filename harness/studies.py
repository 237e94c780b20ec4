"""`python -m harness.studies`: the command is `harness.cli.compare`."""

import sys

from harness.analysis.studies.study_comparison import compare_studies
from harness.cli.compare import main

__all__ = ["compare_studies", "main"]

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
