"""What lets an interrupted training go on as if nothing had happened."""

import io
import pickle
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from mefusion.common.distributed import rank
from mefusion.common.errors import MefusionError
from mefusion.common.files import replacing, write_table
from mefusion.training.checkpoints import LAST
from mefusion.windows.store import Batch

Origin = Mapping[str, str | int]
"""Study, fold and seed that a checkpoint belongs to."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it.

    Lightning's own goes through the system's temporary folder, from where a file may have to be copied, and a copy can
    be cut short.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Called by Lightning."""
        buffer = io.BytesIO()  # written to a file, it would not say that the disk is full
        torch.save(checkpoint, buffer)
        with replacing(Path(path)) as temporary:
            temporary.write_bytes(buffer.getbuffer())


class FoldCallback(L.Callback):
    """Marks a fold's checkpoints, and seeds dropout by fold and step, so that a resumed fold draws the same.

    Args:
        seed: the fold's.
        origin: the mark.
    """

    def __init__(self, seed: int, origin: Origin):
        self.seed, self.origin = seed, dict(origin)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Called by Lightning; processes that share a batch do not drop the same units of theirs."""
        seed = zlib.crc32(f"{self.seed}/{trainer.global_step}{f'/{rank()}' if rank() else ''}".encode())
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would ask for every kind of device, 1 ms a step
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed(seed)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Called by Lightning."""
        checkpoint["origin"] = self.origin


@dataclass(frozen=True)
class Resumed:
    """A checkpoint to go on from, and how many epochs it has seen."""

    path: Path
    epochs: int


def last_checkpoint(folder: Path, origin: Origin) -> Resumed | None:
    """Where an interrupted fold goes on from; None where it starts.

    Raises:
        MefusionError: the file is broken, or is that of another study or fold.
    """
    path = folder / f"{LAST}.ckpt"
    if not path.exists():
        return None
    checkpoint = read_checkpoint(path, device="meta")
    if (found := checkpoint.get("origin")) != origin:
        told = ", ".join(f"{name} {value}" for name, value in found.items()) if found else "something else"
        raise MefusionError(f"{path} is a checkpoint of {told}: delete it, and the fold starts anew")
    return Resumed(path, checkpoint["epoch"] + 1)


def read_checkpoint(path: Path, device: str = "cpu") -> dict[str, Any]:
    """A checkpoint as Lightning writes it.

    Raises:
        MefusionError: the file is not there, or broken.
    """
    try:
        checkpoint = torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise MefusionError(f"{path} is missing or broken: delete {path.parent}, and the fold starts anew") from error
    if not isinstance(checkpoint, dict) or not {"epoch", "state_dict"} <= set(checkpoint):
        raise MefusionError(f"{path} is no checkpoint of a training: delete {path.parent}, and the fold starts anew")
    return checkpoint


def trim_log(path: Path, epochs: int) -> None:
    """Forget what was logged after a checkpoint, since it will be logged again.

    Args:
        path: metrics.csv of a fold.
        epochs: how many the checkpoint has seen.
    """
    try:
        log = pd.read_csv(path)
        kept = log[pd.to_numeric(log["epoch"], errors="coerce") < epochs]
    except FileNotFoundError:
        return
    except (ValueError, KeyError):  # the process was killed while it wrote
        kept = pd.DataFrame()
    if kept.empty:
        path.unlink()
    else:
        write_table(path, kept)
