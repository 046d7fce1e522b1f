"""Measurements as a table in the terminal and as plain data."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mefusion.bench.measuring import Measurement, matrix_rate, ratios
from mefusion.bench.settings import MEMORY, Settings
from mefusion.studies.provenance import device_name

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

_PIPE_WIDTH = 160  # characters; a file or a pipe has no width


def table_row(measurement: Measurement) -> list[str]:
    """Cells of a measurement, one for each of `COLUMNS`."""
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
    """All numbers of the measurements, with the device, the settings and the version of torch."""
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
    """Notes below the table: how it was measured, and how the rows compare."""
    names = "AB"[: len(measurements)]
    lines = [f"{name}: {shlex.join(item.overrides)}" for name, item in zip(names, measurements, strict=True)]
    lines = lines if len(lines) > 1 else []
    lines.append(
        f"Medians of {summary['steps']} steps after {summary['warmup']}, on {summary['device_name']} with "
        f"{summary['threads']} threads, torch {summary['torch']}."
    )
    how = measurements[0].memory_measure
    if how is None:
        lines.append("Peak memory: not measured if two models share a process; measure each model alone.")
    else:
        lines.append(f"Peak memory: {MEMORY[how]}.")
    if "ratios" in summary:
        forward, training = (summary["ratios"][key] for key in ("forward", "training_step"))
        times = f"forward {forward:.3f}, training step {training:.3f}"
        lines.append(f"Time per clip, A / B: {times}; below 1: A is faster.")
    for measurement, share in zip(measurements, summary.get("share_of_matrix_rate", []), strict=False):
        lines.append(
            f"{measurement.model} trains at {measurement.training_flops_rate / 1e12:.3g} TFLOP/s (a training step "
            f"counts as three forward passes), {share:.1%} of the {summary['matrix_rate'] / 1e12:.3g} TFLOP/s of a "
            f"large matrix product in {measurement.precision}; convolutions may use TF32 even if products do not."
        )
    return lines


def print_table(measurements: Sequence[Measurement], summary: dict[str, Any]) -> None:
    """Print the table, one row for each model, and its notes."""
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
