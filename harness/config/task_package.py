"""The one door to the `tasks` package: the harness's own, whatever else has that name.

Run from a folder with a `tasks/` of its own, `python -m harness` would otherwise import that one.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from harness.errors import UserError


def bind_tasks() -> ModuleType:
    """Make `import tasks` find the package beside `harness`, and return it.

    Raises UserError where another `tasks` was imported first.
    """
    folder = Path(__file__).resolve().parents[2] / "tasks"
    loaded = sys.modules.get("tasks")
    if loaded is not None:
        origin = getattr(loaded, "__file__", None)
        if origin is None or Path(origin).resolve().parent != folder:
            raise UserError(
                f"another package named tasks is already imported ({origin}); run the harness in a "
                "separate process, for example python -m harness"
            )
        return loaded
    spec = importlib.util.spec_from_file_location(
        "tasks", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tasks"] = module
    spec.loader.exec_module(module)
    return module
