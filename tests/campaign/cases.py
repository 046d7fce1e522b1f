"""What a case is: a folder, what is done to it, commands, and what they must say."""

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

Change = Callable[[Path], None]
"""Changes the folder that a case runs in."""


class Expected(StrEnum):
    """What a command must do.

    `refused`: exit code 1 and one sentence on stderr that has the case's words; `told`: the words are in what it
    prints, and with exit code 1 there is one sentence on stderr; `works`: exit code 0, nothing on stderr, and the words
    are in what it prints.
    """

    refused = "refused"
    told = "told"
    works = "works"


@dataclass(frozen=True)
class Case:
    """One bad input.

    Attributes:
        kind: name of its table.
        name: unique in its table.
        template: name of the folder that is copied for it, see `templates.py`.
        commands: command lines that run one after the other; `expected` and `words` are about the last one.
        words: texts that must be in what it says; of `one|other` one is enough.
        change: what is done to the copied folder first.
        expected: what it must do.
        environment: variables of the environment; None removes one.
        alone: whether it runs in a process of its own from the start, instead of being forked with its imports done.
        limits: resource limits of the process, by the names of the module `resource`.
        may_go: file names of what is damaged so that nothing of it is left, and that the commands may remove.
    """

    kind: str
    name: str
    template: str
    commands: tuple[tuple[str, ...], ...]
    words: tuple[str, ...] = ()
    change: Change | None = None
    expected: Expected = Expected.refused
    environment: Mapping[str, str | None] = field(default_factory=dict)
    alone: bool = False
    limits: Mapping[str, int] = field(default_factory=dict)
    may_go: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Table and name."""
        return f"{self.kind}/{self.name}"


def table(
    kind: str, template: str, commands: str | Iterable[str], rows: Iterable[tuple], **options: object
) -> list[Case]:
    """Cases of one command: each row is a name, what is done to the folder (or None), and words of the sentence.

    Args:
        kind: name of the table.
        template: name of the folder.
        commands: a command line, or several that run one after the other.
        rows: the cases.
        options: further fields of `Case`.
    """
    lines = [commands] if isinstance(commands, str) else commands
    split = tuple(tuple(shlex.split(line)) for line in lines)
    return [
        Case(kind, name, template, split, tuple(words), change, **options)  # type: ignore[arg-type]
        for name, change, *words in rows
    ]
