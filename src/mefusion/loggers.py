"""Where a fold's training is logged: always a CSV file, and W&B if asked for."""

import hashlib
import os
from pathlib import Path

import pandas as pd
from lightning.pytorch.loggers import CSVLogger, Logger

from mefusion.errors import MefusionError

LOGGERS = ("csv", "wandb")


def make_loggers(name: str, *, project: str, study: str, fold: str, folder: Path) -> list[Logger]:
    """Loggers of a fold.

    Args:
        name: `csv` or `wandb`, which logs to CSV too.
        project: of W&B.
        study, fold: group and name of the W&B run.
        folder: the fold's, receives metrics.csv.

    Raises:
        MefusionError: there is no such logger, or wandb is not installed.
    """
    if name not in LOGGERS:
        raise MefusionError(f"logger={name} is not known: choose from {', '.join(LOGGERS)}")
    loggers: list[Logger] = [_csv_logger(folder)]
    if name == "wandb":
        loggers.append(_wandb_logger(project=project, study=study, fold=fold, folder=folder.parents[1]))
    return loggers


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


def _wandb_logger(*, project: str, study: str, fold: str, folder: Path) -> Logger:
    try:
        import wandb
    except ImportError as error:
        raise MefusionError("logger=wandb needs the package wandb: pip install wandb") from error
    from lightning.pytorch.loggers import WandbLogger

    mode = os.environ.get("WANDB_MODE") or ("online" if _has_wandb_key() else "offline")
    return WandbLogger(
        project=project,
        group=study,
        name=f"{study}/{fold}",
        # The same for the same fold, so that a resumed fold goes on in its run.
        id=hashlib.sha256(f"{study}/{fold}".encode()).hexdigest()[:16],
        resume="allow",
        save_dir=folder,
        settings=wandb.Settings(silent=True, mode=mode),  # type: ignore[arg-type]
    )


def _has_wandb_key() -> bool:
    """Whether `wandb login` was done; looked up without asking wandb, which would complain that it was not."""
    import netrc

    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False
