"""One display of all folds of a study, whichever processes run them."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from mefusion.processes.assignments import Event
from mefusion.processes.distributed import rank


class FoldDisplay:
    """Shows a bar for all folds with the time left, and one for each running fold with its epoch; prints each result.

    Args:
        folds: names of the folds, in the order of their numbers.
        left: how many of them are to be run.
        bar: where it is drawn; None prints results only.
        silent: print nothing, since another process of the same training does.
    """

    def __init__(self, folds: Sequence[str], left: int, bar: Progress | None, *, silent: bool = False):
        self._numbers = {name: f"fold {number}/{len(folds)}" for number, name in enumerate(folds, 1)}
        self._bar, self._left, self._silent = bar, left, silent
        self._rows: dict[str, TaskID] = {}
        self._begun: dict[str, float] = {}
        self._laps: list[float] = []
        self._start = time.monotonic()
        self._lock = threading.Lock()
        self._all = bar.add_task("folds", total=left, rest="") if bar is not None and left else None

    def show(self, event: Event) -> None:
        """Show what is told of a fold."""
        if self._silent:
            return
        with self._lock:
            if event.kind == "step":
                self._begun.setdefault(event.fold, time.monotonic())
                self._show_step(event)
            elif event.kind == "ended":
                self._show_end(event)
            elif event.kind == "lost":
                print(event.text, flush=True)

    def _show_step(self, event: Event) -> None:
        if self._bar is None:
            return
        if event.fold not in self._rows:
            self._rows[event.fold] = self._bar.add_task("", total=1.0, rest="")
        text = f"{self._numbers[event.fold]}, {event.text}: {event.fold}"
        self._bar.update(self._rows[event.fold], completed=event.share, description=text, refresh=True)

    def _show_end(self, event: Event) -> None:
        now = time.monotonic()
        begun, time_told = self._begun.pop(event.fold, now), ""
        if event.share or event.failed:
            self._laps.append(now - begun)
            time_told = f", {now - begun:.0f} s"
            rest = (self._left - len(self._laps)) * (now - self._start) / len(self._laps)
            if rest > 90:
                time_told += f", about {rest / 60:.0f} min left"
            self._show_total(rest)
        if self._bar is not None and event.fold in self._rows:
            self._bar.remove_task(self._rows.pop(event.fold))
        print(f"{self._numbers[event.fold]} {event.fold}: {event.text}{time_told}", flush=True)

    def _show_total(self, rest: float) -> None:
        if self._bar is not None and self._all is not None:
            text = f"{len(self._laps)} of {self._left} folds"
            left = f"{rest / 60:.0f} min left" if rest > 90 else f"{rest:.0f} s left"
            self._bar.update(self._all, completed=len(self._laps), description=text, rest=left, refresh=True)


class _Rest(ProgressColumn):
    """The time left, by the folds that are done."""

    def render(self, task: Task) -> Text:
        return Text(task.fields["rest"])


@contextmanager
def folds_shown(folds: Sequence[str], left: int, console: Console | None = None) -> Iterator[FoldDisplay]:
    """Show the progress of a study while the block runs: bars in a terminal, else only the lines of results.

    Args:
        folds: names of the folds, in the order of their numbers.
        left: how many of them are to be run.
        console: where the bars are shown; by default standard output.
    """
    console = console or Console()
    if rank() > 0 or not console.is_terminal:
        yield FoldDisplay(folds, left, None, silent=rank() > 0)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), _Rest())
    with Progress(*columns, console=console, transient=True) as bar:
        yield FoldDisplay(folds, left, bar)
