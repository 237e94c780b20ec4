import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from conftest import ROOT

from harness.signals import describe_exit, interrupt_on, was_killed


@pytest.fixture(autouse=True)
def handlers_restored() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGHUP)
    handlers = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)


def test_the_first_signal_interrupts_and_later_ones_do_not() -> None:
    interrupt_on("SIGTERM", "SIGHUP", "SIGNONE")
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
    for number in (signal.SIGTERM, signal.SIGHUP):
        os.kill(os.getpid(), number)


BOTH_AT_ONCE = """
import os, signal
from harness.signals import interrupt_on
interrupt_on("SIGINT", "SIGTERM")
both = {signal.SIGINT, signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, both)
for number in both:
    os.kill(os.getpid(), number)
try:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, both)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_signal_that_is_on_its_way_already_is_no_error() -> None:
    """Ctrl-C reaches a worker from the terminal, and its parent ends it at the same moment."""
    command = [sys.executable, "-c", BOTH_AT_ONCE]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")


def test_a_hangup_that_nohup_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    interrupt_on("SIGTERM", "SIGHUP")
    os.kill(os.getpid(), signal.SIGHUP)


def test_an_exit_in_words() -> None:
    assert describe_exit(-signal.SIGKILL) == "was killed (signal 9), probably out of memory"
    assert describe_exit(-signal.SIGSEGV) == "crashed (signal 11, Segmentation fault)"
    assert describe_exit(3) == "exited unexpectedly (exit status 3)"
    assert describe_exit(None) == "exited unexpectedly (exit status None)"
    assert was_killed(-9)
    assert not was_killed(9)
