"""Jobs in processes of their own: pinned to cores, shown on one terminal, ended together.

A job leaves what it has to say on disk. A process that crashes, is killed or runs out of memory
takes its own job with it and nothing else. All come from one server process that has imported the
libraries and nothing more (multiprocessing's forkserver), so that starting one takes a moment.
"""

import multiprocessing
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from harness.models.devices import see_one_gpu
from harness.progress import Board, Progress, SentProgress, send_announcements
from harness.records.limits import list_cores
from harness.signals import delay_interrupts, describe_exit, heed_interrupt, interrupt_on
from harness.sweep.process_server import find_context, start_server

PATIENCE_SECONDS = 2.0
"""What a process has to write its records down once it is told to end."""

Work = Callable[..., None]


@dataclass(frozen=True)
class Job:
    """`work(*arguments, progress)`, importable and picklable."""

    title: str
    work: Work
    arguments: tuple[Any, ...]
    takes_gpu: bool = False
    """Whether each of several processes has a GPU of its own."""


@dataclass
class _Running:
    number: int
    """Of the job."""
    line: int
    """Its line on the terminal, and its share of the cores."""
    process: Any
    messages: Connection
    is_done: bool = False
    error: str | None = None


def share_cores(workers: int) -> list[list[int]]:
    """Cut the cores that this process may use into equal shares, for pinning; empty: unpinned."""
    if not hasattr(os, "sched_setaffinity"):
        return [[] for _ in range(workers)]
    cores = list_cores()
    size = max(1, len(cores) // workers)
    return [cores[i * size : (i + 1) * size] or cores for i in range(workers)]


def run_here(jobs: Sequence[Job], workers: int, progress: Progress) -> list[str | None]:
    """Run jobs one after another in this process, whatever `workers` says; see `run_apart`."""
    for job in jobs:
        heed_interrupt()
        job.work(*job.arguments, progress)
    return [None] * len(jobs)


def run_apart(jobs: Sequence[Job], workers: int, progress: Progress) -> list[str | None]:
    """Run each job in a fresh process, at most `workers` at a time, in order.

    Returns for each job why its process ended before its end, or None. Where this process is told
    to end (Ctrl-C), all are told, and killed if they have not ended after a moment; the exception
    is passed on.
    """
    start_server()
    context = find_context()
    cores = share_cores(workers)
    board = Board(progress)
    reasons: list[str | None] = [None] * len(jobs)
    waiting = list(range(len(jobs)))
    running: list[_Running] = []
    try:
        while waiting or running:
            free = sorted(set(range(workers)) - {each.line for each in running})
            while waiting and free:
                line = free.pop(0)
                # Cut off here, the child would complain of what it was not sent, or not be ended.
                with delay_interrupts():
                    number = waiting.pop(0)
                    gpu = line if jobs[number].takes_gpu and workers > 1 else None
                    running.append(_start(context, number, jobs[number], line, cores[line], gpu))
            for each in _wait(running, board):
                running.remove(each)
                board.clear(each.line)
                reasons[each.number] = _explain_end(each)
    except BaseException:
        _end(running)
        raise
    return reasons


def _start(
    context: Any, number: int, job: Job, line: int, cores: list[int], gpu: int | None
) -> _Running:
    messages, theirs = context.Pipe(duplex=False)
    process = context.Process(
        target=_work,
        args=(theirs, job.work, job.arguments, cores, torch.get_num_threads(), gpu),
        name=job.title,
    )
    process.start()
    theirs.close()
    return _Running(number, line, process, messages)


def _wait(running: Sequence[_Running], board: Board) -> list[_Running]:
    """Show what comes, until a process has ended; return those that have."""
    while True:
        heed_interrupt()
        ready = wait([each.messages for each in running])
        ended = []
        for each in running:
            if each.messages in ready and not _read(each, board):
                each.process.join()
                ended.append(each)
        if ended:
            return ended


def _read(running: _Running, board: Board) -> bool:
    """Take one message; False where there is none to come, for the process has ended."""
    try:
        message = running.messages.recv()
    except (EOFError, OSError):
        return False
    match message:
        case ("done",):
            running.is_done = True
        case ("error", text):
            running.error = text
        case _:
            board.show(running.line, message)
    return True


def _explain_end(running: _Running) -> str | None:
    if running.is_done:
        return None
    if running.error is not None:
        return running.error
    return f"its process {describe_exit(running.process.exitcode)}"


def _end(running: Sequence[_Running]) -> None:
    for each in running:
        each.process.terminate()
    deadline = time.monotonic() + PATIENCE_SECONDS
    for each in running:
        each.process.join(max(0.0, deadline - time.monotonic()))
        if each.process.is_alive():
            each.process.kill()
            each.process.join()


def _work(
    messages: Connection,
    work: Work,
    arguments: tuple[Any, ...],
    cores: list[int],
    threads: int,
    gpu: int | None,
) -> None:
    """The child's whole life; it may be told to end at any moment of it."""
    try:
        interrupt_on("SIGINT", "SIGTERM")
        threading.Thread(target=_end_with_parent, daemon=True).start()
        if gpu is not None:
            see_one_gpu(gpu)
        if cores:
            os.sched_setaffinity(0, cores)
        torch.set_num_threads(min(threads, len(cores)) if cores else threads)
        send_announcements(messages.send)
        work(*arguments, SentProgress(messages.send))
        messages.send(("done",))
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception:
        messages.send(("error", traceback.format_exc().strip().splitlines()[-1]))
        sys.exit(1)


def _end_with_parent() -> None:
    """No process outlives the one that started it, whatever ended that."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
