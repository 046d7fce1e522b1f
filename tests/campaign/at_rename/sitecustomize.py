"""Python runs this at the start of every process of a case that is killed at a rename (see `campaign.kills`).

It counts the renames of all processes of the case, and at the chosen one kills the command with SIGKILL, before the
rename or after it. A job of a sweep is a command of its own.
"""

import os
import signal

_COUNT = os.environ.get("CAMPAIGN_RENAMES")  # a file: one byte for each rename
_STOP = int(os.environ.get("CAMPAIGN_KILL_AT", "0"))  # 0: count only
_AFTER = os.environ.get("CAMPAIGN_KILL_AFTER") == "1"


def _counting(rename):
    def counted(source, target, *, src_dir_fd=None, dst_dir_fd=None):
        file = os.open(_COUNT, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, b".")
        chosen = os.lseek(file, 0, os.SEEK_CUR) == _STOP
        os.close(file)
        if chosen and not _AFTER:
            _kill()
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        if chosen:
            _kill()

    return counted


def _kill():
    os.kill(os.getsid(0), signal.SIGKILL)
    if os.getsid(0) == os.getpid():
        signal.pause()


if _COUNT:
    os.replace, os.rename = _counting(os.replace), _counting(os.rename)
