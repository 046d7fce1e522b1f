"""A command whose processes share its folds: which are taken, done and left, and whether one more process pays."""

import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mefusion.processes import machine
from mefusion.processes.assignments import Event

START = 6.0  # seconds, at least, until a process takes its first fold: it imports torch and reads the clips


@dataclass
class Job:
    """A command whose processes share its folds. What changes is guarded by the scheduler's lock.

    Attributes:
        number: of the job.
        command: of each of its processes.
        environment: of each, beside that of this process.
        attempts: how often a fold is begun again if its process was killed, plus one.
        guard_memory: whether a further process needs as much free memory as one of the others took at its peak.
        study: directory of the study; its processes must find the same. Empty until the first has told it.
        queue: folds that no process has taken; None until the first process has told them.
        running: folds that are being run, with the time that they were begun.
        laps: seconds of each fold that is done.
        failed: folds without a result, with the reason.
        pids: its processes; those that cannot take folds yet are in `starting` too.
        begun, helped: whether its first process was started; whether a further one was.
        closed: whether no further one is started.
        measured: whether one of its processes has trained, so that its memory tells what another one takes.
        finishing: whether a process scores the study already, or none is to.
        start: seconds until a process takes its first fold.
        code, last_line: of the process that it failed with.
        seconds: since its first process was started, until its last one ended.
    """

    number: int
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    attempts: int = 1
    guard_memory: bool = False
    study: str = ""
    queue: deque[str] | None = None
    running: dict[str, float] = field(default_factory=dict)
    laps: list[float] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    pids: set[int] = field(default_factory=set)
    starting: set[int] = field(default_factory=set)
    processes: int = 0
    begun: bool = False
    helped: bool = False
    closed: bool = False
    measured: bool = False
    finishing: bool = False
    start: float = START
    code: int = 0
    last_line: str = ""
    seconds: float = 0.0
    _since: float = 0.0
    _tries: Counter[str] = field(default_factory=Counter)

    def begin(self) -> None:
        """Count a process that is started for it."""
        if self.begun:
            self.helped = True
        else:
            self.begun, self._since = True, time.monotonic()
        self.processes += 1

    def take(self) -> str | None:
        """The next fold; None if all are taken."""
        if not self.queue:
            return None
        fold = self.queue.popleft()
        self.running[fold] = time.monotonic()
        self._tries[fold] += 1
        return fold

    def end_fold(self, event: Event) -> None:
        """Note how a fold has ended."""
        begun = self.running.pop(event.fold)
        if event.failed:
            self.failed[event.fold] = event.text
        elif event.share:  # else it was done before, or another process is working on it
            self.laps.append(time.monotonic() - begun)
            self.measured = True

    def fail(self, code: int, last_line: str) -> None:
        """Note that it failed: it gets no further process, and its processes no further fold."""
        self.code, self.last_line, self.closed = code, last_line, True
        if self.queue is not None:
            self.queue.clear()

    def abandon(self, fold: str, reason: str) -> bool:
        """Note that the process of a fold has ended in it; returns whether another one runs it again."""
        if self._tries[fold] < self.attempts and self.queue is not None:
            self.running.pop(fold)
            self.queue.append(fold)
            return True
        self.end_fold(Event("ended", fold=fold, text=reason, failed=True))
        return False

    def end_process(self) -> None:
        """Count a process that has ended."""
        self.processes -= 1
        self.seconds = time.monotonic() - self._since

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.begun and not self.processes

    @property
    def left(self) -> float:
        """Seconds that its folds, which no process has taken, will take one after the other, by what is known."""
        now = time.monotonic()
        known = sum(self.laps) / len(self.laps) if self.laps else 0.0
        longest = max((now - begun for begun in self.running.values()), default=0.0)
        return len(self.queue or ()) * max(known, longest)

    def pays_another(self) -> bool:
        """Whether its folds are done sooner with one more process, and the memory is free for that."""
        if self.closed or not self.queue or self.left <= self.start * self.processes:
            return False
        if not self.guard_memory:
            return True
        if not self.measured:
            return False
        peak = max((machine.peak_memory_of(pid) or 0 for pid in self.pids), default=0)
        free = machine.free_memory()
        return free is not None and free > peak * (1 + len(self.starting))  # those will take as much
