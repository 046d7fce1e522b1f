"""The exception for errors that the user can correct."""

from collections.abc import Sequence
from typing import Any


class MefusionError(Exception):
    """An error that the user can correct: one sentence that names the file or value, and what to do.

    The commands print it without a traceback and exit with a code other than 0.
    """


class WriteError(MefusionError):
    """A file cannot be written, for example because the disk is full; then the next cannot be written either."""


class JobsFailed(MefusionError):
    """Jobs of a sweep failed or were killed.

    Attributes:
        results: Hydra's `JobReturn` of all jobs, those that did their work included. The status is FAILED if a job
            failed by itself, and UNKNOWN if it was stopped or killed; the value is then the reason.
    """

    def __init__(self, sentence: str, results: Sequence[Any]) -> None:
        super().__init__(sentence)
        self.results = results


def first_line(error: BaseException) -> str:
    """The first line of an error's message, without its full stop; the error's name if it has no message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
