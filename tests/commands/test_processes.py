"""`processes=2`: folds side by side give what one process gives, whatever is killed meanwhile."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from mefusion.configuration import sharing
from mefusion.configuration.schema import TrainSettings
from mefusion.configuration.sharing import default_processes
from mefusion.processes.assignments import FURTHER_VARIABLE, WORKER_VARIABLE

SMALL = ("model=off_apexnet", "model.training.max_epochs=3", "model.training.batch_size=4")
QUICK = ("model=majority", "trainer=smoke")
SCRIPT = """
import sys, time
from mefusion.commands.train import main
from mefusion.processes import scheduling

take, note, hear = (getattr(scheduling.Scheduler, name) for name in ("take", "note", "_hear"))

def say(*text):
    print(*text, file=sys.stderr, flush=True)

def take_once_the_other_is_there(self, job):
    job.laps, job.start = job.laps or [1.0], 0.0  # a further process is started at once
    until = time.monotonic() + 120
    while (not job.helped or job.starting) and time.monotonic() < until:
        time.sleep(0.05)
    return take(self, job)

def say_mine(self, job, event):
    note(self, job, event)
    say("mine", event.kind, event.fold)

def say_heard(self, job, talk, event):
    hear(self, job, talk, event)
    say("theirs", event.kind, event.fold, talk.process.pid)

scheduling.Scheduler.take, scheduling.Scheduler.note = take_once_the_other_is_there, say_mine
scheduling.Scheduler._hear = say_heard
main()
"""
linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")


@pytest.fixture
def start(three, tmp_path):
    """Start the command in a process of its own; it waits for the second process before it takes a fold."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, script, *three, *SMALL, "processes=2", *arguments],
            cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # ignored in the background
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()


@pytest.fixture(scope="module")
def alone(three, command, tmp_path_factory):
    """The study as one process makes it."""
    folder = tmp_path_factory.mktemp("alone")
    assert command("mefusion-train", *three, *SMALL, "processes=1", cwd=folder).returncode == 0
    return study_in(folder)


def study_in(folder):
    (study,) = folder.glob("outputs/off_apexnet-*")
    return study


