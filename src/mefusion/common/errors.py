"""The exception for errors that the user can correct."""


class MefusionError(Exception):
    """An error that the user can correct: one sentence that names the file or value, and what to do.

    The commands print it without a traceback and exit with a code other than 0.
    """


class WriteError(MefusionError):
    """A file cannot be written, for example because the disk is full; then the next cannot be written either."""
