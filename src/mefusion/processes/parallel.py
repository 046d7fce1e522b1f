"""Do the same work on many clips, in several processes, and tell how far it has come."""

import functools
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import cv2

from mefusion.common.errors import MefusionError
from mefusion.common.progress import track
from mefusion.processes.machine import cores
from mefusion.processes.stopping import end_with_parent, signals_held_back

Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel_map(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    description: str,
    unit: str = "clips",
    workers: int | None = None,
    initialise: Callable[..., None] | None = None,
    arguments: tuple[Any, ...] = (),
) -> Iterator[tuple[Item, Result]]:
    """Yield (item, work(item)) for each item as soon as it is done, in any order, and tell the progress.

    Args:
        work: a function at the top level of a module: worker processes find it by its name.
        items: what to work on.
        description, unit: what is done and counted, see `mefusion.common.progress.track`.
        workers: number of processes; None means one for each core. With 1, the work is done in this process.
        initialise, arguments: a function, and its arguments, that is called once in each process before the work.

    Raises:
        MefusionError: `workers` is below 1, or a process was killed, for example because memory ran out.
    """
    results = in_parallel(work, items, workers=workers, initialise=initialise, arguments=arguments)
    if items:
        yield from track(results, total=len(items), description=description, unit=unit)


def in_parallel(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int | None = None,
    initialise: Callable[..., None] | None = None,
    arguments: tuple[Any, ...] = (),
) -> Iterator[tuple[Item, Result]]:
    """As `parallel_map`, without telling the progress.

    Raises:
        MefusionError: see `parallel_map`.
    """
    if not items:
        return
    if workers is not None and workers < 1:
        raise MefusionError(f"workers={workers}: give a number above 0, or null to use every core")
    count = min(len(items), workers or cores())
    run = _in_this_process if count == 1 else functools.partial(_in_processes, count)
    yield from run(work, items, initialise, arguments)


def _in_this_process(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    initialise: Callable[..., None] | None,
    arguments: tuple[Any, ...],
) -> Iterator[tuple[Item, Result]]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # one worker uses one core
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
    # Not joblib: it is as fast, but its workers go on running when this process is killed.
    # "spawn", not "fork": a forked process can hang once OpenCV or torch have started threads.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, context, _start_worker, (initialise, arguments))
    try:
        with signals_held_back():  # from the workers too: this process ends them
            futures = {pool.submit(work, item): item for item in items}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise MefusionError(
            "a worker process was killed, perhaps because memory ran out: run again with fewer workers (workers=1)"
        ) from error
    except BaseException:  # workers would finish what they are at, which takes up to half a minute
        for process in [*(pool._processes or {}).values()]:
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(initialise: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    cv2.setNumThreads(1)  # there is a process for each core already
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_after, args=(parent,), daemon=True).start()
    end_with_parent(parent.pid)  # on Linux at once, also while this worker computes outside of Python
    if initialise is not None:
        initialise(*arguments)


def _end_after(parent: Any) -> None:
    """End this worker when its parent dies. A killed parent cannot end its workers, which would wait forever."""
    parent.join()
    os._exit(1)
