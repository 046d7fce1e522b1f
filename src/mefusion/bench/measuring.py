"""Measure a model: time, memory, parameters and FLOPs of its forward pass and of a training step."""

import copy
import dataclasses
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.profiler import ProfilerActivity
from torch.profiler import profile as profiling
from torch.utils.flop_counter import FlopCounterMode

from mefusion.acceleration import use_plain_layers
from mefusion.bench.settings import Settings
from mefusion.clips.cache import save_arrays
from mefusion.common.errors import MefusionError
from mefusion.configuration.building import make_module
from mefusion.configuration.cli import compose
from mefusion.configuration.composition import resolve_tasks
from mefusion.configuration.preparing import typed_settings
from mefusion.configuration.schema import TrainSettings
from mefusion.preparation.arrays import random_clip
from mefusion.preparation.settings import PreparationSettings
from mefusion.windows.datamodule import Statistics
from mefusion.windows.settings import Windows
from mefusion.windows.store import Batch, ClipStore
from mefusion.windows.views import make_view

_MATRIX_SIDE = 8192


@dataclass(frozen=True)
class Measurement:
    """Measurements of a model.

    Attributes:
        overrides: overrides of the configuration.
        model: name of the model.
        batch_size, device, precision: see `Settings`.
        parameters: number of parameters, also of those that are not trained.
        gflop_per_clip: billions of FLOPs of a clip's forward pass; a multiply-add counts as 2.
        forward_times, training_times: seconds of each timed step.
        peak_memory: bytes; None if two models share the process.
        memory_measure: how the peak was measured, a key of `MEMORY`; None if it was not.
    """

    overrides: tuple[str, ...]
    model: str
    batch_size: int
    device: str
    precision: str
    parameters: int
    gflop_per_clip: float
    forward_times: tuple[float, ...]
    training_times: tuple[float, ...]
    peak_memory: int | None = None
    memory_measure: str | None = None

    @property
    def forward(self) -> float:
        """Median seconds of a forward pass."""
        return statistics.median(self.forward_times)

    @property
    def training_step(self) -> float:
        """Median seconds of a training step."""
        return statistics.median(self.training_times)

    @property
    def clips_per_second(self) -> float:
        """Clips per second in training."""
        return self.batch_size / self.training_step

    @property
    def training_flops_rate(self) -> float:
        """FLOPs per second of a training step; the backward pass counts as two forward passes."""
        return 3 * self.gflop_per_clip * 1e9 * self.clips_per_second


class BenchModel:
    """A model with its optimiser and a batch of random clips, on the device.

    Args:
        overrides: overrides of conf/train.yaml.
        settings: settings of the measurement.
        config_dir: a folder that is added to conf/.

    Raises:
        MefusionError: the model has no parameters, or the classes of the label scheme depend on the data.
    """

    def __init__(self, overrides: Sequence[str], settings: Settings, config_dir: Path | None = None):
        # The layers of a network depend on the device that it is trained on.
        accelerator = "gpu" if settings.device == "cuda" else settings.device
        experiment: Any = typed_settings(compose([*overrides, f"trainer.accelerator={accelerator}"], config_dir))
        self.overrides, self.settings, self.name = tuple(overrides), settings, experiment.model.name
        self.batch_size = settings.batch_size or experiment.model.training.batch_size
        torch.manual_seed(experiment.seeds[0])
        num_classes = len(experiment.labels.classes)
        if not num_classes:
            raise MefusionError(
                f"the classes of labels={experiment.labels.name} depend on the data: choose another scheme"
            )
        module = make_module(experiment, resolve_tasks(experiment), _made_up_statistics(num_classes))
        self.parameters = sum(parameter.numel() for parameter in module.parameters())
        if not self.parameters:
            raise MefusionError(f"model={self.name} has no parameters, so it has no training step to measure")
        self.device = torch.device(settings.device)
        self.module = module.to(self.device)
        self.optimizer = module.make_optimizer()
        self.batch = random_batch(experiment, self.batch_size).to(self.device)

    def forward(self) -> None:
        """Run a forward pass without gradients. The caller sets the mode (training or evaluation)."""
        with torch.no_grad(), self._autocast():
            self.module(self.batch.inputs)

    def training_step(self) -> None:
        """Run the forward pass, the losses, the backward pass and a step of the optimiser."""
        self.optimizer.zero_grad()
        with self._autocast():
            loss = self.module.step(self.batch).loss
        loss.backward()
        self.optimizer.step()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16-mixed")

    def gflop_per_clip(self) -> float:
        """Billions of FLOPs of the forward pass of one clip, without compilation and without faster layers."""
        # The counter counts the operations that run. So it gets a copy that is not compiled, with PyTorch's own layers.
        plain = use_plain_layers(copy.deepcopy(self.module)).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            plain(self.batch.inputs[:1])
        return counter.get_total_flops() / 1e9


def _made_up_statistics(num_classes: int) -> Statistics:
    return Statistics(
        mean=torch.zeros(1, 1, 1),
        std=torch.ones(1, 1, 1),
        class_counts=torch.ones(num_classes, dtype=torch.int64),
        mean_shape=torch.zeros(68, 2),
    )


