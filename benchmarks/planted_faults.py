"""Does the suite catch faults that a reader of a diff could miss?

    python benchmarks/planted_faults.py --list
    python benchmarks/planted_faults.py --only clipping_dropped
    python benchmarks/planted_faults.py

Plants the faults of `fault_list.py`, one at a time, in a checkout of HEAD, and runs the tests that
`make test` runs: first the files that a fault names, then, if they pass, the rest of its room under
`tests/`. A fault counts as caught if a test fails with it and passes without it. Outcomes go to
benchmarks/results/planted-faults.json after every fault; a rerun skips faults whose outcome is
there, unless code or tests have changed since (--again repeats them all).
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fault_list import FAULTS, Fault

from harness.formatting import rule_table
from harness.records.files import cache_folder, write_json

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results" / "planted-faults.json"
TESTED = ("harness", "tasks", "hydra_plugins", "conf", "tests", "pyproject.toml")
"""What outcomes rest on."""
TIMEOUT_SECONDS = 900
CHANGE = ("file", "original", "replacement")
"""What makes a fault."""
PASSED, NO_TESTS = 0, 5
"""pytest's exit statuses."""


@dataclass(frozen=True)
class Outcome:
    caught_by: str | None
    """The first test that failed; None where all passed."""
    stage: str
    """What was run last: `named tests` or `room`."""
    seconds: float
    """Time until the failure, or of all tests."""
    commit: str
    """HEAD when the fault was planted."""


class Checkout:
    """HEAD in a folder of its own, with a cache that faulty code cannot spoil for others."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder, self._cache = folder, cache
        self.commit = run_git("rev-parse", "HEAD")

    def plant(self, fault: Fault) -> Outcome:
        path = self.folder / fault.file
        whole = read_checked(fault, self.folder)
        path.write_text(whole.replace(fault.original, fault.replacement), encoding="utf-8")
        started = time.monotonic()
        try:
            failed, stage = self.run_tests(fault.tests), "named tests"
            if failed is None:
                failed, stage = self.run_tests([find_room(fault)], skipped=fault.tests), "room"
        finally:
            path.write_text(whole, encoding="utf-8")
        seconds = round(time.monotonic() - started, 1)
        return Outcome(failed, stage, seconds, self.commit)

    def run_tests(self, tests: Sequence[str], skipped: Sequence[str] = ()) -> str | None:
        """Run tests up to the first failure, and return its id; None where all pass."""
        report = self.folder / ".pytest_cache/v/cache/lastfailed"
        report.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory() as name:
            # The converted model takes half a minute to make, and no fault is in it.
            for model in self._cache.glob("SmolLM2*"):
                (Path(name) / model.name).symlink_to(model)
            variables = {"PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1"}
            command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", *tests]
            done = subprocess.run(
                [*command, *(f"--ignore={each}" for each in skipped)],
                cwd=self.folder,
                env={**os.environ, **variables, "HARNESS_CACHE": name},
                capture_output=True,
                text=True,
                timeout=TIMEOUT_SECONDS,
            )
        if done.returncode in (PASSED, NO_TESTS):
            return None
        if not report.exists():
            raise SystemExit(f"pytest ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return str(next(iter(json.loads(report.read_text()))))


def find_room(fault: Fault) -> str:
    """The folder of tests of a fault's top-level package."""
    return f"tests/{fault.package.split('/')[0]}"


def read_checked(fault: Fault, root: Path) -> str:
    """Return the file that a fault changes; the text that it replaces must be there once."""
    whole = (root / fault.file).read_text(encoding="utf-8")
    count = whole.count(fault.original)
    if count != 1:
        raise SystemExit(
            f"{fault.name}: its original text occurs {count} times in {fault.file}, expected once; "
            "bring benchmarks/fault_list.py up to date"
        )
    absent = [each for each in (*fault.tests, find_room(fault)) if not (root / each).exists()]
    if absent:
        raise SystemExit(f"{fault.name}: {absent[0]} does not exist")
    return whole


def run_git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def is_unchanged_since(commit: str) -> bool:
    command = ["git", "-C", str(ROOT), "diff", "--quiet", commit, "HEAD", "--", *TESTED]
    return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0


def check_controls(checkout: Checkout, rows: Sequence[dict[str, Any]]) -> None:
    """Raise SystemExit where a test that caught a fault fails without one too."""
    caught_by = sorted({row["caught_by"] for row in rows if row["caught_by"]})
    failed = checkout.run_tests(caught_by) if caught_by else None
    if failed is not None:
        raise SystemExit(f"{failed} fails without a fault too; mend it, then repeat with --again")


@contextlib.contextmanager
def check_out() -> Iterator[Checkout]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "tree"
        run_git("worktree", "add", "--detach", str(folder), "HEAD")
        try:
            yield Checkout(folder, cache_folder())
        finally:
            run_git("worktree", "remove", "--force", str(folder))


def read_rows() -> dict[str, dict[str, Any]]:
    """Name -> fault and outcome of earlier runs; faults that were changed or left out are not."""
    if not RESULTS.exists():
        return {}
    rows = {row["name"]: row for row in json.loads(RESULTS.read_text())["faults"]}
    return {
        fault.name: rows[fault.name]
        for fault in FAULTS
        if fault.name in rows
        and all(rows[fault.name][key] == getattr(fault, key) for key in CHANGE)
    }


def write_rows(rows: dict[str, dict[str, Any]]) -> None:
    ordered = [rows[fault.name] for fault in FAULTS if fault.name in rows]
    caught = sum(row["caught_by"] is not None for row in ordered)
    counts = {"planted": len(ordered), "caught": caught, "missed": len(ordered) - caught}
    command = {"command": "python benchmarks/planted_faults.py"}
    write_json(RESULTS, command | counts | {"faults": ordered})


def format_rows(rows: dict[str, dict[str, Any]]) -> str:
    cells = [("fault", "package", "seconds", "caught by")]
    for name, row in rows.items():
        outcome = row["caught_by"] or f"MISSED: {row['wrong']}"
        cells.append((name, row["package"], f"{row['seconds']:.0f}", outcome))
    return rule_table(cells)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="NAME", nargs="+", help="plant these faults alone")
    parser.add_argument("--list", action="store_true", help="print the faults and plant none")
    parser.add_argument("--again", action="store_true", help="repeat what has an outcome")
    options = parser.parse_args()
    for fault in FAULTS:
        read_checked(fault, ROOT)
    if options.list:
        described = [(each.name, each.package, each.wrong) for each in FAULTS]
        print(rule_table([("fault", "package", "what is wrong"), *described]))
        return 0
    names = options.only or [fault.name for fault in FAULTS]
    if unknown := sorted(set(names) - {fault.name for fault in FAULTS}):
        raise SystemExit(f"{unknown[0]}: no such fault; --list prints their names")
    rows = read_rows()
    with check_out() as checkout:
        for fault in FAULTS:
            known = rows.get(fault.name)
            is_known = known is not None and is_unchanged_since(known["commit"])
            if fault.name not in names or (is_known and not options.again):
                continue
            outcome = checkout.plant(fault)
            rows[fault.name] = asdict(fault) | asdict(outcome)
            write_rows(rows)
            print(
                f"{fault.name}: {outcome.caught_by or 'MISSED'} ({outcome.seconds} s)", flush=True
            )
        check_controls(checkout, [rows[name] for name in names if name in rows])
    print(format_rows({name: rows[name] for name in names if name in rows}))
    return int(any(row["caught_by"] is None for row in rows.values() if row["name"] in names))


if __name__ == "__main__":
    sys.exit(main())
