"""What a model takes: time, memory, parameters and FLOPs of its forward pass and of a training step."""

import copy
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mefusion.common.errors import MefusionError

if TYPE_CHECKING:
    import torch

    from mefusion.windows.store import Batch

# mefusion-bench --help has to answer at once: torch comes in where it is used.

DEVICES = ("cpu", "cuda")
PRECISIONS = ("32-true", "bf16-mixed")
MEMORY = {
    "max_memory_allocated": "what torch.cuda.max_memory_allocated saw during the timed training steps",
    "VmHWM": "the largest resident size of the whole process during the timed training steps (VmHWM)",
    "ru_maxrss": "the largest resident size of the whole process since it started (getrusage)",
}
"""Ways to measure peak memory, and what the table says of them."""

_MATRIX_SIDE = 8192


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        batch_size: clips a batch; the model's own where None.
        device, precision: one of `DEVICES` and one of `PRECISIONS`.
        steps: timed steps.
        warmup: steps before them.
    """

    batch_size: int | None = None
    device: str = "cpu"
    precision: str = "32-true"
    steps: int = 5
    warmup: int = 2


@dataclass(frozen=True)
class Measurement:
    """What a model takes.

    Attributes:
        overrides: of the configuration.
        model: its name.
        batch_size, device, precision: see `Settings`.
        parameters: those that learn and those that do not.
        gflop_per_clip: of a forward pass; a multiply-add counts as 2.
        forward_times, training_times: seconds of each timed step.
        peak_memory: bytes; None where two models share the process.
        memory_measure: a key of `MEMORY`; None as above.
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
        """Clips trained a second."""
        return self.batch_size / self.training_step

    @property
    def training_flops_rate(self) -> float:
        """FLOP a second of a training step, taken as three forward passes: one forward, two backward."""
        return 3 * self.gflop_per_clip * 1e9 * self.clips_per_second


class Contestant:
    """A model with its optimiser and a batch of made-up clips, on the device.

    Args:
        overrides: of conf/train.yaml.
        settings: how to measure.

    Raises:
        MefusionError: the batch size is below 1, or the model has no parameters.
    """

    def __init__(self, overrides: Sequence[str], settings: Settings):
        import torch

        from mefusion.configuration import composition
        from mefusion.configuration.cli import compose

        # A network is made for the device that it is trained on.
        accelerator = "gpu" if settings.device == "cuda" else settings.device
        config = compose([*overrides, f"trainer.accelerator={accelerator}"])
        self.overrides, self.settings, self.name = tuple(overrides), settings, config.model.name
        training = config.model.training
        self.batch_size = training.batch_size if settings.batch_size is None else settings.batch_size
        if self.batch_size < 1:
            given = "model.training.batch_size" if settings.batch_size is None else "--batch-size"
            raise MefusionError(f"{given}={self.batch_size}: give a number above 0")
        torch.manual_seed(config.seeds[0])
        num_classes = len(config.labels.classes)
        if not num_classes:
            raise MefusionError(f"labels={config.labels.name} takes its classes from the data: choose another scheme")
        module = composition.make_module(config, num_classes, _made_up_statistics(num_classes))
        self.parameters = sum(parameter.numel() for parameter in module.parameters())
        if not self.parameters:
            raise MefusionError(f"model={self.name} has no parameters, so it has no training step to measure")
        self.device = torch.device(settings.device)
        self.module = module.to(self.device)
        self.optimizer = module.make_optimizer()
        self.batch = random_batch(
            module.view,
            batch_size=self.batch_size,
            clip_length=config.clip_length,
            image_size=config.model.network.image_size,
            num_classes=num_classes,
        ).to(self.device)

    def forward(self) -> None:
        """A forward pass without gradients; in evaluation mode if the caller has set that."""
        import torch

        with torch.no_grad(), self._autocast():
            self.module(self.batch.inputs)

    def training_step(self) -> None:
        """Forward pass, losses, backward pass and a step of the optimiser."""
        self.optimizer.zero_grad()
        with self._autocast():
            loss = self.module.step(self.batch).loss
        loss.backward()
        self.optimizer.step()

    def _autocast(self) -> "torch.autocast":
        import torch

        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16-mixed")

    def gflop_per_clip(self) -> float:
        """FLOPs of the forward pass of one clip, in billions: the network's own, whatever it is run by."""
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        from mefusion.models.cpu import use_plain_layers

        # The counter sees what is dispatched: a copy is not compiled, and plain layers multiply as they are written.
        plain = use_plain_layers(copy.deepcopy(self.module)).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            plain(self.batch.inputs[:1])
        return counter.get_total_flops() / 1e9


def _made_up_statistics(num_classes: int) -> Any:
    import torch

    from mefusion.windows.datamodule import Statistics

    return Statistics(
        mean=torch.zeros(1, 1, 1),
        std=torch.ones(1, 1, 1),
        class_counts=torch.ones(num_classes, dtype=torch.int64),
        mean_shape=torch.zeros(68, 2),
    )


