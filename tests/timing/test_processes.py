"""Sessions in this process and in fresh ones: the same answers, and one line for every failure."""

import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from harness.adapters.storage import write_random_adapter
from harness.config.schema import AdapterConfig, ModelConfig
from harness.models.loading import load_model, load_structure
from harness.models.projections import map_modules
from harness.timing.points import Build, Point, TimedAdapter
from harness.timing.processes import FreshProcess, ProcessDiedError, SameProcess
from harness.timing.session import PointError
from harness.timing.timed_call import Decoder

# What is timed or counted never runs beside another such test.
pytestmark = pytest.mark.xdist_group("timing")

MODEL = ModelConfig(source="random", shape="tiny-llama", dtype="float32", device="cpu")
POINT = Point(3, ((5, 6, 7, 8), (9, 10, 11, 12)), 3)
BRIEFLY = {"tolerance": 1.0, "max_seconds": 5}
"""No test here needs a point to be warm."""


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    folder: Path = tmp_path_factory.mktemp("adapters")
    structure = load_structure(MODEL)
    mapped = map_modules(structure.model, structure.config, {})
    adapters = []
    for label, roles in {"o_proj": ("o",), "fc2": ("fc2",)}.items():
        write_random_adapter(
            structure.model,
            mapped.select(roles),
            AdapterConfig(rank=2, alpha=4),
            folder / label,
            seed=0,
            base_name="tiny",
        )
        adapters.append(TimedAdapter(label, str(folder / label), True))
    return Build(MODEL, tuple(adapters), planted=(0.5,))


EXPECTED = {
    ("base", "base"),
    ("base_again", "base"),
    ("base_cloned", "base"),
    ("planted", "+50%"),
    ("unmerged", "o_proj"),
    ("merged", "o_proj"),
    ("unmerged", "fc2"),
    ("merged", "fc2"),
    ("mixed", "mixed"),
}


@pytest.mark.parametrize("kind", [FreshProcess, SameProcess])
def test_a_session_times_every_arm_once_a_round(build: Build, kind: type[Any]) -> None:
    with kind() as host:
        ready = host.start(build, 0)
        assert ready["environment"]["cpu"]
        assert ready["adapter_dtype"] == "float32"
        opened = host.open(POINT, **BRIEFLY)
        assert opened["warmup_rounds"] >= 3
        # The base's second arm is no cold call: the same model has just run.
        cold = {(o["arm"], o["variant"]) for o in opened["operations"]}
        assert cold == EXPECTED - {("base_again", "base")}
        orders = set()
        for _ in range(4):
            rows = host.run_round()["rows"]
            assert {(row["arm"], row["variant"]) for row in rows} == EXPECTED
            assert sorted(row["position"] for row in rows) == list(range(len(EXPECTED)))
            orders.add(tuple((row["arm"], row["variant"]) for row in rows))
            for row in rows:
                assert 0 < row["ttft_seconds"] < row["end_to_end_seconds"]
                assert row["end_to_end_seconds"] == pytest.approx(
                    row["ttft_seconds"] + 2 * row["tpot_seconds"]
                )
                assert (row["batch_size"], row["prompt_tokens"], row["output_tokens"]) == (2, 4, 3)
                assert row["cpu_seconds"] > 0
                assert row["tokens_per_second"] == pytest.approx(6 / row["end_to_end_seconds"])
        assert len(orders) > 1
        sizes = {(o["arm"], o["variant"]): o["bytes"] for o in host.measure_memory()}
        assert set(sizes) == EXPECTED
        weights = sum(p.numel() * 4 for p in load_model(MODEL).model.parameters())
        assert all(size >= 0.9 * weights for size in sizes.values())
        host.close()
        assert len(host.open(POINT, **BRIEFLY)["operations"]) == 0  # nothing is cold by now


