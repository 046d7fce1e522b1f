"""Commands that are stopped by Ctrl-C and SIGTERM, and processes whose parent is killed."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")
SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
# What a shell starts in the background ignores Ctrl-C.
START = """
    import os, signal, sys, time
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from mefusion.processes import stopping
    from mefusion.processes.stopping import stoppable
"""


def started(code, **environment):
    """A process that runs code, once it has printed its first line."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(START) + textwrap.dedent(code)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment, start_new_session=True,
    )  # fmt: skip
    assert process.stdout.readline()
    return process


def name_of(number):
    return "Ctrl-C" if number == signal.SIGINT else "SIGTERM"


@POSIX
@SIGNALS
def test_a_stopped_command_says_what_is_kept_and_cleans_up(number):
    process = started("""
        with stoppable("prog", "all is kept"):
            try:
                print("ready", flush=True)
                time.sleep(60)
            finally:
                print("cleaned up", flush=True)
    """)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert out == "cleaned up\n"
    assert err == f"prog: stopped by {name_of(number)}; all is kept\n"


@POSIX
def test_what_is_kept_may_depend_on_what_was_stopped():
    process = started("""
        with stoppable("prog", "all is kept"):
            try:
                print("ready", flush=True)
                time.sleep(60)
            except stopping.Stopped:
                raise stopping.Stopped("jobs go on") from None
    """)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 143
    assert err == "prog: stopped by SIGTERM; jobs go on\n"


@POSIX
@pytest.mark.parametrize(
    "busy",
    [
        "import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)",  # one call, in which no signal is looked for
        "try:\n        time.sleep(60)\n    except BaseException:\n        time.sleep(60)",
    ],
)
def test_a_command_that_does_not_stop_by_itself_is_ended(busy):
    process = started(f"""
with stoppable("prog", "all is kept"):
    stopping.LIMIT = 0.5
    print("ready", flush=True)
    {busy}
    """)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 143
    assert err == "prog: stopped by SIGTERM; all is kept\n"


@POSIX
def test_a_second_signal_and_errors_on_the_way_change_nothing():
    process = started("""
        with stoppable("prog", "all is kept"):
            try:
                print("ready", flush=True)
                time.sleep(60)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)
                sys.exit("prog: a worker was killed")
    """)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == "prog: stopped by Ctrl-C; all is kept\n"


@POSIX
def test_of_several_that_train_together_the_first_speaks():
    process = started(
        """
        with stoppable("prog", "all is kept"):
            stopping.LIMIT = 0.2
            print("ready", flush=True)
            time.sleep(60)
        """,
        LOCAL_RANK="1",
    )
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 143


@POSIX
def test_a_command_in_the_background_ignores_ctrl_c_as_before():
    process = started("""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with stoppable("prog", "all is kept"):
            print("ready", flush=True)
            time.sleep(0.5)
        print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN, signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
    """)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20) == ("True True\n", "")
    assert process.returncode == 0


def test_an_error_without_a_signal_is_as_ever():
    from mefusion.processes.stopping import stoppable

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(ValueError, match="no signal"), stoppable("prog", "all is kept"):
        raise ValueError("no signal")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@POSIX
def test_a_process_ends_with_its_killed_parent(tmp_path):
    parent = started(f"""
        import subprocess
        child = subprocess.Popen(
            [sys.executable, "-c", '''if True:
                from mefusion.processes.stopping import end_with_named_parent
                import os, time
                end_with_named_parent()
                open("ready", "w").write(os.environ.get("MEFUSION_PARENT", "not inherited"))
                time.sleep(60)
            '''],
            cwd={str(tmp_path)!r}, env=os.environ | {{stopping.PARENT_VARIABLE: str(os.getpid())}},
        )
        print(child.pid, flush=True)
        while not os.path.exists({str(tmp_path / "ready")!r}):
            time.sleep(0.01)
        print(child.pid, flush=True)
        time.sleep(60)
    """)
    child = int(parent.stdout.readline())
    assert (tmp_path / "ready").read_text() == "not inherited"
    parent.kill()
    parent.wait()
    until = time.monotonic() + 20  # half a second, but for what else runs here
    while alive(child):
        assert time.monotonic() < until
        time.sleep(0.02)


