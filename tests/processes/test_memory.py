"""Memory that is freed and used again."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import torch
from mefusion.processes.memory import reuse_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step = [torch.ones(16, 2**18) for _ in range(20)]
    del step
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

reuse_freed_memory()
print([faults() for _ in range(12)][-1])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc only")
def test_tensors_take_the_pages_of_freed_ones():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 100  # of 81920 pages, 320 MiB


def test_elsewhere_nothing_happens(monkeypatch):
    from mefusion.processes import memory

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: pytest.fail("no library is to be asked"))
    memory.reuse_freed_memory()
