"""`mefusion-bench [OVERRIDE ...]`: time, memory, parameters and FLOPs of a model, alone or against another one.

What is timed is the model: no data is read, and there is no logging and no deterministic mode of the trainer's.
"""

import argparse
import contextlib
import json
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mefusion.errors import MefusionError
from mefusion.files import write_text
from mefusion.memory import spare_fresh_pages

if TYPE_CHECKING:
    import torch
    from omegaconf import DictConfig

    from mefusion.data.clips import Batch

# --help has to answer at once: torch, hydra and rich come in where they are used.

PROGRAM = "mefusion-bench"
DEVICES = ("cpu", "cuda")
PRECISIONS = ("32-true", "bf16-mixed")
COLUMNS = (
    "model",
    "batch",
    "device",
    "precision",
    "parameters",
    "GFLOP/clip",
    "forward s",
    "training step s",
    "clips/s (training)",
    "peak memory MB",
)
CONVENTION = "GFLOP/clip: of the forward pass of one clip in evaluation; a multiply-add counts as 2."
MEMORY = {
    "max_memory_allocated": "what torch.cuda.max_memory_allocated saw during the timed training steps",
    "VmHWM": "the largest resident size of the whole process during the timed training steps (VmHWM)",
    "ru_maxrss": "the largest resident size of the whole process since it started (getrusage)",
}
"""Ways to measure peak memory, and what the table says of them."""

_PIPE_WIDTH = 160  # characters: a file or a pipe has no width of its own
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

        from mefusion import composition

        config = compose(overrides)
        self.overrides, self.settings, self.name = tuple(overrides), settings, config.model.name
        training = config.model.training
        self.batch_size = training.batch_size if settings.batch_size is None else settings.batch_size
        if self.batch_size < 1:
            given = "model.training.batch_size" if settings.batch_size is None else "--batch-size"
            raise MefusionError(f"{given}={self.batch_size}: give a number above 0")
        torch.manual_seed(config.seed)
        num_classes = len(config.labels.classes)
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
        """FLOPs of the forward pass of one clip, in billions."""
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        self.module.eval()
        # The counter sees what is dispatched, so compiled code has to run as it was written; and on a CPU in single
        # precision FDP's convolutions multiply less by Winograd's algorithm, which they leave alone under autocast.
        # So the count is the network's own, whatever the device, the precision and the compiler.
        plain = torch.autocast(self.device.type, torch.bfloat16)
        counter = FlopCounterMode(display=False)
        with torch.compiler.set_stance("force_eager"), torch.no_grad(), plain, counter:
            self.module(self.batch.inputs[:1])
        return counter.get_total_flops() / 1e9


def compose(overrides: Sequence[str]) -> "DictConfig":
    """conf/train.yaml with overrides, as `mefusion-train` sees it."""
    import hydra
    from hydra.core.plugins import Plugins

    from mefusion.cli import ExperimentsSearchPath, configuration_folder
    from mefusion.config import register_schemas

    register_schemas()
    Plugins.instance().register(ExperimentsSearchPath)
    with hydra.initialize_config_dir(str(configuration_folder("conf")), version_base="1.3"):
        return hydra.compose("train", overrides=list(overrides))


def _made_up_statistics(num_classes: int) -> Any:
    import torch

    from mefusion.data.datamodule import Statistics

    return Statistics(
        mean=torch.zeros(1, 1, 1),
        std=torch.ones(1, 1, 1),
        class_counts=torch.ones(num_classes, dtype=torch.int64),
        mean_shape=torch.zeros(68, 2),
    )


def random_batch(view: str, *, batch_size: int, clip_length: int, image_size: int, num_classes: int) -> "Batch":
    """A batch of noise with the shapes of a view, a key of `mefusion.data.views.VIEWS`."""
    import torch

    from mefusion.data.clips import Batch

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


def table_row(measurement: Measurement) -> list[str]:
    """Texts under `COLUMNS`."""
    peak = measurement.peak_memory
    return [
        measurement.model,
        str(measurement.batch_size),
        measurement.device,
        measurement.precision,
        f"{measurement.parameters:,}",
        f"{measurement.gflop_per_clip:.4g}",
        f"{measurement.forward:.4g}",
        f"{measurement.training_step:.4g}",
        f"{measurement.clips_per_second:.4g}",
        "-" if peak is None else f"{peak / 1e6:.0f}",
    ]


def summarise(measurements: Sequence[Measurement], settings: Settings) -> dict[str, Any]:
    """All numbers, and what they were measured on."""
    import torch

    from mefusion.provenance import device_name

    summary: dict[str, Any] = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device_name": device_name(settings.device),
        "steps": settings.steps,
        "warmup": settings.warmup,
        "flops": CONVENTION,
        "measurements": [
            asdict(measurement)
            | {
                "forward": measurement.forward,
                "training_step": measurement.training_step,
                "clips_per_second": measurement.clips_per_second,
            }
            for measurement in measurements
        ],
    }
    if len(measurements) == 2:
        summary["ratios"] = ratios(*measurements)
    if settings.device == "cuda":
        summary["matrix_rate"] = rate = matrix_rate(settings.device, settings.precision)
        summary["share_of_matrix_rate"] = [measurement.training_flops_rate / rate for measurement in measurements]
    return summary


