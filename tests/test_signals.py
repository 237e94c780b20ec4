import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import ROOT

from harness import signals
from harness.signals import (
    delay_interrupts,
    describe_exit,
    heed_interrupt,
    ignore_interrupts,
    interrupt_on,
    was_interrupted,
    was_killed,
)


@pytest.fixture(autouse=True)
def handlers_restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(signals, "_interrupted", threading.Event())
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
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


def test_a_swallowed_interrupt_is_raised_again() -> None:
    interrupt_on("SIGINT")
    heed_interrupt()
    with contextlib.suppress(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    assert was_interrupted()
    with pytest.raises(KeyboardInterrupt):
        heed_interrupt()


def test_a_hangup_that_nohup_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    interrupt_on("SIGTERM", "SIGHUP")
    os.kill(os.getpid(), signal.SIGHUP)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_waits_for_the_end_of_what_must_not_be_cut(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_DFL)  # under nohup it is ignored
    interrupt_on("SIGINT", "SIGTERM", "SIGHUP")
    done = []

    def start() -> None:
        with delay_interrupts():
            os.kill(os.getpid(), number)
            done.append("started")

    with pytest.raises(KeyboardInterrupt):
        start()
    assert done == ["started"]


def test_an_error_in_a_delayed_block_is_passed_on_and_handlers_return() -> None:
    interrupt_on("SIGTERM")
    with pytest.raises(OSError, match="no"), delay_interrupts():
        raise OSError("no")
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)


def test_interrupts_wait_in_the_main_thread_only() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(_enter_delay).result() == "entered"


def _enter_delay() -> str:
    with delay_interrupts(), ignore_interrupts():
        return "entered"


def test_a_process_started_while_ctrl_c_is_ignored_ignores_it_for_good() -> None:
    command = "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('alive')"
    with ignore_interrupts():
        process = subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE)
    assert process.communicate()[0] == b"alive\n"


def test_an_exit_in_words() -> None:
    assert describe_exit(-signal.SIGKILL) == "was killed (signal 9), probably out of memory"
    assert describe_exit(-signal.SIGSEGV) == "crashed (signal 11, Segmentation fault)"
    assert describe_exit(3) == "exited unexpectedly (exit status 3)"
    assert describe_exit(None) == "exited unexpectedly (exit status None)"
    assert was_killed(-9)
    assert not was_killed(9)
