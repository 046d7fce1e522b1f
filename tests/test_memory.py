"""Memory that is freed and used again."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import torch
from mefusion.memory import spare_fresh_pages

def faults(megabytes):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(megabytes, 2**18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

spare_fresh_pages()
faults(16)
print(faults(16))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc only")
def test_a_tensor_takes_the_pages_of_a_freed_one():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 2048  # of 4096; the system may take some back


def test_elsewhere_nothing_happens(monkeypatch):
    from mefusion import memory

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: pytest.fail("no library is to be asked"))
    memory.spare_fresh_pages()
