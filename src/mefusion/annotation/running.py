"""Work on several videos at once, and tell how many seconds of them are done."""

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from typing import Any, TypeVar

from mefusion.common.errors import MefusionError, WriteError, first_line
from mefusion.common.progress import seconds_shown
from mefusion.processes.parallel import in_parallel

Item = TypeVar("Item")
Result = TypeVar("Result")
Say = Callable[[float], None]

TOLD_EVERY = 0.5  # s


def run_on_videos(
    work: Callable[[Item, Say], Result],
    items: Sequence[Item],
    *,
    seconds: Sequence[float],
    description: str,
    workers: int | None,
    quiet: bool = False,
) -> Iterator[tuple[Item, Result | str]]:
    """Yield each item with its result as soon as it is there, or with a sentence on why there is none.

    Args:
        work: a function at the top level of a module; it is given an item, and a function to tell the time, s, that it
            has reached in the video.
        items: what to work on.
        seconds: length of each item's video.
        description: what is done.
        workers: number of processes; None means one for each core.
        quiet: whether the progress is told.

    Raises:
        WriteError: the disk is full, or a folder cannot be written to.
        MefusionError: a process was killed.
    """
    if not items:
        return
    reached = get_context("spawn").Array("d", len(items), lock=False)
    ended = threading.Event()
    with seconds_shown(total=sum(seconds), description=description, quiet=quiet) as say:

        def tell() -> None:
            while not ended.wait(TOLD_EVERY):
                say(sum(reached))

        teller = threading.Thread(target=tell, daemon=True)
        teller.start()
        try:
            jobs = [(number, work, item) for number, item in enumerate(items)]
            for job, result in in_parallel(_run, jobs, workers=workers, initialise=_initialise, arguments=(reached,)):
                if isinstance(result, WriteError):
                    raise result
                reached[job[0]] = seconds[job[0]]
                yield job[2], str(result) if isinstance(result, MefusionError) else result
        finally:
            ended.set()
            teller.join()


_reached: Any = None


def _initialise(reached: Any) -> None:
    """Store the numbers that workers share."""
    global _reached
    _reached = reached


def _run(job: tuple[int, Callable[[Item, Say], Result], Item]) -> Result | MefusionError:
    """Do one item's work in a worker; errors are returned, since one video must not stop the others."""
    number, work, item = job
    try:
        return work(item, functools.partial(_tell, number))
    except MefusionError as error:
        return error
    except Exception as error:
        return MefusionError(f"{item}: {type(error).__name__}: {first_line(error)}")


def _tell(number: int, seconds: float) -> None:
    _reached[number] = seconds
