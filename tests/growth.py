"""How the cost of work grows with its size: a time alone would be about the machine.

Work that is linear takes 8 times as long for 8 times the size, and quadratic work 64 times.
"""

import time
from collections.abc import Callable

FACTOR = 8
LINEAR = 24
"""Most that linear work may grow by, other programs and caches included; quadratic's is 64."""
LEAST_SECONDS = 0.05
"""Below this, a growth is the clock's and the caches'."""


def assert_linear(work: Callable[[int], object], size: int) -> None:
    """Do `work(size)` and `work(8 * size)` in this thread's CPU time, the better of two each."""
    large = _measure(work, FACTOR * size)
    if large > LEAST_SECONDS:
        small = _measure(work, size)
        assert large < LINEAR * small, f"{large / small:.0f} times for {FACTOR} times the size"


def _measure(work: Callable[[int], object], size: int) -> float:
    seconds = []
    for _ in range(2):
        started = time.thread_time()
        work(size)
        seconds.append(time.thread_time() - started)
    return min(seconds)
