"""Resume an interrupted training, with the same result as without the interruption."""

import io
import pickle
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.fabric.utilities.apply_func import convert_tensors_to_scalars

from mefusion.common.distributed import rank
from mefusion.common.errors import MefusionError
from mefusion.common.files import replacing
from mefusion.training.checkpoints import LAST
from mefusion.training.loggers import MetricsFile, number_in, read_rows, write_rows
from mefusion.windows.store import Batch

Origin = Mapping[str, str | int]
"""Study, fold and seed that a checkpoint belongs to."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file in the same folder and renames it.

    Lightning writes to the system's temporary folder. If that is on another disk, the file is copied, and an
    interrupted copy leaves half a file.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Called by Lightning."""
        buffer = io.BytesIO()  # when torch.save writes to a file itself, it does not report a full disk
        torch.save(checkpoint, buffer)
        with replacing(Path(path)) as temporary:
            temporary.write_bytes(buffer.getbuffer())


class FoldCallback(L.Callback):
    """Marks a fold's checkpoints, logs an epoch before its checkpoint is written, and seeds dropout by fold and step.

    So a resumed fold has logged all epochs of its checkpoint, and draws the same numbers.

    Args:
        seed: of the fold.
        origin: is stored in each checkpoint.
    """

    def __init__(self, seed: int, origin: Origin):
        self.seed, self.origin = seed, dict(origin)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Called by Lightning; the seed depends on the process too, so that dropout differs between processes."""
        seed = zlib.crc32(f"{self.seed}/{trainer.global_step}{f'/{rank()}' if rank() else ''}".encode())
        torch.default_generator.manual_seed(seed)  # torch.manual_seed checks all kinds of devices: 1 ms a step
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed(seed)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Called by Lightning, which logs an epoch only after its checkpoint is written."""
        checkpoint["origin"] = self.origin
        logged = convert_tensors_to_scalars(trainer._logger_connector.metrics["log"])
        step = trainer.fit_loop.epoch_loop._batches_that_stepped - 1  # as Lightning counts the end of an epoch
        for logger in trainer.loggers:
            if logged and isinstance(logger, MetricsFile):
                logger.log_metrics(logged | {"epoch": trainer.current_epoch}, step)


@dataclass(frozen=True)
class Resumed:
    """A checkpoint to resume from, and how many epochs and steps it was trained for."""

    path: Path
    epochs: int
    steps: int


def last_checkpoint(folder: Path, origin: Origin) -> Resumed | None:
    """The checkpoint to resume a fold from; None if the fold starts from the beginning.

    Raises:
        MefusionError: the file is broken, or belongs to another study or fold.
    """
    path = folder / f"{LAST}.ckpt"
    if not path.exists():
        return None
    checkpoint = read_checkpoint(path, device="meta")
    if (found := checkpoint.get("origin")) != origin:
        owner = ", ".join(f"{name} {value}" for name, value in found.items()) if found else "another program"
        raise MefusionError(f"{path} is a checkpoint of {owner}: delete it, and the fold starts again")
    return Resumed(path, checkpoint["epoch"] + 1, checkpoint["global_step"])


def read_checkpoint(path: Path, device: str = "cpu") -> dict[str, Any]:
    """Read a checkpoint that Lightning has written.

    Raises:
        MefusionError: the file is missing or broken.
    """
    try:
        checkpoint = torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise MefusionError(f"{path} is missing or broken: delete {path.parent}, and the fold starts again") from error
    if not isinstance(checkpoint, dict) or not {"epoch", "state_dict"} <= set(checkpoint):
        raise MefusionError(
            f"{path} is not a checkpoint of a training: delete {path.parent}, and the fold starts again"
        )
    return checkpoint


def trim_log(path: Path, epochs: int, steps: int) -> None:
    """Remove what was logged after a checkpoint, since it will be logged again.

    Args:
        path: metrics.csv of a fold.
        epochs: number of epochs that the checkpoint was trained for.
        steps: number of steps.
    """
    limits = {"epoch": epochs, "step": steps}

    def before(row: dict[str, str]) -> bool:
        column = "epoch" if "epoch" in row else "step"  # a row of an epoch, or of a step
        number = number_in(row, column)
        return number is not None and number < limits[column]

    rows = read_rows(path)
    kept = [row for row in rows if before(row)]
    if not kept:
        path.unlink(missing_ok=True)
    elif len(kept) < len(rows):
        write_rows(path, kept)
