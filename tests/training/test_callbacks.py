"""What is shown while a study runs."""

import functools
import io

from rich.console import Console

from mefusion.training import callbacks

SMALL = ("trainer=smoke", "trainer.max_epochs=2", "model.network.image_size=64", "model.network.width=0.0625")


def test_a_terminal_shows_folds_and_epochs(tiny, command, tmp_path, monkeypatch):
    shown = io.StringIO()
    terminal = functools.partial(Console, force_terminal=True, file=shown, width=100)
    monkeypatch.setattr(callbacks, "Console", terminal)
    done = command("mefusion-train", *tiny.overrides, *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for text in ("fold 1/2, epoch 1", "fold 1/2, epoch 2", "fold 2/2, epoch 2"):
        assert text in shown.getvalue()
    assert "epoch" not in done.stdout


def test_no_bar_where_nobody_looks():
    with callbacks.progress_bar(2, Console(file=io.StringIO())) as found:
        assert found == []
