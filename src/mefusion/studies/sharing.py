"""A study's folds in several processes, see `mefusion.processes.scheduling`: what each of them does.

`share_folds` is the process of the command: it runs folds too, and gives others to the processes that it starts.
`serve_folds` is one of these, or a process of a sweep.
"""

import functools
import os
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mefusion.common.errors import MefusionError, WriteError, first_line
from mefusion.common.files import write_text
from mefusion.processes.assignments import FINISH, Event, assigned_folds, is_further, tell
from mefusion.processes.jobs import Job
from mefusion.processes.scheduling import Scheduler
from mefusion.studies.runs import Run
from mefusion.studies.study import Builder, Study, begin_study, run_if_free
from mefusion.training.callbacks import FoldProgress
from mefusion.windows.store import ClipStore


@dataclass(frozen=True)
class Sharing:
    """The processes that a command may start for the folds of its study.

    Attributes:
        command: of each.
        places: an environment for each that may run at the same time.
        guard_memory: whether one is started only where as much memory is free as another took at its peak.
    """

    command: Sequence[str]
    places: Sequence[Mapping[str, str]]
    guard_memory: bool


def serve_folds(study: Study, runs: Sequence[Run], clips: ClipStore, build: Builder, progress: FoldProgress) -> bool:
    """Run the folds that the process which started this one names.

    Args:
        study: the study.
        runs: the runs of the study that the command does.
        clips: all clips of the study.
        build: makes the data, module and trainer of a fold.
        progress: one of the callbacks of the trainers.

    Returns:
        Whether this process is to score the study.

    Raises:
        WriteError: a file cannot be written; so it would be with the other folds.
    """
    begin_study(study)
    numbers = {run.name: number for number, run in enumerate(runs, 1)}
    for run in runs:
        if study.is_done(run) and not is_further():  # else this very command may have run it
            print(f"fold {numbers[run.name]}/{len(runs)} {run.name}: done before", flush=True)
    left = [run.name for run in runs if not study.is_done(run)]
    tell(Event("ready", study=str(study.directory), folds=left))
    for name in assigned_folds():
        if name == FINISH:
            return True
        run = runs[numbers[name] - 1]
        progress.begin(name)
        start = time.perf_counter()
        event = _run(study, run, clips, build)
        seconds = f", {time.perf_counter() - start:.0f} s" if event.share else ""
        print(f"fold {numbers[name]}/{len(runs)} {name}: {event.text}{seconds}", flush=True)
        tell(event)
    return False


def share_folds(
    study: Study,
    runs: Sequence[Run],
    clips: ClipStore,
    build: Builder,
    progress: FoldProgress,
    sharing: Sharing,
    told: Callable[[Job, Event], None],
) -> None:
    """Run the folds of a study here and in further processes, which are started where that pays.

    As long as none was started, a fold that fails stops the study at once: the cause may be the same for all. Then it
    does not stop the others.

    Args:
        study, runs, clips, build, progress: see `serve_folds`.
        sharing: the further processes.
        told: is called with what is told of the folds, also of those that run here.

    Raises:
        MefusionError: folds failed; the message names each with its log.
    """
    begin_study(study)
    by_name = {run.name: run for run in runs}
    job = Job(0, sharing.command, attempts=2, guard_memory=sharing.guard_memory, study=str(study.directory))
    job.queue = deque(run.name for run in runs if not study.is_done(run))
    job.finishing = True  # this process scores the study
    job.pids.add(os.getpid())
    job.begin()
    scheduler = Scheduler(
        [job], sharing.places, told, lambda job, fold, lines: _keep_log(by_name[fold], "\n".join(lines))
    )
    progress.tell = functools.partial(scheduler.note, job)
    for run in runs:
        if study.is_done(run):
            told(job, Event("ended", fold=run.name, text="done before"))
    try:
        scheduler.start()
        while (name := scheduler.take(job)) is not None:
            progress.begin(name)
            told(job, Event("step", fold=name, text="begins"))
            scheduler.note(job, _run(study, by_name[name], clips, build, alone=lambda: not job.helped))
    finally:
        scheduler.stop()
    if job.failed:
        logs = "; ".join(f"{name}: {reason} ({by_name[name].failure_log})" for name, reason in job.failed.items())
        raise MefusionError(
            f"{len(job.failed)} of {len(runs)} folds failed; the others are kept: solve the problem and run the same "
            f"command again. {logs}"
        )


def _run(
    study: Study, run: Run, clips: ClipStore, build: Builder, *, alone: Callable[[], bool] = lambda: False
) -> Event:
    """Run a fold; an error is its outcome, unless it is `alone`, or files cannot be written."""
    try:
        outcome, ran = run_if_free(study, run, clips, build)
    except WriteError:
        raise
    except Exception as error:
        if alone():
            raise
        reason = str(error) if isinstance(error, MefusionError) else f"{type(error).__name__}: {first_line(error)}"
        _keep_log(run, traceback.format_exc())
        return Event("ended", fold=run.name, text=f"failed: {reason}", failed=True)
    return Event("ended", fold=run.name, text=outcome, share=float(ran))


def _keep_log(run: Run, text: str) -> None:
    write_text(run.failure_log, text)
