import os
import signal
import subprocess
import sys
import time

import pytest

from mefusion.common.errors import MefusionError
from mefusion.processes import parallel
from mefusion.processes.parallel import parallel_map


def test_every_item_comes_back_with_its_result():
    assert dict(parallel_map(abs, [-3, 2, -1], description="", workers=2)) == {-3: 3, 2: 2, -1: 1}
    assert list(parallel_map(abs, [], description="")) == []


def test_one_worker_is_this_process():
    done = list(parallel_map(_whose, [1, 2], description="", workers=1, initialise=_started.append, arguments=(3,)))
    assert done == [(1, os.getpid()), (2, os.getpid())]
    assert _started == [3]


def test_there_are_as_many_workers_as_this_process_may_use_cores(monkeypatch):
    monkeypatch.setattr(parallel, "cores", lambda: 1)
    assert {process for _, process in parallel_map(_whose, [1, 2], description="")} == {os.getpid()}


_started: list[int] = []


def _whose(item):
    return os.getpid()


def test_workers_must_be_a_number_above_0():
    with pytest.raises(MefusionError, match="workers=0"):
        list(parallel_map(abs, [1], description="", workers=0))


def test_workers_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, sys, time\n"
        "from mefusion.processes.parallel import parallel_map\n"
        "def work(item):\n"
        "    open(os.path.join(sys.argv[1], str(os.getpid())), 'w').close()\n"
        "    time.sleep(60)\n"
        "if __name__ == '__main__':\n"
        "    list(parallel_map(work, [1, 2], description='', workers=2))\n"
    )
    pids = tmp_path / "pids"
    pids.mkdir()
    parent = subprocess.Popen([sys.executable, str(script), str(pids)])
    wait_until(lambda: len(list(pids.iterdir())) == 2)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not any(alive(int(path.name)) for path in pids.iterdir()))


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(holds, seconds=60):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it does not come to hold"
        time.sleep(0.1)
