"""Where a study is logged: its folds always to CSV files, and to W&B or TensorBoard if asked for."""

import hashlib
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from lightning.pytorch.loggers import CSVLogger, Logger

from mefusion.common.errors import MefusionError

LOGGERS = ("csv", "wandb", "tensorboard")


def require_logger(name: str) -> None:
    """Refuse a logger before anything is written.

    Raises:
        MefusionError: there is none of this name, or its package is not installed.
    """
    if name not in LOGGERS:
        raise MefusionError(f"logger={name} is not known: choose from {', '.join(LOGGERS)}")
    if name != "csv" and importlib.util.find_spec(name) is None:
        raise MefusionError(f"logger={name} needs the package {name}: pip install {name}")


@dataclass(frozen=True)
class StudyLog:
    """What a study's loggers are told.

    Attributes:
        logger: `csv`, or one of the others, which logs to CSV too.
        project: of W&B.
        directory: the study's; its name is the group of the W&B runs.
        config: the resolved configuration.
        tags: what a W&B run is found by.
    """

    logger: str
    project: str
    directory: Path
    config: Mapping[str, Any]
    tags: tuple[str, ...]

    def fold_loggers(self, folder: Path) -> list[Logger]:
        """Loggers of a fold.

        Args:
            folder: the fold's, below `folds/`; receives metrics.csv.
        """
        loggers: list[Logger] = [_csv_logger(folder)]
        if self.logger == "wandb":
            from lightning.pytorch.loggers import WandbLogger

            name = folder.relative_to(self.directory / "folds").as_posix()
            loggers.append(WandbLogger(save_dir=self.directory, **self._wandb_run(name, kind="fold")))
        if self.logger == "tensorboard":
            from lightning.pytorch.loggers import TensorBoardLogger

            loggers.append(TensorBoardLogger(folder, name="tensorboard", version=""))
        return loggers

    def log_summary(self, summary: Mapping[str, Any], predictions: pd.DataFrame) -> None:
        """Give a whole study a W&B run of its own: its scores, confusion matrix and prediction table.

        Args:
            summary: as in summary.json.
            predictions: the pooled prediction table.
        """
        if self.logger != "wandb":
            return
        import wandb

        from mefusion.plots import confusion_matrix_figure

        # What was chosen on the test subjects is called so, here too.
        name = "oracle_confusion_matrix" if summary["rule"] == "oracle" else "confusion_matrix"
        figure = confusion_matrix_figure(summary[name], summary["classes"])
        with wandb.init(dir=self.directory, **self._wandb_run("summary", kind="summary")) as run:
            run.log({name: wandb.Image(figure), "predictions": wandb.Table(dataframe=predictions)})
            run.summary.update(_numbers({name: value for name, value in summary.items() if name != "provenance"}))

    def _wandb_run(self, name: str, *, kind: str) -> dict[str, Any]:
        """What `wandb.init` takes, but for the folder."""
        import wandb

        study = self.directory.name
        mode = os.environ.get("WANDB_MODE") or ("online" if _has_wandb_key() else "offline")
        return {
            "project": self.project,
            "group": study,
            "job_type": kind,
            "name": f"{study}/{name}",
            # The same for the same fold, so that a resumed fold goes on in its run.
            "id": hashlib.sha256(f"{study}/{name}".encode()).hexdigest()[:16],
            "resume": "allow",
            "config": dict(self.config),
            "tags": list(self.tags),
            "settings": wandb.Settings(silent=True, mode=mode),  # type: ignore[arg-type]
        }


def finish_loggers() -> None:
    """End the W&B run of a fold, so that the next fold has one of its own."""
    import sys

    if (wandb := sys.modules.get("wandb")) is not None:
        wandb.finish()


def _csv_logger(folder: Path) -> CSVLogger:
    """Lightning's logger, which deletes an earlier file: what a resumed fold logged before is carried over."""
    path = folder / "metrics.csv"
    before = pd.read_csv(path).to_dict("records") if path.exists() and path.stat().st_size else []
    path.unlink(missing_ok=True)
    logger = CSVLogger(folder, name="", version="", flush_logs_every_n_steps=1)
    logger.experiment.metrics.extend(before)
    return logger


def _has_wandb_key() -> bool:
    """Whether `wandb login` was done; looked up without asking wandb, which would complain that it was not."""
    import netrc

    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _numbers(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of nested mappings, by their paths."""
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[f"{prefix}{name}"] = value
    return found
