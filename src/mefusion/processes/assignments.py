"""How a process is given the folds of a study one by one, and tells how far it is.

The process that started it writes the name of a fold, or `FINISH`, as a line to its standard input. It answers with
events: lines of its standard output that begin with a character that text does not have. This works on every system,
and events stay in order with what else is printed.
"""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

WORKER_VARIABLE = "MEFUSION_WORKER"
"""Environment variable that is set where a process is given its folds: how many processes share its threads."""

FURTHER_VARIABLE = "MEFUSION_FURTHER"
"""Environment variable that is set where another process has told of the same folds already."""

FINISH = "finish"
"""In place of a fold: all are done, score the study. The end of the input says to end without that."""

_MARK = "\x1e"


@dataclass(frozen=True)
class Event:
    """What a process tells.

    Attributes:
        kind: `begun`: it was started; `ready`: it can take folds; `step`: a fold has come further; `ended`: a fold is
            over; `line`: it printed something; `lost`: it ended in a fold, or before it could take one.
        fold: of which this is told.
        text: the fold's epoch or its outcome, or the line.
        share: of the fold's training that is done, 0..1; of one that has ended, 0 if it was not run.
        failed: whether the fold has no result.
        study: the study's directory, once it is ready.
        folds: those that are not done, once it is ready.
    """

    kind: str
    fold: str = ""
    text: str = ""
    share: float = 0.0
    failed: bool = False
    study: str = ""
    folds: list[str] = field(default_factory=list)


def is_worker() -> bool:
    """Whether this process is given its folds by the process that started it."""
    return WORKER_VARIABLE in os.environ


def is_further() -> bool:
    """Whether another process has said already what there is to say of the study."""
    return FURTHER_VARIABLE in os.environ


def tell(event: Event) -> None:
    """Tell the process that started this one."""
    sys.stdout.write(f"{_MARK}{json.dumps(asdict(event))}\n")  # at once, so that no other thread prints in between
    sys.stdout.flush()


def read_events(line: str) -> list[Event]:
    """What a line of a process's output says; text may stand before an event, where a line was not ended, or after."""
    text, mark, rest = line.partition(_MARK)
    printed = [Event("line", text=text.rstrip("\n"))] if text or not mark else []
    if not mark:
        return printed
    event, end = json.JSONDecoder().raw_decode(rest)
    return [*printed, Event(**event), *(read_events(rest[end:]) if rest[end:].strip() else [])]


def assigned_folds() -> Iterator[str]:
    """Names of folds, as they are assigned, until `FINISH` or the end; blocks until the next one comes."""
    for line in sys.stdin:
        yield line.strip()
