"""`mefusion-bench [OVERRIDE ...]`: time, memory, parameters and FLOPs of a model, alone or against another one.

What is timed is the model: no data is read, and there is no logging and no deterministic mode of the trainer's.
"""

import argparse
import contextlib
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mefusion.bench.measuring import (
    DEVICES,
    MEMORY,
    PRECISIONS,
    Contestant,
    Measurement,
    Settings,
    matrix_rate,
    measure,
    profile,
    ratios,
)
from mefusion.common.errors import MefusionError
from mefusion.common.files import write_text
from mefusion.common.memory import reuse_freed_memory

# --help has to answer at once: torch, hydra and rich come in where they are used.

PROGRAM = "mefusion-bench"
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

_PIPE_WIDTH = 160  # characters: a file or a pipe has no width of its own


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

    from mefusion.studies.provenance import device_name

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


def main(argv: Sequence[str] | None = None) -> None:
    """Measure a model, or two in turn, and print the table; what the user can mend is one sentence, exit code 1.

    Args:
        argv: the command line's arguments; by default those of the process.
    """
    arguments = _parser().parse_intermixed_args(argv)
    from mefusion.configuration.cli import one_sentence

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
        reuse_freed_memory()
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
