"""How this process gets memory from the operating system."""

import ctypes
import platform

# Names and values as in malloc.h of glibc.
_TRIM_THRESHOLD = -1
_TOP_PAD = -2
_MMAP_THRESHOLD = -3

_LARGE = 32 * 2**20  # bytes; the largest threshold that glibc accepts
_STEP = 256 * 2**20  # bytes that the heap grows by


def reuse_freed_memory() -> None:
    """Keep freed memory for the next allocation. Call it before training.

    A training step on a CPU allocates tensors of the same sizes as the step before. If each one gets new memory, the
    system has to prepare it page by page (4 KiB), which takes a tenth of the step. Blocks above 32 MiB still go back to
    the system when they are freed: when they were kept too, gaps between them raised the memory for MOL's published
    batch from less than 8 GB to 11 GB.

    It works on Linux with glibc; on other systems it does nothing.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_THRESHOLD, _LARGE)  # larger blocks go back to the system when they are freed
    libc.mallopt(_TRIM_THRESHOLD, -1)  # the heap never shrinks
    libc.mallopt(_TOP_PAD, _STEP)