def random_batch(experiment: TrainSettings, batch_size: int) -> Batch:
    """Make a batch of random inputs and labels in the model's view, with all targets of this view."""
    model, length = experiment.model, experiment.clip_length
    size, dual = model.image_size, model.training.windows == Windows.dual_phase
    row = {"file": "clip.safetensors", "label": "a", "stride": 1, "apex_place": length // 2}
    with tempfile.TemporaryDirectory() as folder:
        save_arrays(Path(folder, "clip.safetensors"), random_clip(PreparationSettings(clip_length=length)), {})
        view = make_view(model.view, image_size=size, dual_phase=dual, flow=model.flow)
        clips = ClipStore(pd.DataFrame([row]), Path(folder), classes=["a"], clip_length=length, view=view)
    batch = clips.batch([0] * batch_size, [clips.window(0, 0, clips.centre(size))] * batch_size)
    batch = batch.map(lambda tensor: tensor if tensor.dtype == torch.int64 else tensor.float())
    labels = torch.randint(len(experiment.labels.classes), (batch_size,))
    return dataclasses.replace(batch, inputs=torch.randn_like(batch.inputs), label=labels)


def measure(models: Sequence[BenchModel], settings: Settings) -> list[Measurement]:
    """Time forward passes and then training steps, of one model or of several in turn.

    Peak memory is measured only for a single model, because several models in one process share memory that the
    allocators keep.
    """
    wait = _wait(settings.device)
    for model in models:
        model.module.eval()
    forwards = [model.forward for model in models]
    _warm_up(forwards, settings.warmup)
    forward_times = time_in_turn(forwards, steps=settings.steps, wait=wait)

    for model in models:
        model.module.train()
    steps = [model.training_step for model in models]
    _warm_up(steps, settings.warmup)
    wait()
    memory_measure = reset_peak_memory(settings.device)
    training_times = time_in_turn(steps, steps=settings.steps, wait=wait)
    alone = len(models) == 1
    peak = peak_memory(memory_measure) if alone else None
    return [
        Measurement(
            overrides=model.overrides,
            model=model.name,
            batch_size=model.batch_size,
            device=settings.device,
            precision=settings.precision,
            parameters=model.parameters,
            gflop_per_clip=model.gflop_per_clip(),
            forward_times=tuple(forward),
            training_times=tuple(training),
            peak_memory=peak,
            memory_measure=memory_measure if alone else None,
        )
        for model, forward, training in zip(models, forward_times, training_times, strict=True)
    ]


def _wait(device: str) -> Callable[[], None]:
    """A function that waits until the device has finished all its work."""
    return torch.cuda.synchronize if device == "cuda" else lambda: None


def _warm_up(actions: Sequence[Callable[[], None]], steps: int) -> None:
    for _ in range(steps):
        for action in actions:
            action()


def time_in_turn(
    actions: Sequence[Callable[[], None]], *, steps: int, wait: Callable[[], None] = lambda: None
) -> list[list[float]]:
    """Time each action `steps` times, in turn: one run of each, then the next run of each.

    So other work of the machine slows all actions equally.

    Args:
        actions: functions to time.
        steps: number of runs of each.
        wait: function that waits until the work of an action is finished.

    Returns:
        Seconds of each run, one list for each action.
    """
    times: list[list[float]] = [[] for _ in actions]
    for _ in range(steps):
        for action, seconds in zip(actions, times, strict=True):
            wait()
            start = time.perf_counter()
            action()
            wait()
            seconds.append(time.perf_counter() - start)
    return times


def reset_peak_memory(device: str) -> str:
    """Reset the peak of memory, if the system allows it.

    Returns:
        How the peak is measured: a key of `MEMORY`, for `peak_memory`.
    """
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return "max_memory_allocated"
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: sets the peak to the current size
    except OSError:
        return "none" if sys.platform == "win32" else "ru_maxrss"
    return "VmHWM"


def peak_memory(memory_measure: str) -> int | None:
    """Peak memory in bytes; `MEMORY` says since when. None where it cannot be measured."""
    if sys.platform == "win32" and memory_measure == "none":
        return None
    if memory_measure == "max_memory_allocated":
        return torch.cuda.max_memory_allocated()
    if memory_measure == "VmHWM":
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    import resource  # not on Windows

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def matrix_rate(device: str, precision: str, *, side: int = _MATRIX_SIDE) -> float:
    """Measure the FLOPs per second of the device in a product of large square matrices."""
    dtype = torch.bfloat16 if precision == "bf16-mixed" else torch.float32
    matrix = torch.randn(side, side, device=device, dtype=dtype)

    def multiply() -> None:
        torch.mm(matrix, matrix)

    _warm_up([multiply], 3)
    (times,) = time_in_turn([multiply], steps=10, wait=_wait(device))
    return 2 * side**3 / statistics.median(times)


def ratios(first: Measurement, second: Measurement) -> dict[str, float]:
    """Ratios of the median times per clip, first model to second. With equal batch sizes, also those of the steps."""
    sizes = second.batch_size / first.batch_size
    return {
        "forward": first.forward / second.forward * sizes,
        "training_step": first.training_step / second.training_step * sizes,
    }


def profile(model: BenchModel, rows: int) -> str:
    """The profiler's table of a training step, with the slowest operations first."""
    kinds, order = [ProfilerActivity.CPU], "self_cpu_time_total"
    if model.device.type == "cuda":
        kinds, order = [*kinds, ProfilerActivity.CUDA], "self_cuda_time_total"
    model.module.train()
    wait = _wait(model.device.type)
    with profiling(activities=kinds) as profiler:
        model.training_step()
        wait()
    return profiler.key_averages().table(sort_by=order, row_limit=rows)
