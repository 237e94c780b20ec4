import subprocess
import sys
from pathlib import Path

import pytest

import harness

ROOT = Path(__file__).resolve().parents[1]


def test_the_public_names_are_listed_and_there() -> None:
    assert {"load_results", "compare", "recommend", "plot_tradeoff", "__version__"} <= {
        *dir(harness)
    }
    assert set(harness.__all__) <= set(dir(harness))
    assert not [name for name in dir(harness) if name[0] == "_" and name[:2] != "__"]
    for name in harness.__all__:
        assert callable(getattr(harness, name)), name


def test_the_version_is_the_projects(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    monkeypatch.setattr(importlib.metadata, "version", {"target-module-harness": "9.8"}.get)
    assert harness.__version__ == "9.8"

    def refuse(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", refuse)
    assert harness.__version__ == "unknown"


def test_importing_it_loads_nothing_slow() -> None:
    code = (
        "import sys, harness; dir(harness)\n"
        "print({'torch', 'pandas', 'numpy', 'hydra', 'scipy', 'tasks'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
