"""The same work on many clips, in processes, with a progress bar."""

import functools
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import cv2
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from mefusion.common.errors import MefusionError

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} clips/s" if speed else "")


def parallel_map(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    description: str,
    workers: int | None = None,
    initialise: Callable[..., None] | None = None,
    arguments: tuple[Any, ...] = (),
) -> Iterator[tuple[Item, Result]]:
    """Yield (item, work(item)) as they are done, in any order, under a progress bar.

    Args:
        work: a function of a module, since processes receive it by name.
        items: what to work on.
        description: what the bar says.
        workers: number of processes; None is one a core. One alone is this process.
        initialise, arguments: called once in each process.

    Raises:
        MefusionError: a process was killed, as when memory runs out.
    """
    if not items:
        return
    if workers is not None and workers < 1:
        raise MefusionError(f"workers={workers}: give a number above 0, or null for one a core")
    count = min(len(items), workers or os.cpu_count() or 1)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    run = _here if count == 1 else functools.partial(_in_processes, count)
    with Progress(*columns) as progress:
        results = run(work, items, initialise, arguments)
        yield from progress.track(results, total=len(items), description=description)


def _here(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    initialise: Callable[..., None] | None,
    arguments: tuple[Any, ...],
) -> Iterator[tuple[Item, Result]]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # as many cores as workers
    try:
        if initialise is not None:
            initialise(*arguments)
        for item in items:
            yield item, work(item)
    finally:
        cv2.setNumThreads(threads)


def _in_processes(
    count: int,
    work: Callable[[Item], Result],
    items: Sequence[Item],
    initialise: Callable[..., None] | None,
    arguments: tuple[Any, ...],
) -> Iterator[tuple[Item, Result]]:
    # Not joblib: it is as fast, but its workers live on when this process is killed.
    # Spawned, not forked: forking after OpenCV or torch have started threads can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, context, _start_worker, (initialise, arguments)) as pool:
        futures = {pool.submit(work, item): item for item in items}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise MefusionError(
                "a worker process was killed, perhaps for memory: run again with fewer workers (workers=1)"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _start_worker(initialise: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    cv2.setNumThreads(1)  # the processes share the cores already
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if initialise is not None:
        initialise(*arguments)


def _end_with_parent() -> None:
    """A killed parent cannot end its workers, which would wait for work forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
