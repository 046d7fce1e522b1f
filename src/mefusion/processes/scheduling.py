"""Processes that share the folds of one study, or of the jobs of a sweep.

A job is a command. Its first process tells which folds it has; each of its processes is then given one after the other
(`mefusion.processes.assignments`). As soon as a place is free and no job waits, the job with the most folds left gets a
further process there, if that pays: its folds must take longer than a process takes to start. So the last long job does
not run alone, and nothing is started for a study of seconds.

A command that tells nothing runs to its end, alone.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from mefusion.processes.assignments import FINISH, FURTHER_VARIABLE, WORKER_VARIABLE, Event, read_events
from mefusion.processes.jobs import START, Job
from mefusion.processes.stopping import PARENT_VARIABLE

GRACE = 1.2  # seconds that processes get to end by themselves after SIGTERM; this process has `stopping.LIMIT`
_ENVIRONMENT = {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", WORKER_VARIABLE: "1"}
LOOK = 0.2  # seconds after which a free place looks again whether a process pays there
KEPT_LINES = 2000  # that a process printed during a fold, for the log of a fold that fails


class Scheduler:
    """Runs the processes of jobs, one at each place at a time.

    Args:
        jobs: in the order in which they are begun.
        places: an environment for each process that runs at the same time.
        tell: is called with a job and what one of its processes told, from several threads.
        log: is called with a job, a fold in which its process ended, and the lines that it had printed there. A process
            that goes on after a failed fold writes the fold's log itself.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        places: Sequence[Mapping[str, str]],
        tell: Callable[[Job, Event], None],
        log: Callable[[Job, str, Sequence[str]], None] = lambda job, fold, lines: None,
    ) -> None:
        self.jobs, self.places, self._tell, self._log = jobs, places, tell, log
        self.changed = threading.Condition()
        self._processes: set[subprocess.Popen[str]] = set()
        self._stopped = False
        self._error: BaseException | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._filled: list[Future[None]] = []

    def start(self) -> None:
        """Begin to start processes."""
        if self.places:
            self._pool = ThreadPoolExecutor(len(self.places))
            self._filled = [self._pool.submit(self._fill, place) for place in self.places]

    def wait(self) -> None:
        """Wait until all jobs are over."""
        for place in self._filled:
            place.result()

    def stop(self) -> None:
        """End the processes with all their children: with SIGTERM, and after some seconds with SIGKILL."""
        with self.changed:
            self._stopped, running = True, list(self._processes)
            self.changed.notify_all()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        until = time.monotonic() + GRACE
        try:
            for process in _unfinished(running):
                _end_group(process, ask=True)
            while _unfinished(running) and time.monotonic() < until:
                time.sleep(0.05)
        finally:
            for process in _unfinished(running):
                _end_group(process)

    def take(self, job: Job) -> str | None:
        """The next fold for this process, which works at a job too; None once all folds of the job are over.

        Raises:
            Exception: the processes can no longer be followed, for example since the disk is full.
        """
        with self.changed:
            while True:
                if self._error is not None:
                    raise self._error
                fold = job.take()
                if fold is not None or not job.running:
                    return fold
                self.changed.wait(LOOK)  # a fold comes back if its process is killed

    def note(self, job: Job, event: Event) -> None:
        """Note how far a fold has come, or how it has ended, that this process took."""
        with self.changed:
            if event.kind == "ended":
                job.end_fold(event)
            job.measured = True
            self.changed.notify_all()
        self._tell(job, event)

    def _fill(self, place: Mapping[str, str]) -> None:
        """Run one process after the other at a place, as long as there are some to run."""
        try:
            while (job := self._next_job()) is not None:
                self._run(job, place)
        except BaseException as error:
            with self.changed:  # nobody would wait for the fold of this place's process
                self._error, self._stopped = error, True
                self.changed.notify_all()
            raise

    def _next_job(self) -> Job | None:
        with self.changed:
            while not self._stopped and not all(job.over for job in self.jobs):
                waiting = [job for job in self.jobs if not job.begun]
                found = waiting or sorted((job for job in self.jobs if job.pays_another()), key=lambda job: -job.left)
                if found:
                    found[0].begin()
                    return found[0]
                self.changed.wait(LOOK)
        return None

    def _run(self, job: Job, place: Mapping[str, str]) -> None:
        """Start a process of a job at a place, give it folds, and note how it ends."""
        begun = time.monotonic()
        with self.changed:
            if self._stopped:
                return
            own = {PARENT_VARIABLE: str(os.getpid())} | ({} if job.queue is None else {FURTHER_VARIABLE: "1"})
            process = subprocess.Popen(
                [*job.command],
                env={**os.environ, **_ENVIRONMENT, **job.environment, **place, **own},
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                encoding="utf-8", errors="replace",
                start_new_session=True,  # its own process group: signals reach the job's child processes too
            )  # fmt: skip
            self._processes.add(process)
            job.pids.add(process.pid)
            job.starting.add(process.pid)
        self._tell(job, Event("begun"))
        waiting = threading.Thread(target=_wait, args=(process,))
        waiting.start()
        talk = _Talk(process, begun)
        assert process.stdout is not None
        for line in process.stdout:
            for event in read_events(line):
                self._hear(job, talk, event)
        waiting.join()
        self._note_end(job, talk, process.wait())

    def _hear(self, job: Job, talk: "_Talk", event: Event) -> None:
        """Note what a process told, and give it a fold if it needs one."""
        if event.kind == "line":
            talk.lines.append(event.text)
        with self.changed:
            if event.kind == "ready":
                job.starting.discard(talk.process.pid)
                job.study = job.study or event.study
                if event.study != job.study:
                    job.closed, talk.other = True, True
                job.start = max(START, time.monotonic() - talk.begun)
                job.queue = deque(event.folds) if job.queue is None else job.queue
            elif event.kind == "step":
                job.measured = True
            elif event.kind == "ended":
                job.end_fold(event)
            if event.kind in ("ready", "ended"):
                talk.lines.clear()
                self._assign(job, talk)
                self.changed.notify_all()
        self._tell(job, event)
        if event.kind in ("ready", "ended") and talk.fold is not None:
            self._tell(job, Event("step", fold=talk.fold, text="begins"))
        if event.kind == "ready" and talk.other:
            sentence = f"a further process found another study ({event.study}): have files changed meanwhile?"
            self._tell(job, Event("lost", text=sentence))

    def _assign(self, job: Job, talk: "_Talk") -> None:
        """Give a process the next fold. If none is left, the last process at work finishes the job."""
        talk.fold = None if talk.other else job.take()
        if talk.fold is not None:
            talk.say(talk.fold)
        elif talk.other or job.running or job.finishing:
            talk.say(None)
        else:
            job.finishing = talk.finishes = True
            talk.say(FINISH)

    def _note_end(self, job: Job, talk: "_Talk", code: int) -> None:
        """Note how a process has ended; a fold that it was at comes back, or has failed."""
        line = next((line.strip() for line in reversed(talk.lines) if line.strip()), "")
        reason = f"{state_of_exit(code)}: {line or 'it printed nothing'}"
        fold, lost = talk.fold, ""
        if fold is not None:
            self._log(job, fold, talk.lines)
        with self.changed:
            was_ready = talk.process.pid not in job.starting
            self._processes.discard(talk.process)
            job.pids.discard(talk.process.pid)
            job.starting.discard(talk.process.pid)
            if fold is not None:
                if job.abandon(fold, reason):
                    lost = f"the process of fold {fold} was lost ({reason}): the fold is begun again"
                elif job.attempts == 1:
                    job.fail(code, line)
            elif code and (job.queue is None or talk.finishes):
                job.fail(code, line)
            elif code and not was_ready:
                job.closed = True
                lost = f"no further process could be started ({reason})"
            job.end_process()
            self.changed.notify_all()
        if lost and not self._stopped:
            self._tell(job, Event("lost", text=lost))


