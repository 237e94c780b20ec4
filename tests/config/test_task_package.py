import subprocess
import sys
from pathlib import Path

import pytest

import harness.config.task_package  # noqa: F401  (before tasks)
import tasks

ROOT = Path(__file__).resolve().parents[2]


def run_code(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """In a process whose first path is `folder`, and whose second is the clone."""
    paths = f"import sys; sys.path[:0] = [{str(folder)!r}, {str(ROOT)!r}]\n"
    return subprocess.run(
        [sys.executable, "-c", paths + code], cwd=folder, capture_output=True, text=True
    )


@pytest.fixture(params=["tasks.py", "tasks/__init__.py"])
def foreign(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A folder with a `tasks` of its own."""
    module = tmp_path / request.param
    module.parent.mkdir(exist_ok=True)
    module.write_text("TASKS = {}\n")
    return tmp_path


def test_the_bundled_tasks_are_found() -> None:
    assert Path(tasks.__file__).parent == ROOT / "tasks"
    names = {"medmcqa", "govreport", "fincot", "invoice_ocr", "medreason", "cocohd"}
    assert set(tasks.TASKS) == names


def test_a_package_of_the_name_does_not_come_first(foreign: Path) -> None:
    code = "import harness.config.task_package, tasks, tasks.base; print(set(tasks.TASKS))"
    assert "medmcqa" in run_code(foreign, code).stdout


def test_the_users_own_package_is_theirs_where_only_results_are_read(foreign: Path) -> None:
    code = "import harness; harness.load_results; import tasks; print(len(tasks.TASKS))"
    assert run_code(foreign, code).stdout == "0\n"


def test_another_package_of_the_name_is_refused_not_used(foreign: Path) -> None:
    done = run_code(foreign, "import tasks\nimport harness.config.task_package\n")
    assert done.returncode == 1
    assert "another package named tasks is already imported" in done.stderr.splitlines()[-1]
