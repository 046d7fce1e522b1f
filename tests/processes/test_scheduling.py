"""Processes that share the folds of jobs. They stand for `mefusion-train`, and do as the names of their folds say."""

import os
import sys
import textwrap
import time
from collections import deque

import pytest

from mefusion.processes import machine, scheduling
from mefusion.processes.assignments import FURTHER_VARIABLE, Event, read_events
from mefusion.processes.jobs import Job
from mefusion.processes.machine import places_for
from mefusion.processes.scheduling import Scheduler

PROCESS = """
    import os, signal, sys, time
    from mefusion.processes.assignments import FINISH, Event, assigned_folds, tell

    study, *folds = sys.argv[1:]
    tell(Event("ready", study=study, folds=folds))
    for name in assigned_folds():
        print(f"{name} in {os.getpid()} on {os.environ.get('CUDA_VISIBLE_DEVICES')}", flush=True)
        if name == FINISH:
            break
        if "slow" in name:
            time.sleep(0.4)
        if "once" in name and not os.path.exists(name):  # killed the first time
            open(name, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        if "killed" in name:
            os.kill(os.getpid(), signal.SIGKILL)
        if "stay" in name:
            time.sleep(60)
        tell(Event("ended", fold=name, text="bad" if "bad" in name else "good", failed="bad" in name, share=1.0))
"""
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tmp_path):
    """A further process pays at once."""
    monkeypatch.setattr(scheduling, "START", 0.0)
    monkeypatch.chdir(tmp_path)


def job(number, *folds, study="study", **settings):
    command = [sys.executable, "-c", textwrap.dedent(PROCESS), study, *folds]
    return Job(number, command, start=0.0, **settings)


def run(jobs, places):
    """Run jobs; returns the lines that their processes printed, and the lines that were kept of a failed fold."""
    lines, kept = [], {}

    def tell(job, event):
        if event.kind == "line":
            lines.append((job.number, *event.text.split()))

    scheduler = Scheduler(jobs, places, tell, lambda job, fold, printed: kept.update({fold: list(printed)}))
    scheduler.start()
    scheduler.wait()
    return lines, kept


def processes(lines, number):
    return {line[3] for line in lines if line[0] == number}


def test_a_place_that_becomes_free_takes_folds_of_the_job_that_has_most_left():
    jobs = [job(0, "a"), job(1, *(f"slow{n}" for n in range(6)))]
    lines, _ = run(jobs, places_for(2, []))
    assert len(processes(lines, 0)) == 1
    assert len(processes(lines, 1)) == 2  # the second came when job 0 was over
    assert [len(job.laps) for job in jobs] == [1, 6]  # each fold once
    for number in (0, 1):
        assert sum(line[:2] == (number, "finish") for line in lines) == 1
    assert all((job.code, job.failed, job.processes) == (0, {}, 0) for job in jobs)


def test_a_job_of_seconds_gets_no_further_process(monkeypatch):
    monkeypatch.setattr(scheduling, "START", 60.0)
    lines, _ = run([job(0, *(f"slow{n}" for n in range(3)))], places_for(2, []))
    assert len(processes(lines, 0)) == 1


def test_a_further_process_pays_where_folds_take_longer_than_its_start(monkeypatch):
    waiting = job(0)
    waiting.queue, waiting.start, waiting.laps = deque("abcd"), 6.0, [2.0, 1.0]
    waiting.begin()
    assert waiting.left == 6  # four folds of 1.5 s
    assert not waiting.pays_another()
    waiting.laps = [2.0, 2.0]
    assert waiting.pays_another()  # 8 s
    waiting.begin()
    assert not waiting.pays_another()  # two processes need 4 s
    waiting.running["e"] = time.monotonic() - 100  # it is known by now that a fold takes longer
    assert waiting.pays_another()
    waiting.closed = True
    assert not waiting.pays_another()


def test_a_further_process_needs_the_memory_that_another_took(monkeypatch):
    waiting = job(0, guard_memory=True)
    waiting.queue, waiting.laps, waiting.pids = deque("ab"), [100.0], {1, 2}
    waiting.begin()
    monkeypatch.setattr(machine, "peak_memory_of", {1: 4, 2: 6}.get)
    monkeypatch.setattr(machine, "free_memory", lambda: 7)
    assert not waiting.pays_another()  # none has trained yet
    waiting.measured = True
    assert waiting.pays_another()
    waiting.starting = {2}  # it will take 6 of the 7
    assert not waiting.pays_another()
    monkeypatch.setattr(machine, "free_memory", lambda: None)
    assert not waiting.pays_another()


@POSIX
def test_a_fold_whose_process_is_killed_comes_back_once(tmp_path):
    first = job(0, "a", "once", "b", attempts=2)
    second = job(1, "killed", "c", attempts=1)
    _, kept = run([first, second], places_for(2, []))
    assert len(first.laps) in (1, 3)  # all, if another process was there
    assert not first.failed
    assert second.code == -9
    assert second.failed["killed"].startswith("killed by SIGKILL: killed in ")
    assert second.laps == []  # its other folds wait for the next time
    assert [line.split()[0] for line in kept["killed"]] == ["killed"]


