import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from hydra.core.utils import JobReturn, JobStatus

from hydra_plugins import mefusion_slurm
from hydra_plugins.mefusion_slurm import squeue_states, watch
from mefusion.common.quiet import quiet_lightning
from mefusion.processes.stopping import Stopped


def program(folder, name, script):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A folder for SLURM's programs, first on the path."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


class Job:
    """A job of Submitit, whose result is a file."""

    def __init__(self, folder, number):
        self.job_id = f"12_{number}"
        self.paths = SimpleNamespace(folder=folder, stdout=folder / f"{number}.out", result_pickle=folder / str(number))

    def end(self, outcome, result):
        self.outcome = outcome, result
        self.paths.result_pickle.touch()

    def _get_outcome_and_result(self):
        return self.outcome


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """Watch three jobs while a script of what happens is played, a step at each look; returns states and lines."""
    monkeypatch.setattr(mefusion_slurm, "LOOK", 0.0)
    monkeypatch.setattr(mefusion_slurm, "PATIENCE", 0.0)

    def watched(*steps, shards=1):
        jobs, lines, played = [Job(tmp_path, number) for number in range(3)], [], iter(steps)

        def ask(array):
            assert array == "12"
            return next(played)(jobs)

        states = watch(jobs, ["a=1", "a=2", "a=3"], 4, shards, ask=ask, say=lines.append)
        return states, lines

    return watched


def words(*given):
    return {f"12_{number}": word for number, word in enumerate(given) if word}


def done(uf1, complete=True):
    return JobReturn(status=JobStatus.COMPLETED, _return_value={"complete": complete, "uf1": uf1, "objective": uf1})


def test_the_user_sees_the_states_of_the_jobs_and_a_table(watched, tmp_path, capfd):
    def end(jobs):
        jobs[0].end("success", done(0.25))
        jobs[1].end("success", JobReturn(status=JobStatus.FAILED, _return_value=SystemExit("mefusion-train: no luck")))
        return words("", "", "CANCELLED")

    states, lines = watched(
        lambda jobs: words("PENDING", "PENDING", "PENDING"),
        lambda jobs: words("RUNNING", "RUNNING", "PENDING"),
        lambda jobs: words("PENDING", "RUNNING", "RUNNING"),  # preempted
        lambda jobs: words("RUNNING", "RUNNING", "RUNNING"),
        end,
    )
    assert [state.word for state in states] == [
        "done", "failed: mefusion-train: no luck", "ended by the cluster: cancelled",
    ]  # fmt: skip
    assert [state.failed for state in states] == [False, True, True]
    results = [mefusion_slurm._joined([], shards) for shards in (states[:1], states, states[2:])]
    assert [(result.status, result._return_value) for result in results] == [
        (JobStatus.COMPLETED, 0.25), (JobStatus.FAILED, states[1].word), (JobStatus.UNKNOWN, states[2].word),
    ]  # fmt: skip
    assert lines[:4] == [
        *(f"[{4 + n}] a={n + 1}: job 12_{n}, log {tmp_path / f'{n}.out'}" for n in range(3)),
        "Ctrl-C leaves these jobs in the queue, scancel 12 ends them",
    ]
    assert [line for line in lines if line.startswith("[4]")][1:] == [
        "[4] running", "[4] queued again", "[4] running", "[4] done",
    ]  # fmt: skip
    assert "2 running, 1 pending" in lines
    printed = capfd.readouterr().out
    assert "0.250" in printed
    assert f"[6] ended by the cluster: cancelled ({tmp_path / '2.out'})" in printed


@pytest.mark.parametrize(
    ("shards", "expected"),
    [(1, ["folds missing", "done", "folds missing"]), (2, ["done", "done", "folds missing"]), (3, ["done"] * 3)],
)
def test_a_study_is_done_if_one_of_the_jobs_that_share_it_found_it_complete(watched, shards, expected):
    def end(jobs):
        for job, complete in zip(jobs, (False, True, False), strict=True):
            job.end("success", done(0.5 if complete else None, complete))
        return {}

    states, _ = watched(end, shards=shards)
    assert [state.word for state in states] == expected
    assert not any(state.failed for state in states)


def test_ctrl_c_says_that_the_jobs_go_on(watched):
    def stop(jobs):
        raise Stopped

    with pytest.raises(Stopped, match="the jobs stay in the queue, scancel 12 ends them: once they are over, the same"):
        watched(lambda jobs: words("RUNNING", "RUNNING", "RUNNING"), stop)


def test_a_job_that_the_queue_no_longer_shows_has_ended(watched):
    def vanish(jobs):
        for job in jobs[:2]:
            job.end("success", done(None))
        return {}

    states, _ = watched(lambda jobs: words("RUNNING", "RUNNING", "RUNNING"), vanish)
    assert states[2].word == "ended by the cluster: no longer in the queue"


