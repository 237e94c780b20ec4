"""`python -m harness.modules`: the command is `harness.cli.modules`."""

import sys

from harness.cli.modules import main
from harness.models.projections import map_modules

__all__ = ["main", "map_modules"]

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
