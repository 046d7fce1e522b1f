"""How far long work on many clips has come: a bar in a terminal, else a line of text every half minute."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

Result = TypeVar("Result")

INTERVAL = 30.0
"""Seconds between two lines of text."""


class _Rate(ProgressColumn):
    def __init__(self, unit: str):
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} {self.unit}/s" if speed else "")


def track(results: Iterable[Result], *, total: int, description: str, unit: str = "clips") -> Iterator[Result]:
    """Yield results as they come, and tell on stdout how many of `total` there are.

    Args:
        results: what is yielded.
        total: their number.
        description: what is done; empty where nothing is to be told.
        unit: what is counted.
    """
    if not description:
        yield from results
        return
    console = Console()
    if not (console.is_terminal or console.is_jupyter):
        yield from _with_lines(results, total=total, description=description, unit=unit)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(unit), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        yield from progress.track(results, total=total, description=description)


def _with_lines(results: Iterable[Result], *, total: int, description: str, unit: str) -> Iterator[Result]:
    start = told = time.monotonic()
    for count, result in enumerate(results, 1):
        yield result
        now = time.monotonic()
        if now - told >= INTERVAL:
            told = now
            left = (now - start) / count * (total - count) / 60
            rest = f", about {left:.0f} min left" if count < total else ""
            print(f"{description}: {count} of {total} {unit}{rest}", flush=True)


@contextmanager
def seconds_shown(*, total: float, description: str, quiet: bool = False) -> Iterator[Callable[[float], None]]:
    """Tell on stdout how far a recording has been read.

    Args:
        total: length of the recording, s.
        description: what is done.
        quiet: whether nothing is told.

    Yields:
        A function that is given the time that has been reached, s.
    """
    console = Console()
    if quiet:
        yield lambda seconds: None
    elif console.is_terminal or console.is_jupyter:
        columns = (TextColumn("{task.description}"), BarColumn(), _RealTime(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(description, total=total)
            yield lambda seconds: progress.update(task, completed=seconds)
    else:
        yield _SecondsInLines(total, description)


class _RealTime(ProgressColumn):
    """Time of the recording that has been reached, and the speed by real time."""

    def render(self, task: Task) -> Text:
        speed = f", {task.speed:.1f} s/s" if task.speed else ""
        return Text(f"{task.completed:.0f} of {task.total or 0:.0f} s{speed}")


class _SecondsInLines:
    """Prints a line every half minute."""

    def __init__(self, total: float, description: str):
        self.total, self.description = total, description
        self.told = time.monotonic()
        self.start: tuple[float, float] | None = None

    def __call__(self, seconds: float) -> None:
        now = time.monotonic()
        self.start = self.start or (now, seconds)
        if now - self.told < INTERVAL or now == self.start[0]:  # one moment tells no speed
            return
        self.told = now
        speed = (seconds - self.start[1]) / (now - self.start[0])
        left = max(self.total - seconds, 0) / speed / 60 if speed > 0 else 0
        print(f"{self.description}: {seconds:.0f} of {self.total:.0f} s, about {left:.0f} min left", flush=True)
