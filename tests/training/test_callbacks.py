"""What is shown while a study runs."""

import functools
import io

import pandas as pd
from rich.console import Console

from mefusion.studies import display

SMALL = ("trainer=smoke", "trainer.max_epochs=2", "model.network.image_size=64", "model.network.width=0.0625")


def test_a_terminal_shows_folds_and_epochs(tiny, command, tmp_path, monkeypatch):
    shown = io.StringIO()
    terminal = functools.partial(Console, force_terminal=True, file=shown, width=100)
    monkeypatch.setattr(display, "Console", terminal)
    done = command("mefusion-train", *tiny.overrides, *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for text in ("fold 1/2, epoch 1", "fold 1/2, epoch 2", "fold 2/2, epoch 2"):
        assert text in shown.getvalue()
    assert "epoch" not in done.stdout


SCORES = {"uf1": 0.5, "loss": 1.0, "criterion": 0.5}


def test_early_stopping_ends_a_fold_that_does_not_get_better(three, command, tmp_path, monkeypatch):
    monkeypatch.setattr("mefusion.training.module.validation_scores", lambda *_: SCORES)
    stops = ("rule=inner_val", "callbacks=[early_stopping]", "callbacks.early_stopping.patience=2")
    arguments = [*three, *SMALL[2:], "model.training.max_epochs=9", "protocol.folds=[sub01]", *stops]
    assert command("mefusion-train", *arguments, cwd=tmp_path).returncode == 0
    (fold,) = tmp_path.glob("outputs/*/folds/*")
    assert sorted(set(pd.read_csv(fold / "metrics.csv")["epoch"])) == [0, 1, 2]  # the first is the best, two are not
    expected = pd.read_parquet(fold / "predictions.parquet")
    assert (expected["epoch"] == 1).all()
    # Killed after it had stopped, it does not go on.
    for name in ("DONE", "predictions.parquet"):
        (fold / name).unlink()
    assert command("mefusion-train", *arguments, cwd=tmp_path).returncode == 0
    assert sorted(set(pd.read_csv(fold / "metrics.csv")["epoch"])) == [0, 1, 2]
    pd.testing.assert_frame_equal(pd.read_parquet(fold / "predictions.parquet"), expected, check_exact=True)


def test_the_learning_rate_is_logged_and_the_network_summarised(tiny, command, tmp_path):
    watched = ("callbacks=[learning_rate,model_summary]", "protocol.folds=[sub01]")
    done = command("mefusion-train", *tiny.overrides, *SMALL, *watched, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (log,) = tmp_path.glob("outputs/*/folds/*/metrics.csv")
    assert (pd.read_csv(log)["lr-AdamW"].dropna() > 0).all()
    assert "recognition" in done.stdout
    assert "Trainable params" in done.stdout
