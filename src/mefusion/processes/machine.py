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
    for folder in _cgroups("cpu"):
        for files in (["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]):
            with suppress(OSError, ValueError):  # of the other version, or "max"
                quota, period = _numbers(folder, files)
                if quota > 0:  # -1 means no limit
                    counts.append(math.ceil(quota / period))
    return max(min(counts), 1)


def chosen_threads() -> int | None:
    """Threads of a process as the user has set them; None if not. Of `4,2`, with nested threads, the first counts."""
    first = os.environ.get(THREADS, "").partition(",")[0].strip()
    return int(first) or None if first.isdecimal() else None


def share_of_threads(processes: int) -> dict[str, str]:
    """Environment that gives each of so many processes its share of the cores; empty where the user has set threads."""
    return {} if chosen_threads() else {THREADS: str(max(1, cores() // processes))}


def free_memory() -> int | None:
    """Bytes that processes can still take without others being swapped out or killed; None where it is not known."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):  # not Linux
        return None
    for folder in _cgroups("memory"):
        for files in (["memory.max", "memory.current"], ["memory.limit_in_bytes", "memory.usage_in_bytes"]):
            with suppress(OSError, ValueError):
                limit, used = _numbers(folder, files)
                free = min(free, limit - used + _idle_cache(folder))
    return free


def _cgroups(controller: str) -> list[Path]:
    """Folders of the control groups that may limit this process: of its container, or of its job.

    Version 2 has one tree of groups. Version 1 has one for each controller; its lines of /proc/self/cgroup name them.
    """
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return []
    folders = []
    for _, controllers, own in (line.split(":", 2) for line in lines):
        if controllers and controller not in controllers.split(","):
            continue
        root = _CGROUPS / controller if controllers else _CGROUPS
        folder = root / own.lstrip("/")
        folders += [folder, *folder.parents[: len(folder.parts) - len(root.parts)]]
    return folders


def _numbers(folder: Path, files: list[str]) -> list[int]:
    return [int(word) for name in files for word in (folder / name).read_text().split()]


def _idle_cache(folder: Path) -> int:
    """Bytes that a control group uses for files and that the system takes back when memory is needed."""
    lines = (folder / "memory.stat").read_text().splitlines()
    counts = dict(line.split() for line in lines)
    return int(counts.get("total_inactive_file") or counts["inactive_file"])  # version 1: with groups below it


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
