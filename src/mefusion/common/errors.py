"""The exception for errors that the user can correct."""


class MefusionError(Exception):
    """An error that the user can correct: one sentence that names the file or value, and what to do.

    The commands print it without a traceback and exit with a code other than 0.
    """
