"""Runs commands of mefusion in processes that are forked when the imports are done: the real `main`, in a second less.

It reads requests from its standard input, one JSON text a line, and answers each with one line when its process has
ended. A process does at its end what Python does, but for taking all of torch apart, which takes a second.
"""

import atexit
import gc
import importlib.metadata
import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

Main = Callable[[], object]


def preload() -> dict[str, Main]:
    """Import what the commands import, so that no case has to; returns the console scripts."""
    import lightning  # noqa: F401
    import pandas  # noqa: F401
    import torch  # noqa: F401

    import mefusion.acceleration
    import mefusion.commands.check
    import mefusion.commands.export
    import mefusion.commands.predict
    import mefusion.commands.prepare
    import mefusion.commands.spot
    import mefusion.commands.train
    import mefusion.configuration.building
    import mefusion.configuration.composition
    import mefusion.configuration.processes
    import mefusion.inference.clips
    import mefusion.inference.events
    import mefusion.inference.export
    import mefusion.report.command
    import mefusion.report.content
    import mefusion.report.recording.result
    import mefusion.report.writers
    import mefusion.studies.study  # noqa: F401

    entries = importlib.metadata.distribution("mefusion").entry_points.select(group="console_scripts")
    return {entry.name: entry.load() for entry in entries}


def serve() -> None:
    """Answer requests until there are no more."""
    scripts = preload()
    gc.collect()
    gc.freeze()  # so that the processes share the memory
    requests = os.fdopen(os.dup(0), closefd=True)
    answers = os.fdopen(os.dup(1), "w")
    while line := requests.readline():
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            become(request)
            end(scripts[request["command"][0]])
        answers.write(json.dumps(wait(pid, request["seconds"])) + "\n")
        answers.flush()


def become(request: dict) -> None:
    """Give this process a session, folder, environment, limits, output and arguments as requested."""
    os.setsid()
    for number, path in ((0, os.devnull), (1, request["out"]), (2, request["err"])):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for name, value in request["limits"].items():
        resource.setrlimit(getattr(resource, name), (value, value))
    program, *arguments = request["command"]
    sys.argv = [str(Path(sys.executable).parent / program), *arguments]


def end(main: Main) -> None:
    """Run a command as its console script does, and end the process."""
    try:
        code = main() or 0
    except SystemExit as stop:
        code = stop.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    if not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 255)


def wait(pid: int, seconds: float) -> dict[str, object]:
    """Wait for a process; end its group if it takes longer."""
    start, hung = time.monotonic(), False
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return {"pid": pid, "code": os.waitstatus_to_exitcode(status), "hung": hung}
        if not hung and time.monotonic() - start > seconds:
            hung = True
            os.killpg(pid, signal.SIGKILL)
        time.sleep(0.01)


if __name__ == "__main__":
    serve()
