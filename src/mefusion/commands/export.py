"""`mefusion-export STUDY`: make a bundle of a network that was trained on all subjects."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

# --help has to answer at once, and Ctrl-C from the start: what takes time to import comes in where it is used.
from mefusion.processes.stopping import stoppable

if TYPE_CHECKING:
    from torch import nn

PROGRAM = "mefusion-export"


def main(argv: Sequence[str] | None = None) -> None:
    """Write a bundle and say where it is. An error is printed as one sentence, with exit code 1.

    Args:
        argv: the command line's arguments; by default those of the process.
    """
    arguments = _parser().parse_args(argv)
    with stoppable(PROGRAM, "no bundle is written: run the same command again"):
        from mefusion.configuration.cli import exit_on_error

        with exit_on_error(PROGRAM):
            export(arguments)


def export(arguments: argparse.Namespace) -> None:
    """Export the study of the command line.

    Raises:
        MefusionError: see `mefusion.inference.export.export_study`.
    """
    from mefusion.inference.export import export_study

    folder = export_study(
        arguments.study,
        to=arguments.to,
        scores=arguments.scores,
        onnx=arguments.onnx,
        network=own_network(arguments.study),
    )
    print(f"{folder} is written; README.md in it is its model card")
    if arguments.scores is None:
        print("no score stands for it: give --scores STUDY, a study with the same settings and protocol=loso")
    print(f'use it: mefusion.load_bundle("{folder.as_posix()}").predict("clip.mp4")')


def own_network(study: Path) -> "type[nn.Module] | None":
    """The class of a study's network where it is the user's own; None where it is one of mefusion's.

    Raises:
        MefusionError: the study cannot be read, or its network cannot be imported.
    """
    from mefusion.common.errors import MefusionError
    from mefusion.inference.bundle import OWN_MODELS
    from mefusion.studies.record import load_study, read_config

    load_study(study)  # says it if there is no study
    try:
        options = read_config(study)["model"]["network"]
        target = str(options["_target_"])
    except (KeyError, TypeError) as error:
        raise MefusionError(f"{study / 'config.yaml'} names no network: run the study again") from error
    if target.rpartition(".")[0] == OWN_MODELS:
        return None
    from hydra.utils import get_class
    from torch import nn

    from mefusion.configuration.cli import prepare_hydra
    from mefusion.configuration.objects import check_target

    prepare_hydra()
    check_target("model.network", options, nn.Module)
    return get_class(target)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Make a bundle, a folder to use and to pass on, of a study that was trained on all its subjects.",
        epilog="Train with mefusion-train ... protocol=all; the same command with protocol=loso makes the score.",
    )
    parser.add_argument("study", metavar="STUDY", type=Path, help="directory of a study with protocol=all")
    parser.add_argument(
        "--scores",
        metavar="STUDY",
        type=Path,
        help="directory of the study whose score stands for it: the same settings, another protocol",
    )
    parser.add_argument("--onnx", action="store_true", help="write model.onnx too; needs pip install 'mefusion[onnx]'")
    parser.add_argument(
        "--to", metavar="DIR", type=Path, help="the new folder (default: bundles/ and the study's name)"
    )
    return parser


if __name__ == "__main__":
    main()
