"""From a configuration to Lightning's trainers, and to the processes that share one training."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mefusion.common.errors import MefusionError

if TYPE_CHECKING:
    import lightning as L
    from omegaconf import DictConfig

    from mefusion.studies.study import Run, Study
    from mefusion.training.loggers import StudyLog

SET_BY_STUDY = {
    "max_steps": "model.training.max_steps",
    "callbacks": "rule=",
    "logger": "logger=wandb",
    "plugins": "trainer.precision",
    "num_sanity_val_steps": "rule=",
    "limit_val_batches": "rule=",
    "use_distributed_sampler": "model.training.batch_size, which the devices share",
}
"""Arguments of Lightning's Trainer that are not the user's, and what to set in their place."""

STRATEGIES = ("auto", "ddp")


def require_sense(config: "DictConfig") -> None:
    """Refuse what needs no device to be refused.

    Raises:
        MefusionError: a value is none of those there are, or is not the user's.
    """
    from mefusion.training.loggers import require_logger

    taken = [name for name in SET_BY_STUDY if name in config.trainer]
    if taken:
        raise MefusionError(f"trainer.{taken[0]} is set by the study: see {SET_BY_STUDY[taken[0]]}")
    strategy = config.trainer.get("strategy", "auto")
    if strategy not in STRATEGIES:
        raise MefusionError(f"trainer.strategy={strategy}: choose from {', '.join(STRATEGIES)}")
    if config.trainer.get("sync_batchnorm") and config.trainer.accelerator == "cpu":
        raise MefusionError("trainer.sync_batchnorm=true is for GPUs: PyTorch has it for no CPU")
    require_logger(config.logger.name)
    if config.logger.examples_every < 0:
        raise MefusionError(f"logger.examples_every={config.logger.examples_every}: give a number of epochs, or 0")
    _max_epochs(config)


def start_processes(config: "DictConfig") -> None:
    """Start the processes of the other devices that share each training, and join them; one device needs none.

    Each runs the command of this one. Where something else has started them, as torchrun does, they are only joined.

    Raises:
        MefusionError: the devices are not there, or are several in a sweep.
    """
    import lightning as L
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from hydra_plugins.mefusion_launcher import RESULT_VARIABLE

    names = ("accelerator", "devices", "num_nodes", "strategy")
    given = {name: config.trainer[name] for name in names if name in config.trainer}
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
def one_voice() -> Iterator[None]:
    """Let the first process alone tell of what the user can mend, which the others meet as well."""
    from mefusion.common.distributed import rank

    try:
        yield
    except MefusionError:
        if rank() > 0:
            sys.exit(1)
        raise


def make_trainer(
    config: "DictConfig", shown: "list[L.Callback]", run: "Run", callbacks: "list[L.Callback]"
) -> "L.Trainer":
    """Trainer of a fold, which logs to its folder.

    Args:
        config: the study's.
        shown: of all its folds.
        run: the fold.
        callbacks: of the fold's training.
    """
    from hydra.utils import instantiate

    from mefusion.common.distributed import rank
    from mefusion.training.checkpoints import validates
    from mefusion.training.examples import ShowExamples
    from mefusion.training.resume import WholeFiles

    loggers = study_log(config, run.study).fold_loggers(run.folder) if rank() == 0 else []
    callbacks = [*callbacks, *shown]
    if config.logger.examples_every:
        callbacks = [*callbacks, ShowExamples(run.folder, every=config.logger.examples_every)]
    given = {"max_epochs": _max_epochs(config)}
    if "sync_batchnorm" in config.trainer:
        given["sync_batchnorm"] = _sync_batchnorm(config)
    trainer = instantiate(
        config.trainer,
        **given,
        max_steps=config.model.training.max_steps,
        callbacks=callbacks,
        logger=loggers,
        plugins=[WholeFiles()],
        num_sanity_val_steps=0,
        limit_val_batches=1.0 if validates(config.rule) else 0,
        use_distributed_sampler=False,  # the data are shared out by themselves
    )
    # Where steps are counted, Lightning takes a checkpoint from the end of an epoch for one from amid it and shows the
    # resumed training one batch more of that epoch; ours are all from the end.
    trainer.fit_loop._iteration_based_training = lambda: False
    return trainer


def study_log(config: "DictConfig", study: "Study") -> "StudyLog":
    """What the loggers of a study are told."""
    from omegaconf import OmegaConf

    from mefusion.training.loggers import StudyLog

    resolved: Any = OmegaConf.to_container(config, resolve=True)
    facts: Mapping[str, Any] = study.facts
    return StudyLog(
        logger=config.logger.name,
        project=config.logger.project,
        directory=study.directory,
        config=resolved,
        tags=(*(facts[name] for name in ("model", "data", "labels", "rule")), *facts["tasks"]),
    )


def _max_epochs(config: "DictConfig") -> int:
    """Epochs to train for, -1 where steps alone are counted."""
    training, max_epochs = config.model.training, config.trainer.get("max_epochs")
    if max_epochs is None:
        max_epochs = training.max_epochs
    limits = (max_epochs, training.max_steps)
    if limits == (-1, -1) or any(not isinstance(limit, int) or (limit < 1 and limit != -1) for limit in limits):
        raise MefusionError(
            f"trainer.max_epochs={max_epochs} with model.training.max_steps={training.max_steps}: one must be 1 or "
            "more, the other may be -1 for none"
        )
    return max_epochs


def _sync_batchnorm(config: "DictConfig") -> bool:
    """Where it is null: on GPUs, since PyTorch has it for no CPU."""
    import torch

    asked = config.trainer.sync_batchnorm
    return torch.cuda.is_available() and config.trainer.accelerator != "cpu" if asked is None else asked
