import os
import sys
import time

import pytest
from hydra.core.utils import JobStatus
from omegaconf import OmegaConf

from hydra_plugins.mefusion_launcher import ProcessLauncher
from mefusion.errors import MefusionError

# Stands for `python -m mefusion.train ...`: says what it was given, fails if told to, leaves its result.
JOB = """#!/bin/sh
echo "arguments: $@"
echo "threads: $OMP_NUM_THREADS"
echo "on stderr" >&2
case "$*" in *slow*) sleep 1;; esac
case "$*" in *fail*) exit 3;; esac
case "$*" in *silent*) exit 0;; esac
echo 0.25 > "$MEFUSION_RESULT_FILE"
"""


@pytest.fixture
def launch(tmp_path, monkeypatch):
    program = tmp_path / "job"
    program.write_text(JOB)
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def launch(*jobs, n_jobs=None, first=0):
        launcher = ProcessLauncher(n_jobs=n_jobs)
        config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path / "logs")}}})
        launcher.setup(hydra_context=None, task_function=None, config=config)
        return launcher.launch([job.split() for job in jobs], first)

    return launch


def test_each_job_is_the_command_in_run_mode_with_its_own_log(launch, tmp_path, capfd):
    results = launch("seed=1 tasks=all", "seed=2 tasks=all", first=4)
    assert [result.return_value for result in results] == [0.25, 0.25]
    assert all(result.status is JobStatus.COMPLETED for result in results)
    assert [list(result.overrides) for result in results] == [["seed=1", "tasks=all"], ["seed=2", "tasks=all"]]
    for number, seed in ((4, 1), (5, 2)):
        log = (tmp_path / "logs" / f"{number}.log").read_text()
        assert f"arguments: -m mefusion.train seed={seed} tasks=all" in log
        assert "on stderr" in log
        assert f"[{number}] arguments: -m mefusion.train seed={seed}" in capfd.readouterr().out or number == 5


def test_a_failed_job_stops_no_other_and_is_named(launch, tmp_path):
    with pytest.raises(MefusionError) as error:
        launch("a=fail", "b=1", "c=fail,slow", "d=1", n_jobs=2)
    sentence = str(error.value)
    for part in ("2 of 4 jobs failed", "job 0 (a=fail)", "job 2 (c=fail,slow)", str(tmp_path / "logs")):
        assert part in sentence
    assert (tmp_path / "logs" / "3.result").read_text() == "0.25\n"


@pytest.mark.parametrize(("n_jobs", "least", "most"), [(1, 2, 9), (2, 1, 1.9)])
def test_so_many_jobs_run_at_once(launch, n_jobs, least, most):
    start = time.perf_counter()
    launch("a=slow", "b=slow", n_jobs=n_jobs)
    assert least <= time.perf_counter() - start < most


def test_jobs_share_the_cores(launch, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    launch("a=1", "b=1")
    assert "threads: 4" in (tmp_path / "logs" / "0.log").read_text()
    launch("a=1", n_jobs=3)
    assert "threads: 8" in (tmp_path / "logs" / "0.log").read_text()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    launch("a=1")
    assert "threads: 1\n" in (tmp_path / "logs" / "0.log").read_text()


def test_a_job_without_a_result_returns_none(launch):
    # A job that ran some folds alone pools nothing.
    (result,) = launch("a=silent")
    assert result.status is JobStatus.COMPLETED
    assert result.return_value is None


def test_a_result_of_an_earlier_sweep_is_not_taken_for_a_new_one(launch):
    launch("a=1")
    (result,) = launch("a=silent")
    assert result.return_value is None
