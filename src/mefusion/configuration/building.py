"""Build what a fold needs: its data, the network with its tasks, the trainer with callbacks and loggers."""

import functools
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import lightning as L
import pandas as pd
import torch
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import Profiler
from torch import nn

from mefusion.acceleration import channels_last, use_cpu_layers
from mefusion.common.errors import MefusionError
from mefusion.common.units import UNIT_TASK
from mefusion.configuration.composition import Experiment
from mefusion.configuration.objects import check_target, make
from mefusion.configuration.schema import TrainSettings
from mefusion.evaluation.folds import Fold
from mefusion.processes.distributed import rank
from mefusion.studies.runs import Run
from mefusion.studies.study import Builder, Study
from mefusion.training.loggers import (
    MetricsFile,
    log_settings,
    log_summary_to_wandb,
    require_packages,
    wandb_logger,
)
from mefusion.training.losses import Recognition, Task
from mefusion.training.module import MERModule
from mefusion.training.resume import AtomicCheckpointIO
from mefusion.training.settings import Imbalance
from mefusion.training.start import KeepFrozen, Start
from mefusion.training.units import ActionUnits
from mefusion.windows.datamodule import FoldData, Statistics
from mefusion.windows.resident import fit_on_gpu
from mefusion.windows.store import ClipStore

SET_BY_STUDY = {
    "max_steps": "model.training.max_steps",
    "callbacks": "callbacks=",
    "logger": "logger=wandb",
    "plugins": "trainer.precision",
    "num_sanity_val_steps": "rule=",
    "limit_val_batches": "rule=",
    "limit_predict_batches": "protocol.folds=, of which every clip is predicted",
    "fast_dev_run": "trainer=smoke",
    "enable_checkpointing": "rule=",
    "barebones": "trainer=cpu",
    "use_distributed_sampler": "model.training.batch_size, which the devices share",
}
"""Arguments of Lightning's Trainer that the study sets, and what the user can set instead."""

STRATEGIES = ("auto", "ddp")

PRECISIONS = (None, "32-true", "bf16-mixed", "16-mixed", 32, "32", "bf16", 16, "16")
"""Precisions of training; the inputs are of 32 bits, so weights are too."""

LEAST_WHOLE_NUMBERS = {"accumulate_grad_batches": 1, "log_every_n_steps": 1, "num_nodes": 1}
"""Arguments of Lightning's Trainer that it does not check itself, with their least value."""

CHECKED_TARGETS: Mapping[str, tuple[type, tuple[Any, ...]]] = {
    "callbacks": (L.Callback, ()),
    "logger": (Logger, (wandb_logger,)),
}
"""What the entries of a group are: a class, or one of these functions."""


def make_data(experiment: Experiment, clips: ClipStore, fold: Fold, seed: int) -> FoldData:
    """Make the windows of a fold."""
    settings, model = experiment.settings, experiment.settings.model
    return FoldData(
        clips,
        fold,
        model.training,
        image_size=model.image_size,
        seed=seed,
        balanced=settings.imbalance == Imbalance.sampler,
        resident=on_gpu(settings) and fit_on_gpu(clips),
    )


def on_gpu(settings: TrainSettings) -> bool:
    """Whether the networks are trained on a GPU."""
    return settings.trainer["accelerator"] != "cpu" and torch.cuda.is_available()


def make_network(settings: TrainSettings, tasks: Collection[str], num_classes: int) -> nn.Module:
    """Make the network with its tasks, for its device; compiled and with channels last if the settings say so."""
    model = settings.model
    network = make(
        "model.network",
        model.network,
        nn.Module,
        num_classes=num_classes,
        tasks=list(tasks),
        clip_length=settings.clip_length,
    )
    if not on_gpu(settings):
        use_cpu_layers(network)
    if model.channels_last:
        channels_last(network)
    if model.compile:
        network.compile()
    return network


