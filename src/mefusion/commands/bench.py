"""`mefusion-bench [OVERRIDE ...]`: measure time, memory, parameters and FLOPs of a model, or compare two models.

Only the model is timed: no data is read, nothing is logged, and the trainer's deterministic mode is off.
"""

import argparse
import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from mefusion.bench.settings import DEVICES, PRECISIONS, Settings
from mefusion.common.errors import MefusionError
from mefusion.common.files import write_text
from mefusion.processes.memory import reuse_freed_memory
from mefusion.processes.stopping import stoppable

PROGRAM = "mefusion-bench"


def main(argv: Sequence[str] | None = None) -> None:
    """Measure one model, or two in turn, and print a table. An error is printed as one sentence, with exit code 1.

    Args:
        argv: the command line's arguments; by default those of the process.
    """
    arguments = _parser().parse_intermixed_args(argv)
    with stoppable(PROGRAM, "no figure is kept: run the same command to measure again"):
        from mefusion.configuration.cli import exit_on_error

        with exit_on_error(PROGRAM):
            bench(arguments)


def bench(arguments: argparse.Namespace) -> None:
    """Measure the models of the command line.

    Raises:
        MefusionError: a value is out of its range, there is no GPU, or the memory is too small.
    """
    # Imported here, so that --help does not wait for torch.
    import torch

    from mefusion.bench.measuring import BenchModel, measure, profile
    from mefusion.bench.table import print_table, summarise

    _check(arguments)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise MefusionError("--device=cuda: torch finds no GPU; choose cpu")
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
    try:
        models = [BenchModel(overrides, settings, arguments.config_dir) for overrides in given]
        measurements = measure(models, settings)
        summary = summarise(measurements, settings)
        print_table(measurements, summary)
        if arguments.profile is not None:
            for model in models:
                print(f"\nA training step of {model.name}:\n{profile(model, arguments.profile)}")
    except torch.OutOfMemoryError as error:
        raise MefusionError("the model does not fit into the device's memory: lower --batch-size") from error
    if arguments.json is not None:
        write_text(arguments.json, json.dumps(summary, indent=2) + "\n")


def _check(arguments: argparse.Namespace) -> None:
    for name, least in (("batch_size", 1), ("steps", 1), ("warmup", 0), ("threads", 1), ("profile", 1)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise MefusionError(f"--{name.replace('_', '-')}={value}: give a number from {least} up")


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise MefusionError(f"--against={text!r} cannot be read: close the quotation mark") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Measure a model: forward pass, training step, peak memory, parameters and FLOPs.",
        epilog="mefusion-train --help shows the settings; here those of trainer and data have no effect.",
    )
    parser.add_argument(
        "overrides", metavar="OVERRIDE", nargs="*", help="a setting of conf/train.yaml, such as model.compile=true"
    )
    parser.add_argument(
        "--against",
        metavar='"OVERRIDE ..."',
        help="measure a second configuration too, in turn with the first, and print the ratio of the median times",
    )
    parser.add_argument(
        "--batch-size", metavar="N", type=int, help="clips in a batch (default: model.training.batch_size)"
    )
    parser.add_argument("--config-dir", "-cd", metavar="DIR", type=Path, help="a folder of your own, added to conf/")
    parser.add_argument("--device", choices=DEVICES, default="cpu", help="default: cpu")
    parser.add_argument("--precision", choices=PRECISIONS, default="32-true", help="default: 32-true")
    parser.add_argument("--steps", metavar="N", type=int, default=5, help="number of timed steps (default: 5)")
    parser.add_argument("--warmup", metavar="N", type=int, default=2, help="steps before the timed ones (default: 2)")
    parser.add_argument("--threads", metavar="N", type=int, help="number of CPU threads of torch")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all numbers to this file")
    parser.add_argument(
        "--profile", metavar="N", type=int, help="also print the N slowest operations of a training step"
    )
    return parser


if __name__ == "__main__":
    main()
