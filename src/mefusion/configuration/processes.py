"""The processes of several devices that share one training."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import lightning as L
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.fabric.utilities.exceptions import MisconfigurationException

from hydra_plugins.mefusion_launcher import RESULT_VARIABLE
from mefusion.common.distributed import rank
from mefusion.common.errors import MefusionError


def start_processes(options: Mapping[str, Any]) -> None:
    """Start the processes of the other devices that share each training, and join them; one device needs none.

    Each runs the command of this one. Where something else has started them, as torchrun does, they are only joined.

    Args:
        options: of Lightning's Trainer.

    Raises:
        MefusionError: the devices are not there, or are several in a sweep.
    """
    names = ("accelerator", "devices", "num_nodes", "strategy")
    given = {name: options[name] for name in names if name in options}
    told = " ".join(f"trainer.{name}={value}" for name, value in given.items())
    try:
        fabric = L.Fabric(**given)
    except (ValueError, TypeError, RuntimeError, MisconfigurationException) as error:
        raise MefusionError(f"{told}: {str(error).strip().splitlines()[0]}") from error
    if fabric.world_size == 1:
        return
    if RESULT_VARIABLE in os.environ or HydraConfig.get().mode is RunMode.MULTIRUN:
        raise MefusionError(
            f"{told} in a sweep: its jobs run side by side, a device each, which is faster than sharing batches, and "
            "the processes of further devices would run the whole sweep again; give trainer.devices=1"
        )
    fabric.launch()


@contextmanager
def report_errors_once() -> Iterator[None]:
    """Let the first process alone tell an error, which the others meet as well."""
    try:
        yield
    except MefusionError:
        if rank() > 0:
            sys.exit(1)
        raise
