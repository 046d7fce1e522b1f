"""What a case comes to: one outcome, and what it left behind."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .cases import Case, Expected
from .running import Done

CLEAR, UNCLEAR, SILENT, TRACEBACK, HANG, BROKEN = "clear", "unclear", "silent", "traceback", "hang", "broken"


@dataclass(frozen=True)
class Verdict:
    """What became of a case.

    Attributes:
        kind, name: of the case.
        outcome: `clear`: as it must be; `unclear`: refused, but not in one sentence with the case's words; `silent`:
            not refused; `traceback`; `hang`; `broken`: the case itself cannot be run.
        why: what is wrong; empty if nothing is.
        lost: files that are gone or changed.
        left: hidden temporary files.
        orphans: processes that were left running.
        done: its commands.
    """

    kind: str
    name: str
    outcome: str
    why: str = ""
    lost: Sequence[str] = ()
    left: Sequence[str] = ()
    orphans: Sequence[str] = ()
    done: Sequence[Done] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing at all is wrong."""
        return self.outcome == CLEAR and not (self.lost or self.left or self.orphans)


def sentences(text: str) -> list[str]:
    """The lines that a command printed to stderr."""
    return [line for line in text.splitlines() if line.strip()]


def has_traceback(done: Done) -> bool:
    """Whether a command printed a traceback."""
    return "Traceback (most recent call last)" in done.out + done.err


def is_one_sentence(done: Done) -> bool:
    """Whether a command said one sentence on stderr that begins with its name."""
    lines = sentences(done.err)
    return len(lines) == 1 and re.match(rf"{re.escape(done.command[0])}: \S", lines[0]) is not None


def judge(case: Case, done: Sequence[Done]) -> tuple[str, str]:
    """Outcome of a bad input, and what is wrong.

    Args:
        case: the case.
        done: its commands, as far as they were run.
    """
    if any(has_traceback(one) for one in done):
        return TRACEBACK, ""
    if any(one.hung for one in done):
        return HANG, ""
    last = done[-1]
    if case.expected == Expected.refused and last.code == 0:
        return SILENT, "it was not refused"
    shown = last.err if case.expected == Expected.refused else last.out + last.err
    problems = [f"it does not say {word}" for word in case.words if not any(one in shown for one in word.split("|"))]
    if case.expected == Expected.works:
        if last.code:
            problems.append(f"exit code {last.code} instead of 0")
        if sentences(last.err):
            problems.append("stderr is not empty")
    elif last.code:
        if last.code != 1:
            problems.append(f"exit code {last.code} instead of 1")
        if not is_one_sentence(last):
            problems.append(f"{len(sentences(last.err))} lines on stderr instead of one sentence")
    elif problems:
        return SILENT, "; ".join(problems)
    return (UNCLEAR if problems else CLEAR), "; ".join(problems)


def files_below(folder: Path) -> set[str]:
    """The files of a folder, as paths in it."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}


def temporary_files(folder: Path) -> list[str]:
    """Hidden files and folders in a folder: what commands write before they rename it, and locks."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".*"))
