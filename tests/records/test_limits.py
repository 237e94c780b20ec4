"""Cores and memory that a container or a batch system leaves, from trees of files as Linux has."""

from pathlib import Path

import psutil
import pytest

from harness.records import limits

GIB = 2**30


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(limits, "ROOT", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    for name in ("CPUS_PER_TASK", "CPUS_ON_NODE", "MEM_PER_NODE", "MEM_PER_CPU"):
        monkeypatch.delenv(f"SLURM_{name}", raising=False)
    return tmp_path


def write(root: Path, membership: str, **files: dict[str, str]) -> None:
    """A tree of control groups: folder under /sys/fs/cgroup -> its files."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(membership)
    for folder, contents in files.items():
        place = root / "sys/fs/cgroup" / folder.replace("_", "/")
        place.mkdir(parents=True, exist_ok=True)
        for name, text in contents.items():
            (place / name).write_text(text)


LIMITED = {
    "cpu.max": "50000 100000\n",
    "memory.max": f"{GIB}\n",
    "memory.current": f"{GIB // 2}\n",
    "memory.stat": f"anon 1\ninactive_file {GIB // 8}\n",
}
FREE = {"cpu.max": "max 100000\n", "memory.max": "max\n"}


def test_without_limits_the_machine_is_what_there_is(root: Path) -> None:
    assert limits.list_cores() == list(range(8))
    assert limits.read_free_memory() == pytest.approx(psutil.virtual_memory().available, rel=0.2)
    write(root, "0::/\n", **{"": FREE})
    assert len(limits.list_cores()) == 8


def test_a_container_of_one_gibibyte_and_half_a_core(root: Path) -> None:
    """As docker run --memory=1g --cpus=0.5 shows it: a namespace whose root is the container's."""
    write(root, "0::/\n", **{"": LIMITED})
    assert limits.list_cores() == [0]
    assert limits.read_free_memory() == GIB // 2 + GIB // 8


def test_the_tightest_group_on_the_way_up_counts(root: Path) -> None:
    write(
        root,
        "0::/user/job/step\n",
        user={"cpu.max": "200000 100000"},
        user_job={"memory.max": str(2 * GIB), "memory.current": "0", "memory.stat": ""},
        user_job_step=FREE,
    )
    assert limits.list_cores() == [0, 1]
    assert limits.read_free_memory() == 2 * GIB


def test_version_one(root: Path) -> None:
    memory = {
        "memory.limit_in_bytes": str(3 * GIB),
        "memory.usage_in_bytes": str(GIB),
        "memory.stat": f"total_inactive_file {GIB // 2}",
    }
    cpu = {"cpu.cfs_quota_us": "350000", "cpu.cfs_period_us": "100000"}
    nothing = {"memory.limit_in_bytes": str(2**63 - 4096), "memory.usage_in_bytes": "5"}
    groups = "4:memory:/job\n3:cpu,cpuacct:/job\n"
    write(root, groups, memory=nothing, memory_job=memory, cpu_job=cpu)
    assert limits.list_cores() == [0, 1, 2]
    assert limits.read_free_memory() == 2 * GIB + GIB // 2


def test_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    own = psutil.Process().memory_info().rss
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "6")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "2")
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "1024")
    assert limits.list_cores() == [0, 1]
    assert limits.read_free_memory() == pytest.approx(2 * GIB - own, abs=2**26)
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "1536")
    assert limits.read_free_memory() == pytest.approx(1.5 * GIB - own, abs=2**26)
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "0")
    assert limits.read_free_memory() > 2 * GIB


@pytest.mark.parametrize("text", ["", "what", "0::/\n0:", "0::/../../..\n"])
def test_files_that_say_nothing_limit_nothing(root: Path, text: str) -> None:
    write(root, "0::/\n", **{"": {"cpu.max": "x", "memory.max": "y", "cpu.cfs_quota_us": "-1"}})
    (root / "proc/self/cgroup").write_text(text)
    assert len(limits.list_cores()) == 8
    assert limits.read_cpu_quota() is None
    assert limits.read_free_memory() > GIB


@pytest.mark.parametrize(
    ("groups", "files", "quota"),
    [
        pytest.param("0::/\n", {"cpu.max": "200000 100000"}, 2.0, id="container of version 2"),
        pytest.param("0::/\n", {"cpu.max": "max 100000"}, None, id="unlimited"),
        pytest.param("0::/\n", {}, None, id="the root group has no file"),
        pytest.param(
            "0::/pod/task\n",
            {"pod/cpu.max": "150000 100000", "pod/task/cpu.max": "max 100000"},
            1.5,
            id="a parent's quota binds too",
        ),
        pytest.param(
            "0::/pod/task\n",
            {"pod/cpu.max": "400000 100000", "pod/task/cpu.max": "50000 100000"},
            0.5,
            id="the tightest binds",
        ),
        pytest.param(
            "5:cpu,cpuacct:/docker/abc\n4:cpuset:/\n",
            {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"},
            3.0,
            id="version 1, the host's path is not in the container",
        ),
        pytest.param(
            "1:cpu:/\n0::/\n",
            {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
            None,
            id="version 1, unlimited",
        ),
        pytest.param(
            "4:cpuset:/\n",
            {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"},
            None,
            id="cpuset is not cpu",
        ),
    ],
)
def test_the_cpu_quota_of_a_cgroup(
    root: Path, groups: str, files: dict[str, str], quota: float | None
) -> None:
    write(root, groups)
    for name, text in files.items():
        place = root / "sys/fs/cgroup" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{text}\n")
    assert limits.read_cpu_quota() == quota


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"memory.max": f"{GIB}", "memory.current": "0"}, GIB),
        ({"memory.max": f"{GIB}", "memory.current": "0", "memory.stat": "garbage"}, GIB),
        ({"memory.high": f"{GIB}", "memory.max": "max", "memory.current": "0"}, GIB),
        # More that the kernel could drop than is in use.
        ({"memory.max": f"{GIB}", "memory.current": "7", "memory.stat": "inactive_file 9"}, GIB),
    ],
)
def test_odd_files_still_limit(root: Path, files: dict[str, str], expected: int) -> None:
    write(root, "0::/\n", **{"": files | {"cpu.max": "50000 0"}})
    assert limits.read_free_memory() == expected
    assert len(limits.list_cores()) == 8


def test_a_mount_by_the_whole_name_of_its_controllers(root: Path) -> None:
    write(root, "3:cpu,cpuacct:/\n")
    place = root / "sys/fs/cgroup/cpu,cpuacct"
    place.mkdir(parents=True)
    (place / "cpu.cfs_quota_us").write_text("200000")
    (place / "cpu.cfs_period_us").write_text("100000")
    assert limits.list_cores() == [0, 1]
