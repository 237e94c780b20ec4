"""The architecture: which room may import which, and how full a room is.

The rooms and their order stand in CONTRIBUTING.md.
"""

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HARNESS = ROOT / "harness"

ORDER = (
    {"errors", "formatting", "progress", "signals"},
    *({room} for room in ("records", "config", "analysis", "models", "data", "adapters")),
    *({room} for room in ("training", "evaluation", "timing", "sweep")),
)
"""A room imports its own modules and those of rooms before it."""
REACH = {name: set().union(*ORDER[: place + 1]) for place, row in enumerate(ORDER) for name in row}
REACH["reporting"] = REACH["analysis"] | {"reporting"}
WITHOUT_TORCH = ("records", "config", "analysis", "reporting")
TORCH = {"torch", "transformers", "peft", "accelerate", "bitsandbytes"}
MOST_FILES = 20
COMMANDS = {"latency", "modules", "report", "studies"}
"""Public module paths of a few lines each: `python -m harness.report`."""


def list_modules() -> list[Path]:
    return sorted(path for path in HARNESS.rglob("*.py") if "conf" not in path.parts)


def list_imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield module
            if module == "harness":
                yield from (f"harness.{alias.name}" for alias in node.names)


def find_room(path: Path) -> str:
    return path.relative_to(HARNESS).parts[0].removesuffix(".py")


def list_faults(path: Path) -> list[str]:
    """What in a file breaks the rule; the public API, the shims and `cli` may import all."""
    room = find_room(path)
    if room in ("__init__", "__main__", "cli", *COMMANDS):
        return []
    faults = []
    for name in list_imports(path):
        top, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        is_relative = not top
        if is_relative or (top == "harness" and rest and target not in REACH[room]):
            faults.append(f"{path.relative_to(ROOT)} imports {name}")
        if room in WITHOUT_TORCH and top in TORCH:
            faults.append(f"{path.relative_to(ROOT)} imports {top}")
    return faults


def test_a_room_imports_only_what_lies_to_its_left() -> None:
    assert [fault for path in list_modules() for fault in list_faults(path)] == []


@pytest.mark.parametrize(
    ("place", "code"),
    [
        ("records/x.py", "from harness.config.schema import Config"),
        ("analysis/x.py", "def f():\n    import torch"),
        ("analysis/x.py", "import harness.models.loading"),
        ("data/x.py", "from harness import training"),
        ("reporting/x.py", "from harness.sweep.run import run_sweep"),
        ("errors.py", "from harness.records.files import write_text"),
    ],
)
def test_a_breach_of_the_rule_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, code: str
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "HARNESS", tmp_path)
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.write_text(code)
    assert len(list_faults(path)) == 1


def test_no_room_holds_more_than_twenty_files() -> None:
    own = [*list_modules(), *(ROOT / "tasks").rglob("*.py")]
    counts = Counter(path.parent for path in own if path.stem != "__init__")
    assert {folder.name: n for folder, n in counts.items() if n > MOST_FILES} == {}


def test_no_two_modules_share_a_name_and_none_is_called_nothing() -> None:
    names = Counter(
        path.stem
        for path in list_modules()
        if path.stem not in ("__init__", "__main__") and path.parent != HARNESS
    )
    assert [name for name, count in names.items() if count > 1] == []
    # The public module paths keep their names; their commands live in `cli`.
    shims = {path.stem for path in HARNESS.glob("*.py")} & set(names)
    assert shims <= COMMANDS
    assert not set(names) & {"utils", "helpers", "common", "manager"}
    assert not set(names) & set(sys.stdlib_module_names)


def test_tasks_never_import_the_harness() -> None:
    found = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / "tasks").rglob("*.py")
        for name in list_imports(path)
        if name.split(".")[0] == "harness"
    }
    assert found == set()


def test_shims_are_a_few_lines() -> None:
    for name in COMMANDS:
        assert len((HARNESS / f"{name}.py").read_text().splitlines()) <= 12
