"""Signals: those that ask this process to end, and those that ended a child, in words."""

import signal
from types import FrameType

ENDING = ("SIGTERM", "SIGHUP")
"""Sent by `kill`, a batch system's time limit, and a terminal that closes."""


def interrupt_on(*names: str) -> None:
    """Raise KeyboardInterrupt at these signals, as at Ctrl-C; later ones are ignored.

    One interrupt is enough: Ctrl-C reaches a child twice, from the terminal and from its parent,
    and a second one would cut off the writing of records. A signal that is already ignored (by
    `nohup`, say) stays ignored, and one that the system does not have is left out.
    """
    known = [getattr(signal, name) for name in names if hasattr(signal, name)]
    numbers = [number for number in known if signal.getsignal(number) != signal.SIG_IGN]

    def interrupt(signum: int, frame: FrameType | None) -> None:
        for number in numbers:
            signal.signal(number, _do_nothing)
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, interrupt)


def _do_nothing(signum: int, frame: FrameType | None) -> None:
    """Of SIG_IGN Python would print an error, where another signal is on its way already."""


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
