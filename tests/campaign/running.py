"""Run commands for a case: in a process of their own, or forked by a server."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .processes import MARK, Process, survivors

HANG = 60  # seconds after which a command hangs
PATIENCE = 600  # the same for a command that makes what cases begin with
REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Done:
    """What became of a command.

    Attributes:
        command: its command line.
        code: exit code; the negative number of a signal that ended it.
        out, err: what it printed.
        seconds: how long it took.
        hung: whether it was ended because it took too long.
        left: processes of it that still ran a second later.
    """

    command: Sequence[str]
    code: int
    out: str
    err: str
    seconds: float
    hung: bool = False
    left: Sequence[Process] = field(default_factory=list)


def environment_of(mark: str, changes: Mapping[str, str | None] = {}) -> dict[str, str]:
    """Environment of a case's commands; a PYTHONPATH among the changes comes before the package's."""
    first, last = changes.get("PYTHONPATH"), os.environ.get("PYTHONPATH")
    path = os.pathsep.join(filter(None, [first, str(REPOSITORY / "src"), last]))
    values = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", MARK: mark, **changes, "PYTHONPATH": path}
    return {name: value for name, value in values.items() if value is not None}


def executable(command: Sequence[str]) -> list[str]:
    """A command line with the path of its console script."""
    return [str(Path(sys.executable).parent / command[0]), *command[1:]]


class Server:
    """A process that forks the commands; see `campaign.server`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.campaign.server"],
            cwd=REPOSITORY, env=environment_of("server"), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def run(
        self,
        command: Sequence[str],
        cwd: Path,
        *,
        environment: Mapping[str, str | None] = {},
        limits: Mapping[str, int] = {},
        seconds: float = HANG,
    ) -> Done:
        """Run a command in a forked process."""
        mark, start = uuid.uuid4().hex, time.monotonic()
        out, err = (cwd.with_name(f"{cwd.name}.{name}") for name in ("out", "err"))
        for path in (out, err):
            path.unlink(missing_ok=True)
        request = {
            "command": command,
            "cwd": str(cwd),
            "environment": environment_of(mark, environment),
            "limits": dict(limits),
            "out": str(out),
            "err": str(err),
            "seconds": seconds,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        took = time.monotonic() - start
        left = survivors(mark, answer["pid"], seconds=1)
        said = (path.read_text(errors="replace") for path in (out, err))
        return Done(command, answer["code"], *said, took, answer["hung"], left)

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


class Started:
    """A command in a process of its own, with files for what it prints."""

    def __init__(
        self,
        command: Sequence[str],
        cwd: Path,
        *,
        environment: Mapping[str, str | None] = {},
        limits: Mapping[str, int] = {},
    ) -> None:
        def limit() -> None:
            for name, value in limits.items():
                resource.setrlimit(getattr(resource, name), (value, value))

        self.command, self.mark, self.start = command, uuid.uuid4().hex, time.monotonic()
        self._said = [cwd.with_name(f"{cwd.name}.{name}") for name in ("out", "err")]
        with self._said[0].open("wb") as out, self._said[1].open("wb") as err:
            self.process = subprocess.Popen(
                executable(command),
                cwd=cwd, env=environment_of(self.mark, environment), preexec_fn=limit if limits else None,
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
            )  # fmt: skip

    def end(self, *, within: float = HANG, grace: float = 1) -> Done:
        """Wait until the command ends; what is left of it after a grace is ended.

        Args:
            within: seconds from now after which it hangs.
            grace: seconds that its processes have after it.
        """
        hung = False
        try:
            self.process.wait(within)
        except subprocess.TimeoutExpired:
            hung = True
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        seconds = time.monotonic() - self.start
        left = survivors(self.mark, self.process.pid, seconds=grace)
        out, err = (path.read_text(errors="replace") for path in self._said)
        return Done(self.command, self.process.returncode, out, err, seconds, hung, left)
