"""Signals: those that ask this process to end, and those that ended a child, in words."""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

ENDING = ("SIGINT", "SIGTERM", "SIGHUP")
"""Sent by Ctrl-C, `kill` or a batch system's time limit, and a terminal that closes."""

_interrupted = threading.Event()


def interrupt_on(*names: str) -> None:
    """Raise KeyboardInterrupt at the first of these signals; later ones are ignored.

    One interrupt is enough: Ctrl-C reaches a child twice, from the terminal and from its parent,
    and a second one would cut off the writing of records. A signal that is already ignored (by
    `nohup`, say) stays ignored, and one that the system does not have is left out.
    """
    known = [getattr(signal, name) for name in names if hasattr(signal, name)]
    numbers = [number for number in known if signal.getsignal(number) != signal.SIG_IGN]

    def interrupt(signum: int, frame: FrameType | None) -> None:
        for number in numbers:
            signal.signal(number, _do_nothing)
        _interrupted.set()
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, interrupt)


def was_interrupted() -> bool:
    """Whether one of the signals of `interrupt_on` has come."""
    return _interrupted.is_set()


def heed_interrupt() -> None:
    """Raise KeyboardInterrupt again where a library has swallowed it, which imports of some do."""
    if was_interrupted():
        raise KeyboardInterrupt


def _do_nothing(signum: int, frame: FrameType | None) -> None:
    """Of SIG_IGN Python would print an error, where another signal is on its way already."""


@contextmanager
def delay_interrupts() -> Iterator[None]:
    """Let the `ENDING` signals wait until the block is done.

    For what must not be cut in two, such as the start of a process.
    """
    arrived: list[int] = []
    try:
        with _handle(ENDING, lambda signum, frame: arrived.append(signum)):
            yield
    finally:
        for number in arrived[:1]:
            signal.raise_signal(number)


@contextmanager
def ignore_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C in this block, and for good in the processes that are started in it."""
    with _handle(("SIGINT",), signal.SIG_IGN):
        yield


@contextmanager
def _handle(
    names: Sequence[str], handler: Callable[[int, FrameType | None], object] | signal.Handlers
) -> Iterator[None]:
    """Replace Python's handlers of these signals; in the main thread, which alone has them."""
    known = [getattr(signal, name) for name in names if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        known = []
    handlers = {number: signal.getsignal(number) for number in known}
    before = {number: each for number, each in handlers.items() if callable(each)}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, each in before.items():
            signal.signal(number, each)


def was_killed(status: int | None) -> bool:
    """Whether a process ended by SIGKILL, which is how the system frees memory."""
    return status == -signal.SIGKILL


def describe_exit(status: int | None) -> str:
    """How a process ended, as the end of a sentence; `status` is negative for a signal."""
    if was_killed(status):
        return "was killed (signal 9), probably out of memory"
    if status is not None and status < 0:
        return f"crashed (signal {-status}, {signal.strsignal(-status)})"
    return f"exited unexpectedly (exit status {status})"