def test_a_failed_fold_does_not_stop_the_others():
    only = job(0, "a", "bad", "b")
    _, kept = run([only], places_for(1, []))
    assert (only.failed, len(only.laps), only.code) == ({"bad": "bad"}, 2, 0)
    assert kept == {}  # a process that goes on writes the log of its fold itself


@POSIX
def test_a_fold_whose_process_is_always_killed_fails_alone():
    only = job(0, "killed", "a", "b", attempts=2)
    only.study, only.queue, only.finishing = "study", deque(["killed", "a", "b"]), True
    only.begin()  # this process, which is busy
    only.running["mine"] = time.monotonic() - 10
    scheduler = Scheduler([only], places_for(1, []), lambda job, event: None)
    scheduler.start()
    until = time.monotonic() + 60
    while (len(only.laps) < 2 or not only.failed) and time.monotonic() < until:
        time.sleep(0.02)
    scheduler.stop()
    assert [*only.failed] == ["killed"]
    assert len(only.laps) == 2


def test_an_error_at_a_place_is_told_and_not_waited_for():
    def full(job, fold, lines):
        raise OSError("the disk is full")

    one = job(0, "killed-a", "b", attempts=1)
    scheduler = Scheduler([one], [{}], lambda job, event: None, full)
    scheduler.start()
    try:
        with pytest.raises(OSError, match="the disk is full"):
            scheduler.wait()
        with pytest.raises(OSError, match="the disk is full"):
            scheduler.take(one)
    finally:
        scheduler.stop()


def test_this_process_can_take_folds_too():
    shared = job(0, study="study", attempts=2)
    shared.queue, shared.finishing = deque(f"slow{n}" for n in range(8)), True
    shared.begin()
    told = []
    scheduler = Scheduler([shared], places_for(1, []), lambda job, event: told.append(event))
    scheduler.start()
    mine = []
    while (fold := scheduler.take(shared)) is not None:
        time.sleep(0.3)
        mine.append(fold)
        scheduler.note(shared, Event("ended", fold=fold, share=1.0))
    scheduler.stop()
    theirs = {event.text.split()[0] for event in told if event.kind == "line"}
    assert mine
    assert theirs
    assert sorted({*mine} | theirs) == [f"slow{n}" for n in range(8)]
    assert len(mine) + len(theirs) == 8


def test_a_process_that_finds_another_study_gets_no_fold():
    shared = job(0, "a", study="other")
    shared.study, shared.queue, shared.finishing = "mine", deque(["slow1", "slow2"]), True
    shared.begin()
    told = []
    scheduler = Scheduler([shared], places_for(1, []), lambda job, event: told.append(event))
    scheduler.start()
    shared.running["slow0"] = time.monotonic() - 10
    while not any(event.kind == "lost" for event in told):
        time.sleep(0.02)
    scheduler.stop()
    assert [*shared.queue] == ["slow1", "slow2"]
    assert "another study (other)" in next(event.text for event in told if event.kind == "lost")


def test_a_job_whose_study_changes_while_it_runs_keeps_the_one_of_its_first_process():
    one = job(0, *(f"slow{n}" for n in range(3)), study="first")
    edit = f"import os, sys\nif '{FURTHER_VARIABLE}' in os.environ: sys.argv[1] = 'other'"
    late = "if study == 'other': print('late', flush=True)"
    one.command = [*one.command[:2], "\n".join((edit, textwrap.dedent(PROCESS), late)), *one.command[3:]]
    told = []
    scheduler = Scheduler([one], places_for(2, []), lambda job, event: told.append(event))
    scheduler.start()
    scheduler.wait()
    assert (one.study, len(one.laps), one.failed, one.code) == ("first", 3, {}, 0)
    assert "late" in [event.text for event in told]  # what it prints meanwhile is no further study
    assert [event.text for event in told if event.kind == "lost"] == [
        "a further process found another study (other): have files changed meanwhile?"
    ]


def test_processes_share_gpus_evenly():
    assert places_for(3, []) == [{}, {}, {}]
    assert [place["CUDA_VISIBLE_DEVICES"] for place in places_for(4, ["2", "GPU-5"])] == ["2", "GPU-5"] * 2
    lines, _ = run([job(0, *(f"slow{n}" for n in range(6)))], places_for(2, ["2", "GPU-5"]))
    assert {line[-1] for line in lines if line[1] != "finish"} == {"2", "GPU-5"}


@POSIX
def test_a_stop_ends_all_processes():
    jobs = [job(0, "stay"), job(1, "stay")]
    scheduler = Scheduler(jobs, places_for(2, []), lambda job, event: None)
    scheduler.start()
    until = time.monotonic() + 20
    while not all(job.running for job in jobs) and time.monotonic() < until:
        time.sleep(0.02)
    pids = [pid for job in jobs for pid in job.pids]
    assert len(pids) == 2
    scheduler.stop()
    scheduler.wait()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_an_event_may_follow_text_without_an_end():
    line = "".join(["50% ", "\x1e", '{"kind": "step", "fold": "a", "share": 0.5}', "\n"])
    assert read_events(line) == [Event("line", text="50% "), Event("step", fold="a", share=0.5)]
    assert read_events("text\n") == [Event("line", text="text")]
    warned = line.rstrip("\n") + "a warning\n"
    assert read_events(warned)[1:] == [Event("step", fold="a", share=0.5), Event("line", text="a warning")]
    assert read_events("\n") == [Event("line")]
