"""The one exception that users see."""


class MefusionError(Exception):
    """Something the user can mend: one sentence that names the file, the value and what to do.

    Entry points print it without a traceback and exit with a non-zero code.
    """
