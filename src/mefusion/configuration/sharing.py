"""How many processes run the folds of a study, on which devices, and with how many threads."""

import os

import torch
from hydra.core.hydra_config import HydraConfig

from mefusion.common.errors import MefusionError
from mefusion.configuration.launching import train_command
from mefusion.configuration.schema import TrainSettings
from mefusion.processes import distributed
from mefusion.processes.assignments import WORKER_VARIABLE
from mefusion.processes.machine import (
    THREADS,
    chosen_threads,
    cores,
    free_memory,
    places_for,
    share_of_threads,
    visible_gpus,
)
from mefusion.studies.sharing import Sharing


def plan_sharing(settings: TrainSettings, *, folds: int) -> Sharing | None:
    """The processes beside this one that may run folds of a study, and the threads of this one; None for none.

    Args:
        settings: of the study.
        folds: their number.

    Raises:
        MefusionError: several processes are wanted, and several devices for each batch too.
    """
    if distributed.processes() > 1:
        if settings.processes not in (None, 1):
            raise MefusionError(
                f"processes={settings.processes} with trainer.devices={settings.trainer.get('devices')}: either folds "
                "run side by side, or devices share each batch: give processes=1, or trainer.devices=1"
            )
        return None
    gpus = visible_gpus() if settings.trainer["accelerator"] != "cpu" else []
    count = min(folds, settings.processes or default_processes(settings, gpus))
    if count <= 1:
        return None
    hydra = HydraConfig.get()
    if threads := share_of_threads(count):
        torch.set_num_threads(int(threads[THREADS]))
    return Sharing(
        command=train_command(hydra, hydra.overrides.task),
        places=[threads | place for place in places_for(count, gpus)[1:]],  # this process has the first
        guard_memory=settings.processes is None,
    )


def default_processes(settings: TrainSettings, gpus: list[str]) -> int:
    """One for each place on a GPU, or for as many cores as a process has threads; one where that is not certain."""
    if "profiler" in settings.trainer:  # whose file has one name
        return 1
    if gpus:
        return len(gpus) * settings.processes_per_gpu
    if settings.trainer["accelerator"] != "cpu" or free_memory() is None:
        return 1
    return cores() // (chosen_threads() or 1)


def share_threads(folds: int) -> None:
    """Take the share of the threads that this process of a sweep has, where several share the folds of its job."""
    together = min(folds, int(os.environ[WORKER_VARIABLE]))
    if together > 1:
        torch.set_num_threads(max(1, torch.get_num_threads() // together))
