"""Loggers of a fold: always a CSV file, and the loggers that the study names."""

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
"""Loggers that need a package of the same name."""


def require_packages(names: Iterable[str]) -> None:
    """Check that the packages of the loggers are installed.

    Raises:
        MefusionError: a logger's package is not installed.
    """
    for name in names:
        if name in PACKAGES and importlib.util.find_spec(name) is None:
            raise MefusionError(f"logger={name} needs the package {name}: pip install {name}")


def csv_logger(folder: Path) -> CSVLogger:
    """Make Lightning's logger to `metrics.csv`. It would delete earlier rows of the fold, so these are read first.

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
    """Log the study's settings to every logger except CSV files."""
    for logger in loggers:
        if not isinstance(logger, CSVLogger):
            logger.log_hyperparams(dict(settings))


def wandb_logger(*, project: str, directory: str, study: str, fold: str, tags: Sequence[str]) -> "WandbLogger":
    """Make the W&B run of a fold; it is offline if there is no API key.

    Args:
        project: name of the W&B project.
        directory: the study's; the files are written there.
        study: name of the study, which groups its runs.
        fold: name of the fold.
        tags: tags of the run; `a+b` stands for two tags.
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
    """Log a study's scores, confusion matrix and prediction table to a W&B run of its own.

    Args:
        summary: as in summary.json.
        predictions: the pooled prediction table.
        project, tags: see `wandb_logger`.
        directory: the study's.
        settings: of the study.
    """
    import wandb

    # Under the rule `oracle` the name says so.
    name = "oracle_confusion_matrix" if summary["rule"] == "oracle" else "confusion_matrix"
    figure = confusion_matrix_figure(summary[name], summary["classes"])
    run_of_study = _wandb_run(project, directory.name, "summary", tags, kind="summary")
    with wandb.init(dir=directory, config=dict(settings), **run_of_study) as run:
        run.log({name: wandb.Image(figure), "predictions": wandb.Table(dataframe=predictions)})
        scores = flatten({name: value for name, value in summary.items() if name != "provenance"}, "/")
        numbers = {name: value for name, value in scores.items() if type(value) in (int, float)}
        run.summary.update(numbers)


def _wandb_run(project: str, study: str, name: str, tags: Sequence[str], *, kind: str) -> dict[str, Any]:
    """Arguments of `wandb.init`, except the folder."""
    import wandb

    mode = os.environ.get("WANDB_MODE") or ("online" if _has_wandb_key() else "offline")
    return {
        "project": project,
        "group": study,
        "job_type": kind,
        "name": f"{study}/{name}",
        # Derived from the fold's name, so that a resumed fold continues its run.
        "id": hashlib.sha256(f"{study}/{name}".encode()).hexdigest()[:16],
        "resume": "allow",
        "tags": [tag for several in tags for tag in several.split("+")],
        "settings": wandb.Settings(silent=True, mode=mode),  # type: ignore[arg-type]
    }


def finish_loggers() -> None:
    """End the W&B run of a fold, so that the next fold gets its own run."""
    if (wandb := sys.modules.get("wandb")) is not None:
        wandb.finish()


def _has_wandb_key() -> bool:
    """Whether `wandb login` was done; checked without wandb, which prints a warning if it was not."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False
