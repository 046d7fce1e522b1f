"""Processes that a command has left behind, found in /proc: by a variable of the environment, or by their session."""

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MARK = "CAMPAIGN_CASE"
"""Variable of the environment that all processes of the campaign inherit. No process without it is ever ended."""


@dataclass(frozen=True)
class Process:
    """A running process: its number, and its command line."""

    pid: int
    command: str


def processes_of(mark: str, session: int) -> list[Process]:
    """The running processes of a case; without those that have ended (zombies).

    Args:
        mark: of the case, in the environment of processes that were started.
        session: of the case; a process that was forked shows the environment of the one that it was forked from.
    """
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        with suppress(OSError, ValueError):
            # The name, in brackets, may have spaces: state, parent, group and session stand behind it.
            state, _, _, its_session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if state in "ZX":
                continue
            environment = (folder / "environ").read_bytes().split(b"\0")
            ours = any(entry.startswith(f"{MARK}=".encode()) for entry in environment)
            if ours and (f"{MARK}={mark}".encode() in environment or int(its_session) == session):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found.append(Process(int(folder.name), command.strip()[:200]))
    return found


def survivors(mark: str, session: int, *, seconds: float) -> list[Process]:
    """Processes of a case that still run so many seconds from now; they are ended."""
    until = time.monotonic() + seconds
    while (left := processes_of(mark, session)) and time.monotonic() < until:
        time.sleep(0.05)
    for process in left:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    return left


def seconds_used(pid: int) -> float:
    """Processor time of a process, seconds; infinity if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("inf")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler of its own for a signal."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)