def require_same(study, other):
    """Check that two studies have the same results, bit for bit."""
    assert study.name == other.name
    names = [path.relative_to(study) for path in study.glob("folds/*/*") if path.suffix in (".csv", ".parquet")]
    assert len(names) == 6  # a table and a log of each fold
    for name in [*names, *(path.relative_to(study) for path in study.glob("folds/*/examples.safetensors"))]:
        assert (study / name).read_bytes() == (other / name).read_bytes(), name
    tables = [pd.read_parquet(path / "predictions.parquet") for path in (study, other)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def wait_for(process, *words):
    """Read what a process says of its folds until a line has these words; returns that line, in words."""
    for line in process.stderr:
        if [*words] == line.split()[: len(words)]:
            return line.split()
    raise AssertionError(f"no line {words}")


def ends(pid):
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
def test_two_processes_give_what_one_gives(start, alone, tmp_path):
    process = start()
    out, told = process.communicate(timeout=200)
    assert process.returncode == 0, told
    ended = [line.split() for line in told.splitlines() if " ended " in line]
    assert {words[0] for words in ended} == {"mine", "theirs"}  # both worked
    assert len({words[2] for words in ended}) == len(ended) == 3  # each fold once
    assert sum(line.startswith("fold ") for line in out.splitlines()) == 3
    assert "pooled over 6 clips" in out
    require_same(study_in(tmp_path), alone)


@linux
@pytest.mark.slow
def test_after_kill_9_of_the_command_no_process_is_left_and_it_can_be_gone_on_with(
    start, command, three, alone, tmp_path
):
    process = start()
    worker = int(wait_for(process, "theirs", "step")[-1])
    process.kill()
    assert ends(worker)
    assert not (study_in(tmp_path) / "summary.json").exists()
    done = command("mefusion-train", *three, *SMALL, "processes=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    require_same(study_in(tmp_path), alone)


@linux
@pytest.mark.slow
def test_a_process_that_is_killed_loses_nothing(start, alone, tmp_path):
    process = start()
    worker = int(wait_for(process, "theirs", "step")[-1])
    os.kill(worker, signal.SIGKILL)
    out, told = process.communicate(timeout=200)
    assert process.returncode == 0, told
    assert "was lost (killed by SIGKILL" in out
    require_same(study_in(tmp_path), alone)


@linux
@pytest.mark.slow
def test_ctrl_c_ends_all_processes_and_keeps_what_is_done(start, tmp_path):
    process = start()
    worker = int(wait_for(process, "theirs", "step")[-1])
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "mefusion-train: stopped by Ctrl-C; finished folds" in told
    assert ends(worker)


@pytest.mark.slow
def test_failed_folds_are_told_at_the_end_with_their_logs(start, tmp_path):
    process = start("model.optimizer.lr=1e30")
    out, told = process.communicate(timeout=200)
    assert process.returncode == 1
    sentence = told.splitlines()[-1]
    assert sentence.startswith("mefusion-train: 3 of 3 folds failed; the others are kept")
    logs = sorted(tmp_path.glob("outputs/*/folds/*/failed.log"))
    assert len(logs) == 3
    for log in logs:
        assert str(log.relative_to(tmp_path)) in sentence
        assert "diverged" in log.read_text()
    assert out.count("failed: the training of fold") == 3


@pytest.fixture(scope="module")
def begun(three, command, tmp_path_factory):
    """A folder with a study of which one fold is done."""
    folder = tmp_path_factory.mktemp("begun")
    done = command("mefusion-train", *three, *QUICK, "protocol.shard=1/3", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(("environment", "said"), [({}, 1), ({FURTHER_VARIABLE: "1"}, 0)], ids=["first", "further"])
def test_only_the_first_process_of_a_job_says_what_it_found(three, command, begun, monkeypatch, environment, said):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))  # it is given no fold
    done = command("mefusion-train", *three, *QUICK, cwd=begun, env={WORKER_VARIABLE: "1", **environment})
    assert done.returncode == 0, done.stderr
    assert [done.stdout.count(text) for text in ("6 clips of 3 subjects", "done before", '"kind": "ready"')] == [
        said, said, 1,
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["processes", "processes_per_gpu"])
def test_no_processes_are_refused(three, command, tmp_path, name):
    done = command("mefusion-train", *three, *SMALL, f"{name}=0", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"mefusion-train: {name}=0: give a number above 0\n"


@pytest.fixture
def default(monkeypatch):
    """How many processes are the default on a machine that has so many GPUs and cores."""

    def default(*, gpus=(), cores=1, memory=1, threads=None, **settings):
        monkeypatch.setattr(sharing, "cores", lambda: cores)
        monkeypatch.setattr(sharing, "free_memory", lambda: memory)
        monkeypatch.setenv("OMP_NUM_THREADS", threads) if threads else monkeypatch.delenv("OMP_NUM_THREADS", False)
        trainer = settings.pop("trainer", {"accelerator": "cpu"})
        return default_processes(TrainSettings(trainer=trainer, **settings), [*gpus])

    return default


def test_the_default_is_a_process_for_each_gpu_or_for_its_threads(default):
    assert default(cores=8) == 8
    assert default(cores=8, threads="3") == 2
    assert default(cores=8, threads="4,2") == 2  # of nested threads, torch has the outer ones
    assert default(cores=8, threads="many") == 8
    assert default(cores=8, memory=None) == 1  # it cannot be known whether they fit
    assert default(cores=8, trainer={"accelerator": "cpu", "profiler": {}}) == 1
    gpu = {"accelerator": "gpu"}
    assert default(cores=8, gpus="01", trainer=gpu) == 2
    assert default(cores=8, gpus="01", trainer=gpu, processes_per_gpu=3) == 6
    assert default(cores=8, trainer=gpu) == 1  # it is none that is known by a name