def alive(process):
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:  # no Linux
        return True
    except ProcessLookupError:
        return False


# The commands.


def command(name, *arguments):
    return [sys.executable, "-m", f"mefusion.{name}", *arguments]


def stopped(arguments, number, ready, folder, whole_group=True):
    """Stop a command once `ready(pid)` holds; returns how long it took and what it printed on stderr."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        arguments, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    until = time.monotonic() + 120
    while not ready(process.pid):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.02)
    start = time.monotonic()
    (os.killpg if whole_group else os.kill)(process.pid, number)  # as a terminal does, or as a user does
    process.wait(timeout=60)
    took = time.monotonic() - start
    _, err = process.communicate()
    assert process.returncode == 128 + number, err
    assert not session(process.pid)
    return took, err


def files(folder, ending):
    """Files below a folder, some of which come and go: Path.rglob fails where a folder goes."""
    return [name for _, _, names in os.walk(folder) for name in names if name.endswith(ending)]


def takes_signals(process):
    """Whether a process has begun to take SIGTERM itself."""
    status = Path(f"/proc/{process}/status")
    if not status.exists():  # no Linux
        time.sleep(2)
        return True
    (caught,) = (line for line in status.read_text().splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) & 1 << (signal.SIGTERM - 1))


def session(leader):
    """Processes that a command has left."""
    listed = subprocess.run(["ps", "-eo", "sid=,stat=,args="], capture_output=True, text=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()]
    return [row for row in rows if row[0] == str(leader) and row[1][0] != "Z"]


@POSIX
@SIGNALS
def test_a_command_is_stopped_while_it_starts(tmp_path, number):
    for name in ("commands.prepare", "commands.check", "commands.train", "commands.bench"):
        arguments = command(name, *([] if name.endswith("bench") else ["data.subjects=2"]))
        _, err = stopped(arguments, number, takes_signals, tmp_path)
        assert err.startswith("mefusion-")
        assert f"stopped by {name_of(number)}; " in err
        assert len(err.splitlines()) == 1


@POSIX
@pytest.mark.slow
@SIGNALS
def test_prepare_is_stopped_and_goes_on(tmp_path, number):
    arguments = command("commands.prepare", "data.subjects=2", "data.clips_per_class=1", "data.frames=[8,9]")
    pictures = tmp_path / "data"
    took, err = stopped(arguments, number, lambda pid: files(pictures, ".jpg"), tmp_path, number == signal.SIGINT)
    kept = "prepared clips are kept: run the same command to go on"
    assert err == f"mefusion-prepare: stopped by {name_of(number)}; {kept}\n"
    assert took < 20  # 3 s, but for what else runs here


@POSIX
@pytest.mark.slow
@SIGNALS
@pytest.mark.parametrize("sweep", [False, True])
def test_training_is_stopped_and_goes_on(tiny, tmp_path, number, sweep):
    small = ["model.network.image_size=64", "model.network.width=0.0625", "output_dir=outputs"]
    many = ["-m", "seeds=[0],[1]", "hydra.launcher.n_jobs=2"] if sweep else []
    arguments = command("commands.train", *many, *tiny.overrides, *small, "model.training.max_epochs=500")
    jobs = 2 if sweep else 1
    took, err = stopped(arguments, number, lambda pid: len(files(tmp_path, "last.ckpt")) == jobs, tmp_path)
    assert err.startswith(f"mefusion-train: stopped by {name_of(number)}; ")
    assert "run the same command to go on" in err
    assert len(err.splitlines()) == 1
    assert took < 20  # 3 s, but for what else runs here
    assert not [*tmp_path.rglob("DONE")]
