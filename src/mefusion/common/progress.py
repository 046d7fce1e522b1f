"""How far long work on many clips has come: a bar in a terminal, else a line of text every half minute."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

Result = TypeVar("Result")

INTERVAL = 30.0
"""Seconds between two lines of text."""


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} clips/s" if speed else "")


def track(results: Iterable[Result], *, total: int, description: str) -> Iterator[Result]:
    """Yield results as they come, and tell on stdout how many of `total` there are."""
    console = Console()
    if not (console.is_terminal or console.is_jupyter):
        yield from _with_lines(results, total=total, description=description)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        yield from progress.track(results, total=total, description=description)


def _with_lines(results: Iterable[Result], *, total: int, description: str) -> Iterator[Result]:
    start = told = time.monotonic()
    for count, result in enumerate(results, 1):
        yield result
        now = time.monotonic()
        if now - told >= INTERVAL:
            told = now
            left = (now - start) / count * (total - count) / 60
            rest = f", about {left:.0f} min left" if count < total else ""
            print(f"{description}: {count} of {total} clips{rest}", flush=True)
