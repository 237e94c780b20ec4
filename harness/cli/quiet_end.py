"""Commands end without a traceback where they are interrupted, or where their reader has left."""

import functools
import os
import signal
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from harness.signals import ENDING, interrupt_on, was_interrupted

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def end_quietly(main: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Make a command exit with a shell's status where it is interrupted or no longer read."""

    @functools.wraps(main)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        interrupt_on(*ENDING)
        _hide_unraisable_interrupts()
        try:
            try:
                result = main(*args, **kwargs)
            finally:
                # Else the interpreter does it, after the last `except`.
                sys.stdout.flush()
        except BrokenPipeError:
            _drop_unread()
            sys.exit(128 + signal.SIGPIPE)
        except BaseException as error:
            # A library that is interrupted may raise an error of its own.
            if not (was_interrupted() or isinstance(error, KeyboardInterrupt)):
                raise
        else:
            if not was_interrupted():
                return result
        print("interrupted: run the same command again to resume", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)

    return run


def _hide_unraisable_interrupts() -> None:
    """Say nothing of an interrupt that comes in a destructor, say; it counts all the same."""
    show = sys.unraisablehook
    sys.unraisablehook = lambda each: None if each.exc_type is KeyboardInterrupt else show(each)


def _drop_unread() -> None:
    """Give streams without a reader another place for what they still hold."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
