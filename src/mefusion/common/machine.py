"""What this machine has for processes side by side: cores, GPUs and free memory. Does not import torch."""

import math
import os
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

THREADS = "OMP_NUM_THREADS"
"""Environment variable with the number of threads that a process computes with."""

_CGROUPS = Path("/sys/fs/cgroup")


def cores() -> int:
    """Cores that this process may use: those it is bound to, and no more than its container or SLURM job is given."""
    counts = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    if (given := os.environ.get("SLURM_CPUS_PER_TASK", "")).isdigit():
        counts.append(int(given))
    for folder in _cgroups():
        with suppress(OSError, ValueError):  # no such limit, or "max"
            quota, period = map(int, (folder / "cpu.max").read_text().split())
            counts.append(math.ceil(quota / period))
    return max(min(counts), 1)


def share_of_threads(processes: int) -> dict[str, str]:
    """Environment that gives each of so many processes its share of the cores; empty where the user has set threads."""
    return {} if THREADS in os.environ else {THREADS: str(max(1, cores() // processes))}


def free_memory() -> int | None:
    """Bytes that processes can still take without others being swapped out or killed; None where it is not known."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):  # not Linux
        return None
    for folder in _cgroups():
        with suppress(OSError, ValueError):
            limit, used = (int((folder / f"memory.{name}").read_text()) for name in ("max", "current"))
            free = min(free, limit - used)
    return free


def _cgroups() -> list[Path]:
    """Folders of the control groups of this process, which may limit it: of its container, or of its job."""
    try:
        own = Path("/proc/self/cgroup").read_text().rpartition("0::/")[2].strip()
    except OSError:
        return []
    folder = _CGROUPS / own
    return [folder, *folder.parents[: len(folder.parts) - len(_CGROUPS.parts)]]


def peak_memory_of(process: int) -> int | None:
    """Largest resident memory that a process has had, bytes; None where it is not known, or the process has ended."""
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    return None


def visible_gpus() -> list[str]:
    """Names of the GPUs that this process may use, as in CUDA_VISIBLE_DEVICES; found without importing torch."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        names = [name.strip() for name in visible.split(",")]
        return [] if "-1" in names else [name for name in names if name]
    if not (program := shutil.which("nvidia-smi")):
        return []
    listed = subprocess.run([program, "-L"], capture_output=True, text=True).stdout
    return re.findall(r"^GPU \d+: .*\(UUID: (GPU-[^)]+)\)", listed, re.MULTILINE)


def places_for(processes: int, gpus: list[str]) -> list[dict[str, str]]:
    """An environment for each of several processes, which gives it one of the GPUs; they share these evenly."""
    return [{"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {} for number in range(processes)]
