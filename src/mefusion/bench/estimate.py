"""What a study takes: its time, memory and disk, from a shortened training of its first fold.

The fold is run as `mefusion-train` runs it, in a temporary folder that is removed afterwards, with a few batches of
the study's own size. What is timed there is multiplied by what each fold of the study has to do.
"""

import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L
import torch

from mefusion.bench.measuring import peak_memory, reset_peak_memory
from mefusion.bench.settings import MEMORY
from mefusion.configuration.building import make_builder, max_epochs
from mefusion.configuration.composition import Experiment
from mefusion.studies.provenance import device_name
from mefusion.studies.runs import Run
from mefusion.studies.study import Study, run_fold
from mefusion.training.settings import Rule, batches_of_epoch
from mefusion.windows.store import ClipStore, EpochSampler, TestWindows

WARM_UP = 2  # batches; the first ones allocate memory, and compile
TIMED = 4  # batches after them


@dataclass(frozen=True)
class Work:
    """What a fold has to do.

    Attributes:
        epochs: of the training.
        steps: training batches, of all epochs.
        validated: windows that are validated after each epoch.
        tested: windows that are predicted in the end.
    """

    epochs: int
    steps: int
    validated: int
    tested: int


@dataclass(frozen=True)
class Costs:
    """What was measured: seconds, and bytes.

    Attributes:
        step: of a training batch.
        epoch: of the end of an epoch, checkpoint included, without validation.
        validated, tested: of a window.
        rest: of all else that a fold does.
        memory: at the peak; None if it was not measured.
        memory_measure: how that was measured, a key of `mefusion.bench.settings.MEMORY`.
        disk: that a fold takes.
        measuring: that all this took.
    """

    step: float
    epoch: float
    validated: float
    tested: float
    rest: float
    memory: int | None
    memory_measure: str
    disk: int
    measuring: float

    def seconds(self, work: Work) -> float:
        """Time of a fold."""
        training = work.steps * self.step + work.epochs * (self.epoch + work.validated * self.validated)
        return self.rest + training + work.tested * self.tested


class Stopwatch(L.Callback):
    """Notes when each part of a fold ends, once the device has done it."""

    def __init__(self) -> None:
        self.marks: list[tuple[str, float]] = []

    def _mark(self, name: str) -> None:
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        self.marks.append((name, time.perf_counter()))

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Called by Lightning."""
        self._mark("epoch")

    def on_train_batch_end(self, *arguments: Any) -> None:
        """Called by Lightning."""
        self._mark("step")

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Called by Lightning."""
        self._mark("validation")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Called by Lightning."""
        self._mark("validated")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Called by Lightning."""
        self._mark("trained")

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Called by Lightning."""
        self._mark("prediction")

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Called by Lightning."""
        self._mark("predicted")

    def between(self, first: Sequence[str], last: Sequence[str]) -> list[float]:
        """Seconds from each mark of a name in `first` to the next mark, where the name of that is in `last`."""
        pairs = zip(self.marks, self.marks[1:], strict=False)
        return [end - start for (before, start), (after, end) in pairs if before in first and after in last]


def work_of(experiment: Experiment, study: Study, clips: ClipStore, run: Run) -> Work:
    """What a fold has to do if its network learns, and if nothing stops it early."""
    settings, fold = experiment.settings, study.fold(run, clips.index)
    training, image_size = settings.model.training, settings.model.network["image_size"]
    windows = len(EpochSampler(clips, clips.rows(fold.train), windows=training.windows, seed=0, copies=training.copies))
    batches = math.ceil(windows / training.batch_size)
    batches = batches_of_epoch(batches, settings.trainer.get("limit_train_batches"))
    epochs = max_epochs(settings)
    limits = [training.max_steps * settings.trainer.get("accumulate_grad_batches", 1)] * (training.max_steps > 0)
    steps = min([*limits, *[epochs * batches] * (epochs > 0)])

    def shown(subjects: Sequence[str]) -> int:
        mirrored = clips.view.mirrors_test
        return len(
            TestWindows(clips, clips.rows(subjects), size=image_size, windows=training.windows, mirrored=mirrored)
        )

    validated = shown(fold.validation) if study.rule.validates else 0
    return Work(
        epochs=math.ceil(steps / batches),
        steps=steps,
        validated=validated,
        tested=shown(fold.test) + (validated if study.rule == Rule.inner_val else 0),
    )