def make_module(
    settings: TrainSettings, tasks: Mapping[str, Task], statistics: Statistics, start: Start | None = None
) -> MERModule:
    """Make the LightningModule of network and tasks, with initial values from the training subjects' statistics.

    If there is something to start from, its values replace those.
    """
    network, counts = make_network(settings, tasks, len(statistics.class_counts)), statistics.class_counts
    recognition = tasks["recognition"]
    if type(recognition) is Recognition:
        recognition = Recognition.balanced(
            recognition.weight,
            imbalance=settings.imbalance,
            class_counts=counts,
            tau=settings.imbalance_tau,
            smoothing=settings.model.training.label_smoothing,
        )
    all_tasks = {**tasks, "recognition": recognition}
    units = tasks.get(UNIT_TASK)
    if type(units) is ActionUnits and statistics.unit_counts is not None:
        all_tasks[UNIT_TASK] = ActionUnits.balanced(units.weight, statistics.unit_counts)
    module = MERModule(network, all_tasks, settings.model.optimizer, mean_shape=settings.model.mean_shape)
    if module.is_fitted and settings.imbalance not in (Imbalance.none, Imbalance.class_weights):
        raise MefusionError(
            f"imbalance={settings.imbalance} changes a training step by step, and model={settings.model.name} is "
            "fitted at once: choose none or class_weights"
        )
    module.initialise(statistics)
    if start:
        start.give(network)
    return module


def make_builder(experiment: Experiment, clips: ClipStore, study: Study, callbacks: Sequence[L.Callback]) -> Builder:
    """What makes the data, module and trainer of each fold of a study.

    Args:
        experiment: the study's experiment.
        clips: all clips of the study.
        study: the study.
        callbacks: see `make_trainer`.
    """
    callbacks = [*([KeepFrozen(study.start.frozen)] if study.start.frozen else []), *callbacks]
    return Builder(
        data=functools.partial(make_data, experiment, clips),
        module=functools.partial(make_module, experiment.settings, experiment.tasks, start=study.start),
        trainer=lambda run, needed: make_trainer(experiment, study, run, [*needed, *callbacks]),
    )


def make_trainer(experiment: Experiment, study: Study, run: Run, callbacks: Sequence[L.Callback]) -> L.Trainer:
    """Make the trainer of a fold; it logs to the fold's folder.

    Args:
        experiment: the study's experiment.
        study: the study.
        run: the fold with its seed.
        callbacks: added to the callbacks of the configuration.
    """
    settings, names = experiment.settings, placeholder_values(study, run)
    own = _make_group("callbacks", settings.callbacks, names)
    loggers: list[Logger] = []
    if rank() == 0:
        named = _make_group("logger", settings.logger, names)
        log_settings(named, experiment.plain)
        loggers = [MetricsFile(run.folder / "metrics.csv"), *named]
    trainer = make(
        "trainer",
        _trainer_options(settings),
        L.Trainer,
        parts=(Profiler,),
        max_steps=settings.model.training.max_steps,
        callbacks=[*callbacks, *own],
        logger=loggers,
        plugins=[AtomicCheckpointIO()],
        num_sanity_val_steps=0,
        limit_val_batches=1.0 if settings.rule.validates else 0,
        use_distributed_sampler=False,  # `FoldData` divides each batch among the processes
    )
    # With `max_steps`, Lightning takes each checkpoint for one from the middle of an epoch, and a resumed training gets
    # one more batch of that epoch. Our checkpoints are all from the end of an epoch.
    trainer.fit_loop._iteration_based_training = lambda: False  # type: ignore[method-assign]
    environment = trainer._accelerator_connector.cluster_environment
    if isinstance(environment, SLURMEnvironment):  # it would write a checkpoint that every fold would start from
        environment.auto_requeue = False
    return trainer


def _make_group(group: str, entries: Mapping[str, Any], names: Mapping[str, str]) -> list[Any]:
    """Make the callbacks or loggers of the configuration."""
    kind, functions = CHECKED_TARGETS[group]
    return [
        make(f"{group}.{name}", fill_placeholders(options, names), kind, functions=functions)
        for name, options in entries.items()
    ]


def log_study(experiment: Experiment, study: Study, summary: Mapping[str, Any], predictions: pd.DataFrame) -> None:
    """Log the result of the whole study to W&B, if W&B is one of the loggers."""
    if "wandb" in experiment.settings.logger:
        options = fill_placeholders(experiment.settings.logger["wandb"], placeholder_values(study))
        log_summary_to_wandb(
            summary,
            predictions,
            project=options["project"],
            directory=study.directory,
            tags=options["tags"],
            settings=experiment.plain,
        )


def placeholder_values(study: Study, run: Run | None = None) -> dict[str, str]:
    """Texts for the placeholders `{folder}`, `{study}` and so on in the settings of loggers and callbacks."""
    values = {name: str(study.facts[name]) for name in ("model", "data", "labels", "rule")}
    values |= {"tasks": "+".join(study.facts["tasks"]), "directory": str(study.directory), "study": study.name}
    return values | ({"folder": str(run.folder), "fold": run.name} if run else {})


