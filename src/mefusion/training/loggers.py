"""Loggers of a fold: always a CSV file, and the loggers that the study names."""

import csv
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
from mefusion.common.files import replacing
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


class MetricsFile(Logger):
    """Writes `metrics.csv` of a fold, always as a whole file, and keeps the rows that are in it already.

    A row is an epoch's training or validation values, or values of a step. What is logged a second time replaces the
    first: the same epoch and step never have two rows.

    Args:
        path: the file.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        self._rows = {_row_key(row): row for row in read_rows(path)}

    @property
    def name(self) -> str:
        """Called by Lightning, which names folders by it; there are none."""
        return ""

    @property
    def version(self) -> str:
        """Called by Lightning, as `name`."""
        return ""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Called by Lightning; the study's folder has its settings already."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add values. Those of a step are written to disk with the next values of an epoch."""
        new = {"step": str(step), **{name: str(value) for name, value in metrics.items()}}
        row = self._rows.setdefault(_row_key(new), {})
        if new.items() <= row.items():
            return
        row |= new
        if "epoch" in metrics:
            self.save()

    def save(self) -> None:
        """Write the file, if anything was logged: models that do not learn log nothing."""
        if self._rows:
            write_rows(self.path, self._rows.values())


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a `metrics.csv`, each with those columns where it has a value; none if there is no file."""
    try:
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            rows = [*csv.DictReader(file, restval="")]
    except (FileNotFoundError, csv.Error):
        return []
    return [{name: value for name, value in row.items() if name and value} for row in rows]


def write_rows(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    """Write a `metrics.csv`, completely or not at all."""
    columns = sorted(set().union(*rows))
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _row_key(row: Mapping[str, str]) -> tuple[float | None, float | None]:
    """Epoch and step of a row, as numbers: earlier versions wrote some of them as `1.0`."""
    return number_in(row, "epoch"), number_in(row, "step")


def number_in(row: Mapping[str, str], column: str) -> float | None:
    """A value of a row as a number; None if it has none."""
    try:
        return float(row[column])
    except (KeyError, ValueError):
        return None


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

    return WandbLogger(save_dir=str(directory), **_wandb_run(project, study, fold, tags, kind="fold"))


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
    with wandb.init(dir=str(directory), config=dict(settings), **run_of_study) as run:
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
