"""A command whose reader has left, such as `| head`, ends without a word."""

import functools
import os
import signal
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def end_with_reader(main: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Make a command exit with a shell's status for SIGPIPE where its output is no longer read."""

    @functools.wraps(main)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            try:
                return main(*args, **kwargs)
            finally:
                # Else the interpreter does it, after the last `except`.
                sys.stdout.flush()
        except BrokenPipeError:
            _drop_unread()
            sys.exit(128 + signal.SIGPIPE)

    return run


def _drop_unread() -> None:
    """Give streams without a reader another place for what they still hold."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
