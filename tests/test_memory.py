"""Memory that is freed and used again."""

import platform
import subprocess
import sys

import pytest

FAULTS_OF_A_SECOND_BLOCK = """
import resource
import numpy as np
from mefusion.memory import keep_freed_memory

keep_freed_memory()
np.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc only")
def test_a_block_takes_the_pages_of_a_freed_one():
    done = subprocess.run([sys.executable, "-c", FAULTS_OF_A_SECOND_BLOCK], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 10  # 128 MiB of fresh memory: 64 in large pages, 32768 in small ones


def test_elsewhere_nothing_happens(monkeypatch):
    from mefusion import memory

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: pytest.fail("no library is to be asked"))
    memory.keep_freed_memory()
