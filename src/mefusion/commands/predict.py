"""`mefusion-predict [BUNDLE] VIDEO...`: spot recordings and name their events; or name clips that are cut already."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mefusion.commands.spot import KEPT, add_arguments, split_arguments, spot
from mefusion.common.errors import MefusionError
from mefusion.processes.stopping import stoppable

# --help has to answer at once, and Ctrl-C from the start: what takes time to import comes in where it is used.
if TYPE_CHECKING:
    from mefusion.inference.predictor import Predictor

PROGRAM = "mefusion-predict"

CAVEAT = (
    "The names come from the bundle that comes with mefusion, which has seen rendered motion only, and no real face: "
    "{card}"
)


def main(argv: Sequence[str] | None = None) -> None:
    """Predict recordings or clips. An error is printed as one sentence; the exit code is then 1, after all others.

    Args:
        argv: the command line's arguments; by default those of the process.
    """
    argv = sys.argv[1:] if argv is None else argv
    arguments = _parser().parse_intermixed_args(argv)
    arguments.program, arguments.command = PROGRAM, shlex.join([PROGRAM, *argv])
    with stoppable(PROGRAM, KEPT):
        from mefusion.configuration.cli import exit_on_error

        with exit_on_error(PROGRAM):
            sys.exit(predict(arguments))


def predict(arguments: argparse.Namespace) -> int:
    """Predict what the command line names.

    Returns:
        0, or 1 if a recording or a clip could not be used.

    Raises:
        MefusionError: there is nothing to predict, or the bundle cannot be used.
    """
    bundle, arguments.recordings = take_bundle(arguments.recordings)
    if bool(arguments.recordings) == bool(arguments.clips):
        raise MefusionError("give recordings, as in mefusion-predict video.mp4, or clips with --clips manifest.csv")
    require_first(arguments.recordings)
    from mefusion.inference.bundle import CARD
    from mefusion.inference.predictor import load_bundle

    predictor = load_bundle(bundle)
    if predictor.is_shipped and not arguments.quiet:
        print(CAVEAT.format(card=bundle / CARD), flush=True)
    if arguments.clips:
        output = arguments.default_output if arguments.output is None else arguments.output
        return predict_manifest(predictor, arguments.clips, Path(output), quiet=arguments.quiet)
    return spot(arguments, predictor)


def take_bundle(texts: Sequence[str]) -> tuple[Path, list[str]]:
    """The bundle, which is the first argument if it is one and else that which comes with mefusion, and the rest."""
    from mefusion.inference.bundle import SHIPPED, is_bundle

    if texts and is_bundle(Path(texts[0])):
        return Path(texts[0]), [*texts[1:]]
    return SHIPPED, [*texts]


def require_first(texts: Sequence[str]) -> None:
    """Check that the first recording is there, since it may be a bundle whose name was mistyped.

    Raises:
        MefusionError: it is not.
    """
    paths, _ = split_arguments(texts)
    if paths and not paths[0].exists():
        raise MefusionError(f"{paths[0]} is not there: give recordings, and before them a bundle or none")


def predict_manifest(predictor: "Predictor", manifest: Path, output: Path, *, quiet: bool) -> int:
    """Predict the clips of a manifest, write `predictions.csv` and print how many are right, if that is known.

    Returns:
        0, or 1 if a clip could not be used.

    Raises:
        MefusionError: the manifest cannot be read, or no clip of it can be used.
    """
    from mefusion.common.files import write_table
    from mefusion.inference.clips import predict_clips, score_clips

    table, problems, notes = predict_clips(predictor, manifest)
    if not quiet:
        for note in notes:
            print(f"note: {note}")
    for problem in problems:
        print(f"{PROGRAM}: {problem}", file=sys.stderr, flush=True)
    if table.empty:
        raise MefusionError(f"{manifest} has no clip that can be used")
    file = output / manifest.resolve().parent.name / "predictions.csv"
    write_table(file, table)
    if not quiet:
        scores = score_clips(predictor, table)
        told = ""
        if scores is not None:
            told = f"; {scores['clips']} of them have a label and were not trained on: UF1 {scores['uf1']:.3f}"
        print(f"{len(table)} clip{'s' if len(table) > 1 else ''} predicted{told}; {file}")
    return 1 if problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Find the expressions in recordings and name them by a trained network; or name clips. The first "
        "argument may be a bundle, a folder that mefusion-export has written; without one, the bundle that comes with "
        "mefusion is used, which has seen rendered motion only.",
        epilog="A name is a guess of a network about a movement. It is not what a person feels, and no sign of a lie.",
    )
    add_arguments(parser, output="outputs/predict", recordings="*")
    parser.add_argument(
        "--clips", metavar="MANIFEST", type=Path, help="a manifest.csv of clips that are cut already, see the docs"
    )
    return parser


if __name__ == "__main__":
    main()
