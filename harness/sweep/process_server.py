"""The server that worker processes come from: it has the libraries imported, and nothing else.

Apart from `harness.sweep.workers`, so that it can be started before anything slow is imported here.
"""

import multiprocessing
from typing import Any


def start_server() -> None:
    """Begin to import the libraries in the server, while this process does something else."""
    context = find_context()
    if context.get_start_method() == "forkserver":
        from multiprocessing import forkserver

        context.set_forkserver_preload(["harness.sweep.run", "evaluate"])
        forkserver.ensure_running()


def find_context() -> Any:
    """multiprocessing with such a server where the system has it, else with fresh processes."""
    methods = multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
