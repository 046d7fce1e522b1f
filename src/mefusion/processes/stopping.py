"""Ctrl-C and SIGTERM: a command stops within seconds, says what is kept, and leaves no process behind."""

import atexit
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

LIMIT = 2.0  # seconds until a process that was asked to stop is ended
PARENT_VARIABLE = "MEFUSION_PARENT"  # environment variable: the number of the process that this one must not outlive

_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
_PR_SET_PDEATHSIG = 1  # of prctl.h

_trained_with: list[subprocess.Popen[bytes]] = []


class Stopped(BaseException):
    """This process was asked to stop. Its text, if it has one, is said in place of `kept` of `stoppable`.

    It is no KeyboardInterrupt, for which Lightning prints lines of its own and exits with code 1.
    """


@contextmanager
def stoppable(program: str, kept: str) -> Iterator[None]:
    """End the program with one sentence if it receives Ctrl-C or SIGTERM in the block; the exit code is 130 or 143.

    The signal raises `Stopped` in the main thread. If that is busy outside of Python, as in a long step of a network,
    or its end takes longer than `LIMIT`, the process is ended as it is: every file is written whole or not at all.

    Args:
        program: name of the command.
        kept: what is kept, and how to go on.
    """
    if threading.current_thread() is not threading.main_thread():  # only it can take signals
        yield
        return
    received: list[int] = []
    said = threading.Lock()

    def stop(number: int, frame: object) -> None:
        received.append(number)
        if _trained_with:
            end(number)
        if len(received) == 1 and _is_first():  # once: a second signal must not interrupt the end
            raise Stopped

    def say(number: int) -> None:
        if said.acquire(blocking=False) and _is_first():
            with contextlib.suppress(OSError):  # nobody may be listening any more
                print(f"{program}: stopped by {_NAMES[signal.Signals(number)]}; {kept}", file=sys.stderr, flush=True)

    def end(number: int) -> None:
        for process in _trained_with:
            process.kill()
        say(number)
        os._exit(128 + number)

    before = {number: signal.getsignal(number) for number in _NAMES}
    end_watch = _watch(end)
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:  # as nohup and `&` in a script want it
                signal.signal(number, stop)
        yield
    except BaseException as error:  # after a signal, another may come first, as of a file that another process removed
        if not received:
            raise
        if isinstance(error, Stopped) and error.args:
            kept = str(error)
    finally:
        if not received:
            for number, handler in before.items():
                signal.signal(number, handler)
            end_watch()
    if received:
        say(received[0])
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        atexit._run_exitfuncs()
        os._exit(128 + received[0])  # at once: with torch, Python's own end takes long


def end_together(children: Iterable[subprocess.Popen[bytes]]) -> None:
    """Let this process, when it is stopped, end its children and itself at once.

    Processes that train together wait for each other: none of them can end in order.
    """
    _trained_with.extend(children)


def _is_first() -> bool:
    """Whether this is the process that speaks, where several train together; the others end with it, or soon after.

    If they ended before it, Lightning would kill it.
    """
    return os.environ.get("LOCAL_RANK", "0") == "0"


def _watch(end: Callable[[int], None]) -> Callable[[], None]:
    """Call a function in a thread, `LIMIT` after a signal came; returns a function that ends the watch.

    The thread learns of the signal at once, also if the main thread is busy outside of Python.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

    def wait() -> None:
        while number := reader.recv(1):
            if number[0] in [*_NAMES]:
                time.sleep(LIMIT if _is_first() else LIMIT + 1)
                end(number[0])

    def end_watch() -> None:
        signal.set_wakeup_fd(before)
        writer.close()

    threading.Thread(target=wait, daemon=True).start()
    return end_watch


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Take Ctrl-C and SIGTERM only after the block. Processes that are started in it never take them.

    A terminal sends Ctrl-C to all processes of a command; its first process then ends the others. Windows cannot
    hold signals back.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [*_NAMES])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent(parent: int | None = None) -> None:
    """Let this process end when its parent ends, even if that is killed.

    Linux kills it at once; elsewhere a thread looks every half second. Windows does not tell when a parent has ended.

    Args:
        parent: number of the parent; by default that of the present one, which then must still be there.
    """
    parent = parent or os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    elif sys.platform != "win32":
        threading.Thread(target=_end_without, args=(parent,), daemon=True).start()
    if sys.platform != "win32" and os.getppid() != parent and not _is_alive(parent):
        os._exit(1)  # it has ended already


def _is_alive(process: int) -> bool:
    """Whether a process is there; one that started this one through another, as a shell script, is no parent."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _end_without(parent: int) -> None:
    started_by = os.getppid()
    while os.getppid() == started_by and _is_alive(parent):
        time.sleep(0.5)
    os._exit(1)


def end_with_named_parent() -> None:
    """As `end_with_parent`, for a process that was started with `PARENT_VARIABLE`; its own children do not get it."""
    if parent := os.environ.pop(PARENT_VARIABLE, None):
        end_with_parent(int(parent))