def measure_fold(experiment: Experiment, study: Study, clips: ClipStore, run: Run) -> Costs:
    """Run a fold with a few training batches, in a temporary folder, and measure it."""
    work = work_of(experiment, study, clips, run)
    batches = min(WARM_UP + TIMED, math.ceil(work.steps / work.epochs))
    epochs = min(work.epochs, math.ceil((WARM_UP + TIMED) / batches))
    short, watch = _shortened(experiment, epochs=epochs, batches=batches), Stopwatch()
    on_gpu = experiment.settings.trainer["accelerator"] != "cpu" and torch.cuda.is_available()
    memory_measure = reset_peak_memory("cuda" if on_gpu else "cpu")
    with tempfile.TemporaryDirectory(prefix="mefusion-estimate-") as folder:
        trial = replace(study, directory=Path(folder, study.name))
        start = time.perf_counter()
        run_fold(trial, replace(run, study=trial.directory), clips, make_builder(short, clips, trial, [watch]))
        measuring = time.perf_counter() - start
        disk = sum(path.stat().st_size for path in trial.directory.rglob("*") if path.is_file())
    steps = watch.between(["epoch", "step"], ["step"])
    ends = watch.between(["step", "validated"], ["epoch", "trained", "validation"])
    validations = watch.between(["validation"], ["validated"])
    predictions = watch.between(["prediction"], ["predicted"])
    return Costs(
        step=statistics.median(steps[WARM_UP:] or steps or [0]),
        epoch=sum(ends) / epochs,
        validated=statistics.median(validations or [0]) / max(work.validated, 1),
        tested=sum(predictions) / max(work.tested, 1),
        rest=measuring - sum(steps) - sum(ends) - sum(validations) - sum(predictions),
        memory=peak_memory(memory_measure),
        memory_measure=memory_measure,
        disk=disk,
        measuring=measuring,
    )


def _shortened(experiment: Experiment, *, epochs: int, batches: int) -> Experiment:
    """The experiment with a short training, and without what writes elsewhere than into the study's folder."""
    settings = experiment.settings
    trainer = {name: value for name, value in settings.trainer.items() if name != "profiler"}
    trainer |= {"max_epochs": epochs, "limit_train_batches": batches}
    model = replace(settings.model, training=replace(settings.model.training, max_steps=-1))
    return replace(experiment, settings=replace(settings, model=model, trainer=trainer, logger={}))


def estimate(experiment: Experiment, study: Study, clips: ClipStore, runs: Sequence[Run]) -> tuple[float, list[str]]:
    """Measure the first of these folds, and say what all of them take.

    Args:
        experiment: the study's experiment.
        study: the study.
        clips: all clips of the study.
        runs: those that are to be run, at least one.

    Returns:
        Seconds, and the lines that tell them with memory and disk.
    """
    costs = measure_fold(experiment, study, clips, runs[0])
    works = [work_of(experiment, study, clips, run) for run in runs]
    if not costs.step:  # a network that does not learn
        works = [replace(work, epochs=0, steps=0) for work in works]
    seconds = sum(map(costs.seconds, works))
    settings, steps = experiment.settings, {work.steps for work in works}
    each = (
        f"x {_count(works[0].steps, 'step')}"
        if len(steps) == 1
        else f"with {sum(work.steps for work in works)} steps in all"
    )
    stops = any("EarlyStopping" in callback["_target_"] for callback in settings.callbacks.values())
    place = f"{device_name(settings.trainer['accelerator'])}, {torch.get_num_threads()} threads"
    parts = {
        "a training step": costs.step,
        "the end of an epoch": costs.epoch,
        "a validated window": costs.validated,
        "a tested window": costs.tested,
        "all else of a fold": costs.rest,
    }
    measured = ", ".join(f"{name} {duration(value)}" for name, value in parts.items() if value)
    return seconds, [
        f"{study.directory}: {_count(len(runs), 'fold')} {each} of {settings.model.training.batch_size} windows: "
        f"{'up to ' * stops}{duration(seconds)} here ({place})",
        f"measured on fold {runs[0].name}, in {duration(costs.measuring)}: {measured}",
        f"memory: {size(costs.memory)} at the peak ({costs.memory_measure})"
        if costs.memory is not None
        else f"memory: {MEMORY[costs.memory_measure]}",
        f"disk: {size(costs.disk * len(runs))}, {size(costs.disk)} for each fold",
    ]


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'s' * (number != 1)}"


def duration(seconds: float) -> str:
    """A duration in the unit that suits it: `0.031 s`, `17 s`, `12 min`, `5.2 days`."""
    for unit, length, limit in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 36)):
        if seconds < length * limit:
            return f"{seconds / length:.2g} {unit}"
    return f"{seconds / 86400:.1f} days"


def size(count: int) -> str:
    """A number of bytes in MB or GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
