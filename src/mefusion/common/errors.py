"""The exception for errors that the user can correct."""


class MefusionError(Exception):
    """An error that the user can correct: one sentence that names the file or value, and what to do.

    The commands print it without a traceback and exit with a code other than 0.
    """


class WriteError(MefusionError):
    """A file cannot be written, for example because the disk is full; then the next cannot be written either."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, without its full stop; the error's name if it has no message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
