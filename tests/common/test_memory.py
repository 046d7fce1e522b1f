"""Memory that is freed and used again."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")

FAULTS = """
import resource
import torch
from mefusion.common.memory import reuse_freed_memory

def faults(megabytes):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(megabytes, 2**18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

reuse_freed_memory()
# A small block behind a freed tensor can make its place too small for the next one, which is laid at a multiple of
# 2 MiB. Then fresh memory is taken until the 256 MiB that the heap grew by are used up: 14 times 18 MiB.
for _ in range(30):
    again = faults(16)
print(again, faults(256))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc only")
def test_a_tensor_takes_the_pages_of_a_freed_one_and_a_large_one_takes_large_pages():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    again, large = map(int, done.stdout.split())
    assert again < 100  # of 4096
    if HUGE_PAGES.exists() and "[never]" not in HUGE_PAGES.read_text():
        assert large < 6500  # of 65536


def test_elsewhere_nothing_happens(monkeypatch):
    from mefusion.common import memory

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: pytest.fail("no library is to be asked"))
    memory.reuse_freed_memory()
