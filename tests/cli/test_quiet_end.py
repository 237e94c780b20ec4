import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("code", "redirection", "expected"),
    [
        # More than a pipe holds, and less: the second fails only when it is flushed.
        ('end_quietly(lambda: [print("x" * 99) for _ in range(9999)])()', "", "141"),
        ('end_quietly(lambda: sys.exit(sys.stderr.write("x\\n" * 99999)))()', "2>&1", "141"),
        ('end_quietly(lambda: sys.exit(print("x") or 3))()', "", "3"),
    ],
)
def test_a_reader_that_leaves_ends_the_command_quietly(
    code: str, redirection: str, expected: str, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"import sys\nfrom harness.cli.quiet_end import end_quietly\n{code}\n")
    shell = f'("$0" "$1" {redirection}; echo $? > "$2") | head -n 1'
    done = subprocess.run(
        ["sh", "-c", shell, sys.executable, str(script), str(tmp_path / "status")],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert (tmp_path / "status").read_text().strip() == expected


SWALLOW = """
def main():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        pass
"""
DESTROYED = """
class Doomed:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
def main():
    Doomed()
"""
TRANSLATE = SWALLOW.replace("pass", 'raise ImportError("no numpy")')


@pytest.mark.parametrize("main", [SWALLOW, TRANSLATE, DESTROYED])
def test_an_interrupt_that_a_library_hides_ends_the_command_all_the_same(main: str) -> None:
    code = "import os, signal, time\nfrom harness.cli.quiet_end import end_quietly\n"
    code += f"{main}\nend_quietly(main)()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr == "interrupted: run the same command again to resume\n"


def test_every_command_ends_so() -> None:
    mains = {
        path.stem: [ast.unparse(each) for each in node.decorator_list]
        for path in (ROOT / "harness/cli").glob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name == "main"
    }
    assert len(mains) >= 5
    assert set(map(tuple, mains.values())) == {("end_quietly",)}
