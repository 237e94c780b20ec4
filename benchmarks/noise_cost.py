"""What reading the noise counters costs: twice around every timed call, outside of its time.

python -m benchmarks.noise_cost [--readings 2000]
"""

import argparse
import statistics
import time

import torch

from harness.timing.noise import NoiseMeter


def measure_costs(readings: int) -> list[float]:
    """Return the seconds of each start and stop of the meter, in ascending order."""
    meter = NoiseMeter(torch.device("cpu"))
    costs = []
    for _ in range(readings):
        started = time.perf_counter()
        meter.start()
        meter.stop()
        costs.append(time.perf_counter() - started)
    return sorted(costs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readings", type=int, default=2000)
    costs = measure_costs(parser.parse_args().readings)
    print(
        f"one start and stop: fastest tenth {costs[len(costs) // 10] * 1e6:.0f} us, "
        f"median {statistics.median(costs) * 1e6:.0f} us, slowest {costs[-1] * 1e6:.0f} us"
    )


if __name__ == "__main__":
    main()