def notes(measurements: Sequence[Measurement], summary: dict[str, Any]) -> list[str]:
    """What has to be known to read the table, and what compares its rows."""
    names = "AB"[: len(measurements)]
    lines = [f"{name}: {shlex.join(item.overrides)}" for name, item in zip(names, measurements, strict=True)]
    lines = lines if len(lines) > 1 else []
    lines.append(
        f"Medians of {summary['steps']} steps after {summary['warmup']}, on {summary['device_name']} with "
        f"{summary['threads']} threads, torch {summary['torch']}."
    )
    how = measurements[0].memory_measure
    if how is None:
        lines.append("Peak memory: not measured where two models share a process; run each alone.")
    else:
        lines.append(f"Peak memory: {MEMORY[how]}.")
    if "ratios" in summary:
        forward, training = (summary["ratios"][key] for key in ("forward", "training_step"))
        lines.append(f"Time a clip, A / B: forward {forward:.3f}, training step {training:.3f}; below 1: A is faster.")
    for measurement, share in zip(measurements, summary.get("share_of_matrix_rate", []), strict=False):
        lines.append(
            f"{measurement.model} trains at {measurement.training_flops_rate / 1e12:.3g} TFLOP/s (three forward "
            f"passes a step), {share:.1%} of the {summary['matrix_rate'] / 1e12:.3g} TFLOP/s of a large matrix "
            f"product in {measurement.precision}; convolutions may use TF32 where products do not."
        )
    return lines


def _print_table(measurements: Sequence[Measurement], summary: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    console.print(Text(CONVENTION))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    several = len(measurements) > 1
    if several:
        table.add_column("")
    for name in COLUMNS:
        table.add_column(name, overflow="fold", justify="left" if name == "model" else "right")
    for name, measurement in zip("AB", measurements, strict=False):
        table.add_row(*map(Text, [*([name] if several else []), *table_row(measurement)]))
    console.print(table)
    for line in notes(measurements, summary):
        console.print(Text(line))


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


def main(argv: Sequence[str] | None = None) -> None:
    """Measure a model, or two in turn, and print the table; what the user can mend is one sentence, exit code 1.

    Args:
        argv: the command line's arguments; by default those of the process.
    """
    arguments = _parser().parse_intermixed_args(argv)
    from mefusion.cli import one_sentence

    with one_sentence(PROGRAM), _memory_errors():
        _check(arguments)
        _run(arguments)


@contextlib.contextmanager
def _memory_errors() -> Iterator[None]:
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MefusionError("the model does not fit into the device's memory: lower --batch-size") from error


def _check(arguments: argparse.Namespace) -> None:
    import torch

    for name, least in (("batch_size", 1), ("steps", 1), ("warmup", 0), ("threads", 1), ("profile", 1)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise MefusionError(f"--{name.replace('_', '-')}={value}: give a number from {least} up")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise MefusionError("--device=cuda: torch sees no GPU here; choose cpu")


def _run(arguments: argparse.Namespace) -> None:
    import torch

    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    if arguments.device == "cpu":
        spare_fresh_pages()
    settings = Settings(
        batch_size=arguments.batch_size,
        device=arguments.device,
        precision=arguments.precision,
        steps=arguments.steps,
        warmup=arguments.warmup,
    )
    given = [arguments.overrides]
    if arguments.against is not None:
        given.append(_split(arguments.against))
    contestants = [Contestant(overrides, settings) for overrides in given]
    measurements = measure(contestants, settings)
    summary = summarise(measurements, settings)
    _print_table(measurements, summary)
    if arguments.profile is not None:
        for contestant in contestants:
            print(f"\nA training step of {contestant.name}:\n{profile(contestant, arguments.profile)}")
    if arguments.json is not None:
        write_text(arguments.json, json.dumps(summary, indent=2) + "\n")


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise MefusionError(f"--against={text!r} cannot be read: a quotation mark has no partner") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Measure a model: forward pass, training step, peak memory, parameters and FLOPs.",
        epilog="mefusion-train --help shows what can be overridden; the settings of trainer and data change nothing.",
    )
    parser.add_argument(
        "overrides", metavar="OVERRIDE", nargs="*", help="of conf/train.yaml, such as model=mol model.compile=true"
    )
    parser.add_argument(
        "--against",
        metavar='"OVERRIDE ..."',
        help="time another configuration in turn with the first and print the ratio of their medians",
    )
    parser.add_argument("--batch-size", metavar="N", type=int, help="default: the model's training.batch_size")
    parser.add_argument("--device", choices=DEVICES, default="cpu", help="default: cpu")
    parser.add_argument("--precision", choices=PRECISIONS, default="32-true", help="default: 32-true")
    parser.add_argument("--steps", metavar="N", type=int, default=5, help="steps to time (default: 5)")
    parser.add_argument("--warmup", metavar="N", type=int, default=2, help="steps before them (default: 2)")
    parser.add_argument("--threads", metavar="N", type=int, help="of torch on the CPU")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all numbers there")
    parser.add_argument(
        "--profile", metavar="N", type=int, help="print the N costliest operations of a training step too"
    )
    return parser


if __name__ == "__main__":
    main()