def test_the_order_depends_on_the_seed_and_the_process_alone(build: Build) -> None:
    def read_orders(number: int) -> list[tuple[str, ...]]:
        with SameProcess() as host:
            host.start(build, number)
            host.open(POINT, **BRIEFLY)
            rounds = [host.run_round()["rows"] for _ in range(3)]
        return [tuple(f"{r['arm']} {r['variant']}" for r in rows) for rows in rounds]

    first = read_orders(0)
    assert read_orders(0) == first
    assert read_orders(1) != first


def test_one_output_token_has_no_time_per_output_token(build: Build) -> None:
    with SameProcess() as host:
        host.start(build, 0)
        host.open(Point(0, POINT.prompts, 1), **BRIEFLY)
        rows = host.run_round()["rows"]
    assert all(row["tpot_seconds"] != row["tpot_seconds"] for row in rows)  # NaN


def test_what_fails_the_base_fails_the_point_and_says_which(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Decoder.run

    def run(self: Decoder, ids: torch.Tensor, output_tokens: int) -> Any:
        if len(ids) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return real(self, ids, output_tokens)

    monkeypatch.setattr(Decoder, "run", run)
    with SameProcess() as host:
        host.start(build, 0)
        expected = "batch 2, prompt 4, output 3: out of memory"
        with pytest.raises(PointError, match=expected) as raised:
            host.open(POINT, **BRIEFLY)
        assert raised.value.is_out_of_memory
        host.close()
        # The session goes on with work that fits.
        host.open(Point(4, POINT.prompts[:1], 3), **BRIEFLY)
        assert host.run_round()["rows"]


def test_an_arm_that_fails_is_left_out_and_named(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Decoder.run

    def run(self: Decoder, ids: torch.Tensor, output_tokens: int) -> Any:
        if self._planted:
            raise RuntimeError("no kernel\nfor this")
        return real(self, ids, output_tokens)

    monkeypatch.setattr(Decoder, "run", run)
    with SameProcess() as host:
        host.start(build, 0)
        opened = host.open(POINT, **BRIEFLY)
        assert opened["failures"] == (
            {"variant": "+50%", "arm": "planted", "message": "RuntimeError: no kernel"},
        )
        arms = {(row["arm"], row["variant"]) for row in host.run_round()["rows"]}
    assert arms == EXPECTED - {("planted", "+50%")}


def test_a_clock_that_stands_still_is_refused(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.timing.timed_call import CallTimes

    with SameProcess() as host:
        host.start(build, 0)
        monkeypatch.setattr(Decoder, "run", lambda *_: CallTimes(0.2, 0.1))
        with pytest.raises(PointError, match=r"the clock read 0\.2 s and then 0\.1 s"):
            host.open(POINT, **BRIEFLY)


@pytest.mark.slow
def test_a_killed_process_is_called_out_of_memory(build: Build) -> None:
    with FreshProcess() as host:
        host.start(build, 0)
        os.kill(host._process.pid, signal.SIGKILL)
        with pytest.raises(ProcessDiedError, match="signal 9") as raised:
            host.open(POINT, **BRIEFLY)
    assert raised.value.is_out_of_memory


@pytest.mark.slow
def test_no_process_is_left_behind(build: Build) -> None:
    host = FreshProcess()

    def interrupt() -> None:
        with host:
            host.start(build, 0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert not psutil.pid_exists(host._process.pid)


def test_a_process_ends_when_its_parent_has_died(build: Build) -> None:
    host = FreshProcess()
    host.start(build, 0)
    assert host._process.stdin is not None
    host._process.stdin.close()  # what the system does for a parent that was killed
    assert host._process.wait(timeout=300) == 0
    host.__exit__()


def test_a_model_that_cannot_be_loaded_is_one_line(build: Build) -> None:
    missing = Build(ModelConfig(source="local", path="/nowhere"), ())
    with SameProcess() as host, pytest.raises(PointError, match="/nowhere cannot be loaded"):
        host.start(missing, 0)
