"""The processes of several devices that share one training."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import lightning as L
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException

from mefusion.common.errors import MefusionError, first_line
from mefusion.configuration.launching import RESULT_VARIABLE
from mefusion.processes.distributed import rank
from mefusion.processes.stopping import end_together, end_with_parent


def start_processes(options: Mapping[str, Any]) -> None:
    """Start one process for each further device, and connect all processes; does nothing for a single device.

    Each process runs the same command. If a program such as torchrun has started them already, they are only connected.

    Args:
        options: arguments of Lightning's Trainer.

    Raises:
        MefusionError: the devices do not exist, or there are several in a sweep.
    """
    fabric, text = _fabric(options)
    if fabric.device.type == "mps":
        raise MefusionError(f"{text}: Apple's GPUs (MPS) are not supported: give trainer.accelerator=cpu")
    if fabric.world_size == 1:
        return
    if options.get("num_nodes", 1) > 1 and isinstance(
        getattr(fabric.strategy, "cluster_environment", None), LightningEnvironment
    ):
        _require_nodes(text)
    if RESULT_VARIABLE in os.environ or HydraConfig.get().mode is RunMode.MULTIRUN:
        raise MefusionError(
            f"{text} is not possible in a sweep, since each process would run the whole sweep again: give "
            "trainer.devices=1, and the jobs run at the same time, each on a device of its own"
        )
    fabric.launch()
    if rank() > 0:
        end_with_parent()
    end_together(getattr(fabric.strategy.launcher, "procs", ()))  # none where torchrun started the processes


def _require_nodes(text: str) -> None:
    """Check that each machine knows of the first one; without, this process would wait for the others for ever."""
    if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if name not in os.environ]:
        raise MefusionError(
            f"{text}: {missing[0]} is not set, so the machines cannot find each other; start the command by SLURM or "
            "torchrun on each of them, or give trainer.num_nodes=1"
        )


def require_one_process(options: Mapping[str, Any]) -> None:
    """Check that a training needs no more than this process.

    Args:
        options: arguments of Lightning's Trainer.

    Raises:
        MefusionError: the devices do not exist, or there are several.
    """
    fabric, text = _fabric(options)
    if fabric.world_size > 1:
        raise MefusionError(f"{text}: --estimate measures one device: give trainer.devices=1, or trainer=gpu or cpu")


def _fabric(options: Mapping[str, Any]) -> tuple[L.Fabric, str]:
    """Lightning's Fabric for the devices of a trainer, and the settings that name them, for messages."""
    names = ("accelerator", "devices", "num_nodes", "strategy")
    given = {name: options[name] for name in names if name in options}
    text = " ".join(f"trainer.{name}={value}" for name, value in given.items())
    try:
        return L.Fabric(**given), text
    except (ValueError, TypeError, RuntimeError, ImportError, MisconfigurationException) as error:
        raise MefusionError(f"{text}: {first_line(error)}") from error


@contextmanager
def report_errors_once() -> Iterator[None]:
    """Let only the first process report an error that all processes have.

    Raises:
        MefusionError: also in place of what Lightning raises where arguments of its Trainer do not fit the data.
    """
    try:
        try:
            yield
        except MisconfigurationException as error:
            raise MefusionError(f"trainer: {first_line(error)}") from error
    except MefusionError:
        if rank() > 0:
            sys.exit(1)
        raise