def test_a_result_that_is_late_on_the_disk_is_waited_for(watched, monkeypatch):
    monkeypatch.setattr(mefusion_slurm, "PATIENCE", 60.0)

    def late(jobs):
        for job in jobs:
            job.end("success", done(None))
        return {}

    states, _ = watched(lambda jobs: words("COMPLETED", "COMPLETED", ""), lambda jobs: {}, late)
    assert [state.word for state in states] == ["done"] * 3


def test_an_outage_of_the_controller_ends_no_job(watched):
    def end(jobs):
        for job in jobs[1:]:
            job.end("success", done(None))
        return words("CANCELLED")

    states, lines = watched(
        lambda jobs: words("RUNNING", "RUNNING", "RUNNING"),
        lambda jobs: jobs[0].end("success", done(0.5)),  # no answer; the result is there
        lambda jobs: None,
        lambda jobs: words("", "RUNNING", "RUNNING"),
        lambda jobs: None,
        end,
    )
    assert [state.word for state in states] == ["done"] * 3
    assert lines.count("squeue does not answer: the jobs go on, and it is asked again") == 2  # once an outage


@pytest.mark.parametrize("word", ["PREEMPTED", "REVOKED"])
def test_a_job_that_the_cluster_took_its_node_has_ended(watched, word):
    states, _ = watched(lambda jobs: words(word, word, word))
    assert [state.word for state in states] == [f"ended by the cluster: {word.lower()}"] * 3


SQUEUE = """
case "$*" in
    *--jobs=12*) printf "12_0|RUNNING\\n12_1|PENDING\\n";;
    *--jobs=13*) echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1;;
    *) echo "slurm_load_jobs error: Unable to contact slurm controller (connect failure)" >&2; exit 1;;
esac
"""


def test_states_are_those_of_squeue(cluster, monkeypatch):
    program(cluster, "squeue", SQUEUE)
    assert squeue_states("12") == {"12_0": "RUNNING", "12_1": "PENDING"}
    assert squeue_states("13") == {}
    assert squeue_states("14") is None
    monkeypatch.setenv("PATH", "")
    assert squeue_states("12") is None


def test_lightning_does_not_ask_for_srun(cluster):
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

    program(cluster, "srun", "exit 1")
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        assert not SLURMEnvironment.detect()
        assert ["srun" in str(warning.message) for warning in shown] == [True]
        quiet_lightning()
        assert not SLURMEnvironment.detect()
        assert len(shown) == 1


def has_cluster():
    try:
        return subprocess.run(["sinfo", "-h"], capture_output=True, timeout=20).stdout != b""
    except (OSError, subprocess.TimeoutExpired):
        return False


def wait_until(holds, seconds=120):
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not has_cluster(), reason="needs a SLURM")
def test_a_job_that_is_requeued_goes_on_and_gives_the_same(three, command, tmp_path):
    """On a real SLURM: folds as an array; one of its jobs gets the signal before its time limit while it trains."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    small = [*three, "model=off_apexnet", "model.training.max_epochs=150", "model.training.batch_size=2"]
    alone, printed = tmp_path / "alone", tmp_path / "printed.txt"
    assert command("mefusion-train", *small, "processes=1", f"output_dir={alone}", cwd=tmp_path).returncode == 0
    jobs = ["-m", "hydra/launcher=slurm", "resources=cpu", "resources.cores=1", "resources.memory_gb=1"]
    with printed.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "mefusion.commands.train", *jobs, "resources.shards=2", *small],
            cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        wait_until(lambda: list(tmp_path.glob("outputs/off_apexnet-*/folds/*/checkpoints/last.ckpt")))
        shown = subprocess.run(["squeue", "-h", "-r", "-t", "R", "-o", "%i|%Z"], capture_output=True, text=True).stdout
        running = [line.split("|")[0] for line in shown.splitlines() if Path(line.split("|")[1]) == tmp_path]
        subprocess.run(["scancel", "--signal=USR2", running[0]], check=True)
        wait_until(lambda: "queued again" in printed.read_text())
        subprocess.run(["scontrol", "update", f"JobId={running[0]}", "StartTime=now"], check=True)  # not in two minutes
        process.wait(600)
    finally:
        process.kill()
    out = printed.read_text()
    assert process.returncode == 0, out
    for noise in ("sacct", "srun", "Traceback"):
        assert noise not in out
    (one,), (other,) = alone.iterdir(), tmp_path.glob("outputs/off_apexnet-*")
    assert one.name == other.name
    names = [path.relative_to(one) for path in one.glob("folds/*/*") if path.suffix in (".csv", ".parquet")]
    assert len(names) == 6
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    pd.testing.assert_frame_equal(*(pd.read_parquet(study / "predictions.parquet") for study in (one, other)))
    assert json.loads((other / "summary.json").read_text())["clips"] == 6
