"""Where a fold is logged: always to a CSV file, and to the loggers that a study names."""

import hashlib
import importlib.util
import netrc
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from lightning.pytorch.loggers import CSVLogger, Logger

from mefusion.common.errors import MefusionError
from mefusion.common.mappings import flatten
from mefusion.plots import confusion_matrix_figure

if TYPE_CHECKING:
    from lightning.pytorch.loggers import WandbLogger

PACKAGES = ("wandb", "tensorboard")
"""Loggers that need a package of their own name."""


def require_packages(names: Iterable[str]) -> None:
    """Refuse a logger before anything is written.

    Raises:
        MefusionError: a logger's package is not installed.
    """
    for name in names:
        if name in PACKAGES and importlib.util.find_spec(name) is None:
            raise MefusionError(f"logger={name} needs the package {name}: pip install {name}")


def csv_logger(folder: Path) -> CSVLogger:
    """Lightning's logger into `metrics.csv`; it deletes an earlier file, so what a resumed fold logged is carried over.

    Args:
        folder: of the fold.
    """
    path = folder / "metrics.csv"
    before = pd.read_csv(path).to_dict("records") if path.exists() and path.stat().st_size else []
    path.unlink(missing_ok=True)
    logger = CSVLogger(folder, name="", version="", flush_logs_every_n_steps=1)
    logger.experiment.metrics.extend(before)
    return logger


def log_settings(loggers: Iterable[Logger], settings: Mapping[str, Any]) -> None:
    """Tell every logger but the CSV files the study's settings."""
    for logger in loggers:
        if not isinstance(logger, CSVLogger):
            logger.log_hyperparams(dict(settings))


def wandb_logger(*, project: str, directory: str, study: str, fold: str, tags: Sequence[str]) -> "WandbLogger":
    """W&B's run of a fold, offline without a key.

    Args:
        project: of W&B.
        directory: the study's, which receives the files.
        study: its name, the group of its runs.
        fold: its name.
        tags: what the run is found by; `a+b` are two.
    """
    from lightning.pytorch.loggers import WandbLogger

    return WandbLogger(save_dir=directory, **_wandb_run(project, study, fold, tags, kind="fold"))


def log_summary_to_wandb(
    summary: Mapping[str, Any],
    predictions: pd.DataFrame,
    *,
    project: str,
    directory: Path,
    tags: Sequence[str],
    settings: Mapping[str, Any],
) -> None:
    """Give a whole study a W&B run of its own: its scores, confusion matrix and prediction table.

    Args:
        summary: as in summary.json.
        predictions: the pooled prediction table.
        project, tags: see `wandb_logger`.
        directory: the study's.
        settings: of the study.
    """
    import wandb

    # What was chosen on the test subjects is called so, here too.
    name = "oracle_confusion_matrix" if summary["rule"] == "oracle" else "confusion_matrix"
    figure = confusion_matrix_figure(summary[name], summary["classes"])
    run_of_study = _wandb_run(project, directory.name, "summary", tags, kind="summary")
    with wandb.init(dir=directory, config=dict(settings), **run_of_study) as run:
        run.log({name: wandb.Image(figure), "predictions": wandb.Table(dataframe=predictions)})
        scores = flatten({name: value for name, value in summary.items() if name != "provenance"}, "/")
        numbers = {name: value for name, value in scores.items() if type(value) in (int, float)}
        run.summary.update(numbers)


def _wandb_run(project: str, study: str, name: str, tags: Sequence[str], *, kind: str) -> dict[str, Any]:
    """What `wandb.init` takes, but for the folder."""
    import wandb

    mode = os.environ.get("WANDB_MODE") or ("online" if _has_wandb_key() else "offline")
    return {
        "project": project,
        "group": study,
        "job_type": kind,
        "name": f"{study}/{name}",
        # The same for the same fold, so that a resumed fold goes on in its run.
        "id": hashlib.sha256(f"{study}/{name}".encode()).hexdigest()[:16],
        "resume": "allow",
        "tags": [tag for several in tags for tag in several.split("+")],
        "settings": wandb.Settings(silent=True, mode=mode),  # type: ignore[arg-type]
    }


def finish_loggers() -> None:
    """End the W&B run of a fold, so that the next fold has one of its own."""
    if (wandb := sys.modules.get("wandb")) is not None:
        wandb.finish()


def _has_wandb_key() -> bool:
    """Whether `wandb login` was done; looked up without asking wandb, which would complain that it was not."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False
