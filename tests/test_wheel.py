"""The wheel, unpacked and used from a folder that has packages and folders of the same names."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, TINY

# What the console script does, and where it found the package.
ENTRY = "import harness; print(harness.__file__); from harness.__main__ import main; main()"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    site = folder / "site"
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    return site


def test_wheel_carries_the_configuration_and_nothing_foreign(installed: Path) -> None:
    shipped = {path.relative_to(installed / "harness/conf") for path in installed.rglob("*.yaml")}
    assert shipped == {path.relative_to(ROOT / "conf") for path in (ROOT / "conf").rglob("*.yaml")}
    top = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert top == {"harness", "tasks", "hydra_plugins"}
    assert not (installed / "hydra_plugins" / "__init__.py").exists()


@pytest.mark.slow
def test_wheel_works_in_a_folder_with_packages_of_the_same_names(
    installed: Path, tmp_path: Path
) -> None:
    for name in ("tasks", "conf", "results"):
        (tmp_path / name).mkdir()
    (tmp_path / "tasks" / "__init__.py").write_text("raise SystemExit('the wrong tasks')\n")
    (tmp_path / "conf" / "config.yaml").write_text("not: this one\n")
    (tmp_path / "results" / "mine.txt").write_text("keep\n")
    arguments = [*TINY, "target_modules=o_proj", "study=s", "latency=off"]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    for command in (
        [sys.executable, "-m", "harness", *arguments],
        [sys.executable, "-c", ENTRY, *arguments, "seed=1"],
    ):
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "results" / "s" / "runs").iterdir())) == 3
    assert (tmp_path / "results" / "mine.txt").read_text() == "keep\n"
    assert done.stdout.startswith(str(installed))
