"""Cores, threads and memory of a job, by the files with which a system tells of its limits."""

import os
from pathlib import Path

import pytest

from mefusion.processes import machine

linux = pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="reads what Linux tells in /proc")


@pytest.fixture
def limit(tmp_path, monkeypatch):
    """Write files of the control groups of a process that is bound to 16 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(16), raising=False)
    monkeypatch.setattr(machine, "_cgroups", lambda controller: [tmp_path])
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    return lambda **files: [(tmp_path / name.replace("__", ".")).write_text(text) for name, text in files.items()]


def test_cores_are_no_more_than_a_job_of_a_cluster_has(limit, monkeypatch):
    assert machine.cores() == 16
    limit(cpu__max="max 100000\n")
    assert machine.cores() == 16
    limit(cpu__max="250000 100000\n")
    assert machine.cores() == 3
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "2")
    assert machine.cores() == 2


def test_cores_of_control_groups_of_version_1(limit):
    limit(cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    assert machine.cores() == 16
    limit(cpu__cfs_quota_us="350000\n")
    assert machine.cores() == 4


@linux
@pytest.mark.parametrize(
    "files",
    [
        {"memory__max": "3000000\n", "memory__current": "1000000\n", "memory__stat": "anon 6\ninactive_file 400000\n"},
        {
            "memory__limit_in_bytes": "3000000\n", "memory__usage_in_bytes": "1000000\n",
            "memory__stat": "inactive_file 7\ntotal_inactive_file 400000\n",
        },
    ],
    ids=["version 2", "version 1"],
)  # fmt: skip
def test_free_memory_is_what_a_job_of_a_cluster_has_not_used(limit, files):
    limit(**files)
    assert machine.free_memory() == 2400000  # what was read of files can go
    assert machine.peak_memory_of(os.getpid()) > 10 * 2**20


@linux
@pytest.mark.parametrize(
    ("lines", "memory", "cpu"),
    [
        ("0::/job/step\n", ["job/step", "job", ""], ["job/step", "job", ""]),
        (
            "4:memory:/job\n3:cpu,cpuacct:/\n0::/other\n",
            ["memory/job", "memory", "other", ""], ["cpu", "other", ""],
        ),
    ],
    ids=["version 2", "version 1"],
)  # fmt: skip
def test_control_groups_are_those_of_this_process_and_what_they_are_in(tmp_path, monkeypatch, lines, memory, cpu):
    monkeypatch.setattr(Path, "read_text", lambda path: lines if str(path) == "/proc/self/cgroup" else None)
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path)
    assert machine._cgroups("memory") == [tmp_path / name for name in memory]
    assert machine._cgroups("cpu") == [tmp_path / name for name in cpu]


def test_threads_are_those_of_the_user_where_they_are_a_number(monkeypatch):
    for value, threads in (("4", 4), ("4,2", 4), (" 3 ", 3), ("", None), ("0", None), ("many", None)):
        monkeypatch.setenv("OMP_NUM_THREADS", value)
        assert machine.chosen_threads() == threads, value
        assert (machine.share_of_threads(1) == {}) == (threads is not None)  # the user's own are left
