"""`answers.jsonl`: a line for each try, written as soon as the server has answered.

What stands there is not asked again, however the run ended; it is also what the budget is summed over.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from mefusion.common.errors import MefusionError
from mefusion.common.files import is_irregular, told_if_unwritable, write_text

FILE = "answers.jsonl"

ASKED_FILE = "asked.json"
"""How stage label asked the last time; answers that were given to another way of asking are kept, and do not count."""

WAY = ("model", "prompt", "vocabulary", "temperature")
"""What tells ways of asking apart: keys of a line."""

FIELDS = (
    *("key", "segment", "start", "end", "run", "try", "status", "raw", "answer", "error"),
    *("model", "model_returned", "fingerprint", "prompt", "vocabulary", "temperature", "seed"),
    *("tokens_in", "tokens_out", "usd", "utc", "seconds", "notice"),
)
"""Keys of a line."""

NOTICE = "labels of a model, not truth"


class Status(StrEnum):
    """What came of a try."""

    ok = "ok"
    unusable = "unusable"  # the model sees no way to judge the segment
    invalid = "invalid"  # the answer breaks a rule
    refused = "refused"  # by the model, or a filter of the server
    failed = "failed"  # no answer


FINAL = (Status.ok, Status.unusable, Status.refused)
"""What is not asked again."""

Line = dict[str, Any]

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)  # the last one is Windows'


def write_way(folder: Path, way: Mapping[str, Any]) -> None:
    """Note how the model is asked from now on; `way` has the keys `WAY`."""
    write_text(folder / ASKED_FILE, json.dumps({name: way[name] for name in WAY}) + "\n")


def read_way(folder: Path, lines: Sequence[Line]) -> Line:
    """How the model was asked the last time: as `asked.json` has it, or the last try.

    Raises:
        MefusionError: the file is damaged.
    """
    path = folder / ASKED_FILE
    if not path.exists():
        return {name: lines[-1].get(name) for name in WAY}
    try:
        way = json.loads(path.read_text(encoding="utf-8"))
        return {name: way[name] for name in WAY}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise MefusionError(f"{path} is damaged: run stage=label again") from error


class AnswerFile:
    """The file of a run's tries, opened for further ones.

    Args:
        folder: of the run.
        secret: is replaced wherever it occurs in a line.
    """

    def __init__(self, folder: Path, secret: str = ""):
        self.path = folder / FILE
        self._secret = json.dumps(secret)[1:-1]
        self.lines = read_answers(folder)
        with told_if_unwritable(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            _drop_half_a_line(self.path)
            self._file = os.open(self.path, _FLAGS, 0o644)

    def append(self, line: Mapping[str, Any]) -> None:
        """Write a try, whole, and keep it.

        Raises:
            WriteError: the disk is full.
        """
        text = json.dumps({name: line.get(name) for name in FIELDS})
        if len(self._secret) >= 8:  # a shorter one is no secret, as the EMPTY of local servers
            text = text.replace(self._secret, "***")
        with told_if_unwritable(self.path):
            data = f"{text}\n".encode()
            while data:
                data = data[os.write(self._file, data) :]
            os.fsync(self._file)
        self.lines.append(json.loads(text))

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read_answers(folder: Path) -> list[Line]:
    """All tries of a run; none if nothing was asked yet. Half a last line, of a process that was killed, is left out.

    Raises:
        MefusionError: the file cannot be read, or a line is damaged.
    """
    path = folder / FILE
    return list(_lines(path)) if path.exists() else []


def is_annotation_run(folder: Path) -> bool:
    """Whether a folder is that of an annotation run."""
    return (folder / FILE).is_file() or any(folder.glob("videos/*/media.json"))


def _lines(path: Path) -> Iterator[Line]:
    if is_irregular(path):
        raise MefusionError(f"{path} is no regular file: move it away")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MefusionError(f"{path} cannot be read ({error.strerror}): check its permissions") from error
    for number, text in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), 1):
        try:
            line = json.loads(text)
            if not isinstance(line, dict) or not {"key", "segment", "run", "status"} <= line.keys():
                raise ValueError
        except (ValueError, RecursionError) as error:
            raise MefusionError(f"{path} is damaged in line {number}: delete that line") from error
        yield line


def _drop_half_a_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("rb+") as file:
        data = file.read()
        if (whole := data.rfind(b"\n") + 1) < len(data):
            file.truncate(whole)
