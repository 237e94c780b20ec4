import subprocess
import sys
from pathlib import Path

import tasks
from harness.config.task_package import bind_tasks


def test_the_bundled_tasks_are_found() -> None:
    assert bind_tasks() is tasks
    assert set(bind_tasks().TASKS) == {"medmcqa", "govreport", "fincot", "invoice_ocr"}


def test_another_package_of_the_name_is_refused_not_used(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text("TASKS = {}\n")
    code = (
        "import sys; sys.path.insert(0, '.'); import tasks\n"
        "from harness.config.task_package import bind_tasks\n"
        "bind_tasks()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "another package named tasks" in done.stderr