@dataclass
class _Talk:
    """A process, the fold that it is at, and what it has printed since it was given it."""

    process: "subprocess.Popen[str]"
    begun: float
    fold: str | None = None
    other: bool = False  # whether it is of another study
    finishes: bool = False  # whether it scores the study
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))

    def say(self, text: str | None) -> None:
        """Write a line to the process; None says that there is no more."""
        assert self.process.stdin is not None
        with suppress(OSError):  # it has ended
            if text is None:
                self.process.stdin.close()
            else:
                self.process.stdin.write(f"{text}\n")
                self.process.stdin.flush()


def state_of_exit(code: int) -> str:
    """An exit code in words: `stopped`, `killed by` and the signal, or `failed`."""
    if code in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        return "stopped"
    return f"killed by {signal.Signals(-code).name}" if code < 0 else "failed"


def _wait(process: "subprocess.Popen[str]") -> None:
    """Wait for a process, then end child processes that it left: they would keep its output open."""
    if hasattr(os, "waitid"):  # not on Windows, nor with every Python on macOS
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # so the system cannot give the group's id to another
    else:
        process.wait()
    _end_group(process)
    process.wait()


def _unfinished(processes: Sequence["subprocess.Popen[str]"]) -> list["subprocess.Popen[str]"]:
    return [process for process in processes if process.returncode is None]


def _end_group(process: "subprocess.Popen[str]", ask: bool = False) -> None:
    """End a process with all its children; with `ask`, it may end by itself."""
    if sys.platform == "win32":  # it has no signals, and kills a process with its children by a program
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True)
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM if ask else signal.SIGKILL)
