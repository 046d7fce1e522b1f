"""How this process asks the system for memory."""

import ctypes
import platform

# Of glibc's malloc.h.
_TRIM_THRESHOLD = -1
_TOP_PAD = -2
_MMAP_MAX = -4

_STEP = 256 * 2**20  # bytes to ask the system for at a time


def keep_freed_memory() -> None:
    """Let what is freed be used again instead of going back to the system, as large blocks would at once.

    A training step on a CPU frees and allocates the same large tensors as the one before. Where each is fresh memory,
    the system clears its pages anew, which takes a tenth of the step. Linux with glibc only; elsewhere nothing changes.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_MAX, 0)  # no block gets a mapping of its own, which would end with it
    libc.mallopt(_TRIM_THRESHOLD, -1)  # the heap never shrinks
    libc.mallopt(_TOP_PAD, _STEP)
