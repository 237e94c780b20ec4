"""The server that worker processes come from: it has the libraries imported, and nothing else.

Apart from `harness.sweep.workers`, so that it can be started before anything slow is imported here.
"""

import multiprocessing
import os
from typing import Any

from harness.signals import delay_interrupts, ignore_interrupts

CACHED_PRODUCTS = 32
"""On a CPU, shapes of products that oneDNN and PyTorch's layer over it keep prepared. With their
own 1,024 a worker grows by a gibibyte, since nearly every batch has lengths of its own, and is no
faster."""


def start_server() -> None:
    """Begin to import the libraries in the server, while this process does something else."""
    context = find_context()
    if context.get_start_method() == "forkserver":
        from multiprocessing import forkserver

        context.set_forkserver_preload(["harness.sweep.run", "evaluate"])
        # Its workers are told to end by this process, which hears Ctrl-C from the terminal too.
        with delay_interrupts(), ignore_interrupts():
            forkserver.ensure_running()


def find_context() -> Any:
    """multiprocessing with such a server where the system has it, else with fresh processes."""
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(name, str(CACHED_PRODUCTS))
    methods = multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