def random_batch(view: str, *, batch_size: int, clip_length: int, image_size: int, num_classes: int) -> "Batch":
    """A batch of noise with the shapes of a view, a key of `mefusion.windows.views.VIEWS`."""
    import torch

    from mefusion.windows.store import Batch

    clips, frames, size = batch_size, clip_length, image_size
    label = torch.randint(num_classes, (clips,))
    if view == "flow_image":
        return Batch(inputs=torch.randn(clips, 3, size, size), label=label, clip=torch.arange(clips))
    batch = Batch(inputs=torch.randn(clips, frames, 1, size, size), label=label, clip=torch.arange(clips))
    if view == "small":
        batch.dynamic_image = torch.rand(clips, size, size)
    if view == "canvas":
        batch.flow = torch.randn(clips, frames - 1, 2, size, size)
        batch.landmarks = size * torch.rand(clips, frames - 1, 68, 2)
        # The loss is over the distance of the eyes, which noise alone would put in one place.
        batch.landmarks[..., 36:42, :] = size * torch.tensor([0.35, 0.4])
        batch.landmarks[..., 42:48, :] = size * torch.tensor([0.65, 0.4])
    return batch


def measure(contestants: Sequence[Contestant], settings: Settings) -> list[Measurement]:
    """Time forward passes, then training steps, of one or of several models in turn.

    Several models share the process and the caches of its allocators, so what one of them alone would take cannot
    be told: peak memory is measured of a model that runs alone.
    """
    wait = _wait(settings.device)
    for contestant in contestants:
        contestant.module.eval()
    forwards = [contestant.forward for contestant in contestants]
    _warm_up(forwards, settings.warmup)
    forward_times = time_in_turn(forwards, steps=settings.steps, wait=wait)

    for contestant in contestants:
        contestant.module.train()
    steps = [contestant.training_step for contestant in contestants]
    _warm_up(steps, settings.warmup)
    wait()
    memory_measure = reset_peak_memory(settings.device)
    training_times = time_in_turn(steps, steps=settings.steps, wait=wait)
    alone = len(contestants) == 1
    peak = peak_memory(memory_measure) if alone else None
    return [
        Measurement(
            overrides=contestant.overrides,
            model=contestant.name,
            batch_size=contestant.batch_size,
            device=settings.device,
            precision=settings.precision,
            parameters=contestant.parameters,
            gflop_per_clip=contestant.gflop_per_clip(),
            forward_times=tuple(forward),
            training_times=tuple(training),
            peak_memory=peak,
            memory_measure=memory_measure if alone else None,
        )
        for contestant, forward, training in zip(contestants, forward_times, training_times, strict=True)
    ]


def _wait(device: str) -> Callable[[], None]:
    """What returns once the device has done all it was asked for."""
    import torch

    return torch.cuda.synchronize if device == "cuda" else lambda: None


def _warm_up(actions: Sequence[Callable[[], None]], steps: int) -> None:
    for _ in range(steps):
        for action in actions:
            action()


def time_in_turn(
    actions: Sequence[Callable[[], None]], *, steps: int, wait: Callable[[], None] = lambda: None
) -> list[list[float]]:
    """Seconds of each of `steps` runs of each action, one run of each in turn.

    What else the machine does then slows all of them alike.

    Args:
        actions: what to run.
        steps: runs of each.
        wait: returns once what an action has started is done.
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
    """Start to watch for the peak anew, where that can be done.

    Returns:
        How it is measured, a key of `MEMORY`, for `peak_memory`.
    """
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        return "max_memory_allocated"
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak becomes the present size
    except OSError:
        return "ru_maxrss"
    return "VmHWM"


def peak_memory(memory_measure: str) -> int:
    """Peak memory in bytes, since `reset_peak_memory` or as `MEMORY` says."""
    if memory_measure == "max_memory_allocated":
        import torch

        return torch.cuda.max_memory_allocated()
    if memory_measure == "VmHWM":
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    import resource

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def matrix_rate(device: str, precision: str, *, side: int = _MATRIX_SIDE) -> float:
    """FLOP a second of the device in a product of large square matrices."""
    import torch

    dtype = torch.bfloat16 if precision == "bf16-mixed" else torch.float32
    matrix = torch.randn(side, side, device=device, dtype=dtype)

    def multiply() -> None:
        torch.mm(matrix, matrix)

    _warm_up([multiply], 3)
    (times,) = time_in_turn([multiply], steps=10, wait=_wait(device))
    return 2 * side**3 / statistics.median(times)


def ratios(first: Measurement, second: Measurement) -> dict[str, float]:
    """Median seconds a clip of the first over those of the second; of steps, where the batches are of one size."""
    sizes = second.batch_size / first.batch_size
    return {
        "forward": first.forward / second.forward * sizes,
        "training_step": first.training_step / second.training_step * sizes,
    }


def profile(contestant: Contestant, rows: int) -> str:
    """The profiler's table of a training step, its costliest operations first."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiling

    kinds, order = [ProfilerActivity.CPU], "self_cpu_time_total"
    if contestant.device.type == "cuda":
        kinds, order = [*kinds, ProfilerActivity.CUDA], "self_cuda_time_total"
    contestant.module.train()
    wait = _wait(contestant.device.type)
    with profiling(activities=kinds) as profiler:
        contestant.training_step()
        wait()
    return profiler.key_averages().table(sort_by=order, row_limit=rows)
