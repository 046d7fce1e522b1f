import os
from pathlib import Path

import pandas as pd
import pytest

from mefusion.errors import MefusionError
from mefusion.loggers import make_loggers

FACTS = {"project": "p", "study": "s", "fold": "f"}


def log(logger, *epochs):
    for epoch in epochs:
        logger.log_metrics({"epoch": epoch, "loss": 1 / (1 + epoch)}, step=epoch)
        logger.save()


def test_metrics_are_a_csv_file_in_the_fold_s_folder(tmp_path):
    (logger,) = make_loggers("csv", folder=tmp_path / "fold", **FACTS)
    log(logger, 0, 1)
    table = pd.read_csv(tmp_path / "fold" / "metrics.csv")
    assert table["epoch"].tolist() == [0, 1]
    assert table["loss"].tolist() == [1, 0.5]
    assert [path.name for path in (tmp_path / "fold").iterdir()] == ["metrics.csv"]


def test_a_resumed_fold_keeps_what_it_logged_before(tmp_path):
    log(make_loggers("csv", folder=tmp_path, **FACTS)[0], 0, 1)
    log(make_loggers("csv", folder=tmp_path, **FACTS)[0], 2)
    assert pd.read_csv(tmp_path / "metrics.csv")["epoch"].tolist() == [0, 1, 2]


def test_an_empty_or_half_written_log_does_not_stop_a_fold(tmp_path):
    (tmp_path / "metrics.csv").touch()
    log(make_loggers("csv", folder=tmp_path, **FACTS)[0], 0)
    assert len(pd.read_csv(tmp_path / "metrics.csv")) == 1


def test_an_unknown_logger_is_named_with_those_there_are(tmp_path):
    with pytest.raises(MefusionError, match=r"logger=tensorboard .*csv, wandb"):
        make_loggers("tensorboard", folder=tmp_path, **FACTS)


@pytest.mark.slow
def test_wandb_without_a_key_logs_offline_a_run_a_fold(tiny, command, tmp_path):
    pytest.importorskip("wandb")
    home = tmp_path / "home"
    home.mkdir()
    work = tmp_path / "work"
    work.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    small = ("trainer=smoke", "model.network.image_size=64", "model.network.width=0.0625", "logger=wandb")
    with pytest.MonkeyPatch.context() as patch:
        for name in set(os.environ) - set(kept):
            patch.delenv(name)
        done = command("mefusion-train", *tiny.overrides, *small, cwd=work, env={"HOME": str(home)})
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    (study,) = (work / "outputs").iterdir()
    runs = sorted((study / "wandb").glob("offline-run-*"))
    assert len(runs) == 2
    assert len({run.name.rsplit("-", 1)[-1] for run in runs}) == 2
    for run in runs:
        assert list(run.glob("*.wandb"))
    # The CSV file is written too, and nothing lands outside the study.
    assert len(list(study.glob("folds/*/metrics.csv"))) == 2
    assert [path.name for path in Path(work).iterdir()] == ["outputs"]