def fill_placeholders(value: Any, names: Mapping[str, str]) -> Any:
    """Replace each placeholder in settings by its text."""
    if isinstance(value, dict):
        return {key: fill_placeholders(part, names) for key, part in value.items()}
    if isinstance(value, list):
        return [fill_placeholders(part, names) for part in value]
    if isinstance(value, str):
        for name, text in names.items():
            value = value.replace(f"{{{name}}}", text)
    return value


def check_settings(settings: TrainSettings) -> None:
    """Check the settings, as far as this is possible without the data.

    Raises:
        MefusionError: a value is not allowed, or only the study may set it.
    """
    if taken := [name for name in SET_BY_STUDY if name in settings.trainer]:
        raise MefusionError(f"trainer.{taken[0]} is set by the study: see {SET_BY_STUDY[taken[0]]}")
    for name in ("processes", "processes_per_gpu"):
        if (count := getattr(settings, name)) is not None and count < 1:
            raise MefusionError(f"{name}={count}: give a number above 0")
    strategy = settings.trainer.get("strategy", "auto")
    if strategy not in STRATEGIES:
        raise MefusionError(f"trainer.strategy={strategy}: choose from {', '.join(STRATEGIES)}")
    if settings.trainer.get("sync_batchnorm") and settings.trainer["accelerator"] == "cpu":
        raise MefusionError("trainer.sync_batchnorm=true works on GPUs only: give trainer.sync_batchnorm=false")
    for group, named in (("logger", settings.logger), ("callbacks", settings.callbacks)):
        for name, options in named.items():
            kind, functions = CHECKED_TARGETS[group]
            check_target(f"{group}.{name}", options, kind, functions=functions)
            if str(options.get("monitor", "")).startswith("validation/") and not settings.rule.validates:
                raise MefusionError(
                    f"{group}.{name}.monitor={options['monitor']} needs validation subjects: give rule=inner_val"
                )
    network = settings.model.network | {"image_size": settings.model.image_size}  # whose own sentence comes first
    check_target("model.network", network, nn.Module)
    require_packages(settings.logger)
    _check_trainer_values(settings.trainer)
    check_target("trainer", _trainer_options(settings), L.Trainer, parts=(Profiler,))


def _check_trainer_values(options: Mapping[str, Any]) -> None:
    if (precision := options.get("precision")) not in PRECISIONS:
        raise MefusionError(f"trainer.precision={precision}: choose from 32-true, bf16-mixed, 16-mixed")
    for name, least in LEAST_WHOLE_NUMBERS.items():
        value = options.get(name, least)
        if type(value) is not int or value < least:
            raise MefusionError(f"trainer.{name}={value}: give a whole number from {least} up")
    for name in ("gradient_clip_val", "limit_train_batches"):
        value = options.get(name)
        if value is not None and (not isinstance(value, int | float) or value <= 0):
            raise MefusionError(f"trainer.{name}={value}: give a number above 0, or leave it out")
    time = options.get("max_time")
    if isinstance(time, str) and not re.fullmatch(r"\d+:\d\d:\d\d:\d\d", time):
        raise MefusionError(f"trainer.max_time={time}: give days:hours:minutes:seconds, as 00:12:00:00")


def _trainer_options(settings: TrainSettings) -> dict[str, Any]:
    """Arguments of Lightning's Trainer, without the nulls that stand for a value of the study."""
    options = settings.trainer | {"max_epochs": max_epochs(settings)}
    if "sync_batchnorm" in options:
        options["sync_batchnorm"] = uses_sync_batchnorm(settings)
    return options


def max_epochs(settings: TrainSettings) -> int:
    """Number of epochs to train; -1 if only the number of steps is limited.

    Raises:
        MefusionError: neither epochs nor steps are limited, or a limit is not a whole number from 1 up.
    """
    training, epochs = settings.model.training, settings.trainer.get("max_epochs")
    if epochs is None:
        epochs = training.max_epochs
    limits = (epochs, training.max_steps)
    if limits == (-1, -1) or any(not isinstance(limit, int) or (limit < 1 and limit != -1) for limit in limits):
        raise MefusionError(
            f"trainer.max_epochs={epochs} with model.training.max_steps={training.max_steps}: one must be 1 or more, "
            "the other may be -1 (no limit)"
        )
    return epochs


def uses_sync_batchnorm(settings: TrainSettings) -> bool:
    """Whether batch normalisation is synchronised; null means on GPUs, since PyTorch cannot do it on a CPU."""
    asked = settings.trainer["sync_batchnorm"]
    return on_gpu(settings) if asked is None else asked
