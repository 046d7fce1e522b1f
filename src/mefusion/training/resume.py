"""Resume an interrupted training, with the same result as without the interruption."""

import hashlib
import io
import pickle
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.fabric.utilities.apply_func import convert_tensors_to_scalars
from torch import Tensor

from mefusion.common.errors import MefusionError
from mefusion.common.files import replacing
from mefusion.processes.distributed import rank
from mefusion.training.checkpoints import LAST
from mefusion.training.loggers import MetricsFile, number_in, read_rows, write_rows
from mefusion.windows.store import Batch

Origin = Mapping[str, str | int]
"""Study, fold and seed that a checkpoint belongs to."""


DIGEST = "mefusion_digest"
"""Entry of a checkpoint with the digest of all others; those of version 0.1 have none."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint, with a digest of its content, to a temporary file in the same folder and renames it.

    Lightning writes to the system's temporary folder. If that is on another disk, the file is copied, and an
    interrupted copy leaves half a file.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Called by Lightning."""
        buffer = io.BytesIO()  # when torch.save writes to a file itself, it does not report a full disk
        torch.save(checkpoint | {DIGEST: content_digest(checkpoint)}, buffer)
        with replacing(Path(path)) as temporary:
            temporary.write_bytes(buffer.getbuffer())


def content_digest(content: Any) -> str:
    """Digest of mappings, sequences, tensors and plain values, whatever they lie in; of a tensor, its bytes count."""
    digest = hashlib.blake2b(digest_size=16)

    def add(value: Any) -> None:
        if isinstance(value, Mapping):
            value = list(value.items())
        if isinstance(value, list | tuple):
            digest.update(f"[{len(value)}]".encode())
            for part in value:
                add(part)
        elif isinstance(value, Tensor):
            digest.update(f"{value.dtype} {tuple(value.shape)} ".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        else:
            digest.update(f"{value!r} ".encode())

    add(content)
    return digest.hexdigest()


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
        """Called by Lightning; dropout differs between processes, and between batches whose gradients make one step."""
        place = f"{trainer.global_step}{f'+{batch_idx}' if trainer.accumulate_grad_batches > 1 else ''}"
        seed = zlib.crc32(f"{self.seed}/{place}{f'/{rank()}' if rank() else ''}".encode())
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


_ENTRIES: Mapping[str, type] = {"epoch": int, "state_dict": Mapping}
_ENTRIES_TO_RESUME: Mapping[str, type] = {
    "global_step": int,
    "pytorch-lightning_version": str,
    "loops": Mapping,
    "callbacks": Mapping,
    "optimizer_states": list,
    "lr_schedulers": list,
}
"""Entries of a checkpoint; one of which only the weights are kept has no optimiser."""

_UNREADABLE = (
    *(OSError, zipfile.BadZipFile, pickle.UnpicklingError),  # a damaged file, or one that would run code
    *(RuntimeError, EOFError, KeyError, ValueError, TypeError, AttributeError, NotImplementedError),  # another's file
)


def last_checkpoint(folder: Path, origin: Origin, module: L.LightningModule) -> Resumed | None:
    """The checkpoint to resume a fold from; None if the fold starts from the beginning.

    Args:
        folder: of the fold's checkpoints.
        origin: study, fold and seed.
        module: that is to be trained on.

    Raises:
        MefusionError: the file is broken or changed, belongs to another study or fold, or has other weights than the
            module.
    """
    path = folder / f"{LAST}.ckpt"
    if not path.exists() and not path.is_symlink():
        return None
    checkpoint = read_checkpoint(path)
    if (found := checkpoint.get("origin")) != origin:
        named = found.items() if isinstance(found, Mapping) else ()
        owner = ", ".join(f"{name} {value}" for name, value in named) or "another program"
        raise MefusionError(f"{path} is a checkpoint of {owner}: delete it, and the fold starts again")
    require_fit(path, checkpoint["state_dict"], module)
    _require_entries(path, checkpoint, _ENTRIES_TO_RESUME)
    if not re.fullmatch(r"\d+(\.\d+)+((a|b|rc|\.post|\.dev)\d+)?", checkpoint["pytorch-lightning_version"]):
        raise _unusable(path, "has no usable pytorch-lightning_version")
    _require_optimizer(path, checkpoint["optimizer_states"], module)
    return Resumed(path, checkpoint["epoch"] + 1, checkpoint["global_step"])


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of a training, onto the CPU.

    Raises:
        MefusionError: the file is missing or broken, or was changed after it was written.
    """
    if not path.is_file():  # to read from a pipe would wait for ever
        raise _unusable(path, "is missing or broken")
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not compare the checksums that it writes
            broken = archive.testzip()
        checkpoint = None if broken else torch.load(path, map_location="cpu", weights_only=True)
        recorded = checkpoint.pop(DIGEST, None) if isinstance(checkpoint, dict) else None
        changed = recorded is not None and recorded != content_digest(checkpoint)
    except _UNREADABLE as error:
        raise _unusable(path, "is missing or broken") from error
    if broken:
        raise _unusable(path, f"is missing or broken ({broken} differs from its checksum)")
    if changed:
        raise _unusable(path, "was changed after it was written")
    if not isinstance(checkpoint, dict) or not _ENTRIES.keys() <= checkpoint.keys():
        raise _unusable(path, "is not a checkpoint of a training")
    _require_entries(path, checkpoint, _ENTRIES)
    return checkpoint


def require_fit(path: Path, weights: Mapping[str, Tensor], module: L.LightningModule) -> None:
    """Check that the weights of a checkpoint are those of a module.

    Args:
        path: of the checkpoint.
        weights: its `state_dict`.
        module: that is to have them.

    Raises:
        MefusionError: names or shapes differ.
    """
    expected = {name: tensor.shape for name, tensor in module.state_dict().items()}
    found = {name: getattr(tensor, "shape", None) for name, tensor in weights.items()}
    differing = [name for name in {**expected, **found} if name not in found or found[name] != expected.get(name)]
    if differing:
        raise _unusable(path, f"is of another network ({len(differing)} tensors differ, such as {differing[0]})")


def _require_entries(path: Path, checkpoint: Mapping[str, Any], kinds: Mapping[str, type]) -> None:
    for name, kind in kinds.items():
        value = checkpoint.get(name)
        if not isinstance(value, kind) or isinstance(value, bool) or (isinstance(value, int) and value < 0):
            raise _unusable(path, f"has no usable {name}")


def _require_optimizer(path: Path, states: list[Any], module: L.LightningModule) -> None:
    """Check that the optimiser's averages are of the parameters that the module learns."""
    shapes = [parameter.shape for parameter in module.parameters() if parameter.requires_grad]
    try:
        (state,) = states
        numbers = [number for group in state["param_groups"] for number in group["params"]]
        fits = [
            average["exp_avg"].shape == average["exp_avg_sq"].shape == shape
            for number, shape in zip(numbers, shapes, strict=True)
            if (average := state["state"].get(number))  # a parameter that no loss reaches has none
        ]
    except (ValueError, TypeError, KeyError, AttributeError):
        fits = [False]
    if not all(fits):
        raise _unusable(path, "has the state of another optimiser")


def _unusable(path: Path, what: str) -> MefusionError:
    return MefusionError(f"{path} {what}: delete {path.parent}, and the fold starts again")


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
