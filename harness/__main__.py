"""`python -m harness` and the console script `harness`."""

from harness.cli.sweep import main

if __name__ == "__main__":
    main()
