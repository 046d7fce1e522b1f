"""`mefusion-spot VIDEO...`: find when the faces of recordings moved; `data=NAME`: of a dataset, and score it."""

import argparse
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from mefusion.common.errors import MefusionError
from mefusion.processes.stopping import stoppable

# --help has to answer at once, and Ctrl-C from the start: what takes time to import comes in where it is used.
if TYPE_CHECKING:
    from mefusion.configuration.schema import SpotSettings
    from mefusion.inference.predictor import Predictor

PROGRAM = "mefusion-spot"
KEPT = "finished recordings and minutes are kept: run the same command to go on"


def main(argv: Sequence[str] | None = None) -> None:
    """Spot recordings. An error is printed as one sentence; the exit code is then 1, after all others are done.

    Args:
        argv: the command line's arguments; by default those of the process.
    """
    argv = sys.argv[1:] if argv is None else argv
    arguments = _parser().parse_intermixed_args(argv)
    arguments.program, arguments.command = PROGRAM, shlex.join([PROGRAM, *argv])
    with stoppable(PROGRAM, KEPT):
        from mefusion.configuration.cli import exit_on_error

        with exit_on_error(PROGRAM):
            sys.exit(spot(arguments))


def spot(arguments: argparse.Namespace, predictor: "Predictor | None" = None) -> int:
    """Spot the recordings of the command line, and recognise their events if there is a network.

    Returns:
        0, or 1 if a recording could not be read to its end, or an event could not be recognised.

    Raises:
        MefusionError: a setting is not allowed, or there is no recording.
    """
    from mefusion.spotting.listing import list_recordings

    paths, overrides = split_arguments(arguments.recordings)
    settings = resolve_spotting([f"output_dir={arguments.default_output}", *overrides, *_options(arguments)])
    if arguments.output is not None:
        settings.output_dir = arguments.output  # as it is: Hydra would read 1_000 as a number
    if (settings.data, settings.recognise, settings.workers) != (None, None, None):
        require_dataset(settings, paths, arguments.program)
        return spot_dataset(settings, arguments)
    recordings = list_recordings(paths)
    failed = False
    for name, path in recordings.items():
        try:
            problems = spot_one(path, Path(settings.output_dir) / name, settings, arguments, predictor)
        except MefusionError as error:
            problems = [str(error)]
        for problem in problems:
            print(f"{arguments.program}: {problem}", file=sys.stderr, flush=True)
        failed = failed or bool(problems)
    return int(failed)


def resolve_spotting(overrides: Sequence[str]) -> "SpotSettings":
    """Settings of conf/spot.yaml with overrides.

    Raises:
        MefusionError: a value is not allowed.
    """
    from mefusion.configuration.cli import compose
    from mefusion.configuration.preparing import typed_settings

    return typed_settings(compose(overrides, name="spot"))


def require_dataset(settings: "SpotSettings", paths: Sequence[Path], program: str) -> None:
    """Check that a command line names a dataset of recordings and nothing else.

    Raises:
        MefusionError: it does not.
    """
    if settings.data is None:
        given = f"recognise={settings.recognise}" if settings.recognise else f"workers={settings.workers}"
        raise MefusionError(
            f"{given} is for a dataset of recordings: give data= too; what is found in your own recordings is named by "
            "mefusion-predict BUNDLE VIDEO"
        )
    if program != PROGRAM:
        raise MefusionError(f"data= is for {PROGRAM}: give {PROGRAM} data=NAME data.root=DIR recognise=STUDY")
    if paths:
        raise MefusionError(
            f"data={settings.data.get('name')} and {paths[0]}: give the recordings of a dataset, or your own, not both"
        )


def spot_dataset(settings: "SpotSettings", arguments: argparse.Namespace) -> int:
    """Spot the recordings of a dataset, score them and print a line about the scores.

    Returns:
        0, or 1 if a recording could not be read.

    Raises:
        MefusionError: the dataset cannot be read, or the events cannot be recognised.
    """
    from mefusion.configuration.recordings import make_study, provenance_of
    from mefusion.report.recording.result import show_result
    from mefusion.spotting_studies.record import headline
    from mefusion.spotting_studies.study import run_study

    study = make_study(settings)
    problems = study.facts["problems"]
    if problems and not arguments.quiet:
        print(f"{len(problems)} remarks on the dataset's tables, see spotting.json; the first: {problems[0]}")
    scores, facts = run_study(
        study,
        show_result,
        provenance=provenance_of(settings, arguments.command),
        overlay=bool(arguments.overlay),
        workers=settings.workers,
        quiet=arguments.quiet,
    )
    for row in facts["left_out"]:
        print(f"{PROGRAM}: {row['recording']} is left out: {row['reason']}", file=sys.stderr, flush=True)
    for problem in facts["recording_problems"]:
        print(f"{PROGRAM}: {problem}", file=sys.stderr, flush=True)
    if not arguments.quiet:
        print(headline(facts, scores))
        print(f"{study.directory}; tables and figures: mefusion-report {study.directory}")
    return int(bool(facts["left_out"]))


def spot_one(
    path: Path,
    folder: Path,
    settings: "SpotSettings",
    arguments: argparse.Namespace,
    predictor: "Predictor | None" = None,
) -> list[str]:
    """Spot one recording, recognise its events if there is a network, draw the result and print a line about it.

    What was drawn before, of the same events and by the same network, is not drawn again.

    Returns:
        A sentence for each thing that could not be read or recognised.

    Raises:
        MefusionError: it cannot be read.
    """
    from mefusion.clips.stream import Stream
    from mefusion.commands.recording import process
    from mefusion.common.progress import seconds_shown
    from mefusion.report.recording.result import summarise

    stream = Stream(path, arguments.fps)
    seconds = stream.facts().seconds

    def shown(stage: str) -> AbstractContextManager[Callable[[float], None]]:
        description = f"{path.name}: {stage}" if stage else path.name
        return seconds_shown(total=seconds, description=description, quiet=arguments.quiet)

    overlay = arguments.overlay is not False
    spotted, problems = process(
        stream, folder, settings.spotting, predictor, command=arguments.command, overlay=overlay, shown=shown
    )
    if not arguments.quiet:
        print(summarise(spotted), flush=True)
    return problems


def split_arguments(texts: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Tell recordings from settings such as `spotting.low_pass=4`, which are no files."""
    is_setting = [bool(re.match(r"(\+{1,2}|~)?[\w./@]+=", text)) and not Path(text).exists() for text in texts]
    paths = [Path(text) for text, setting in zip(texts, is_setting, strict=True) if not setting]
    return paths, [text for text, setting in zip(texts, is_setting, strict=True) if setting]


def _options(arguments: argparse.Namespace) -> list[str]:
    """The command's options of spotting as overrides."""
    given = {"spotting": arguments.method, "spotting.face": arguments.face}
    return [f"{key}={value}" for key, value in given.items() if value is not None]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Find when the faces of recordings moved: micro- and macro-expressions, without training. With "
        "data=, those of a dataset, and score what is found.",
        epilog="What is found is motion of a face. It is not what a person feels, and no sign of a lie.",
    )
    add_arguments(parser, output="outputs/spot")
    return parser


def add_arguments(parser: argparse.ArgumentParser, *, output: str, recordings: str = "+") -> None:
    """Add the arguments that say which recordings are spotted, and how.

    Args:
        parser: of a command.
        output: default folder of the results.
        recordings: how many there have to be, as argparse's `nargs`.
    """
    parser.add_argument(
        "recordings",
        metavar="VIDEO",
        nargs=recordings,
        help="video files, folders of them, or folders of numbered images; or settings of conf/spot.yaml, such as "
        "spotting.low_pass=4, and data=NAME data.root=DIR for a dataset of recordings, which is scored",
    )
    parser.add_argument("--face", metavar="FACE", help="largest (default), all, or the number of a track")
    parser.add_argument("--method", metavar="METHOD", help="displacement (default), published or apex_score")
    parser.add_argument("--fps", metavar="RATE", type=float, default=30, help="of folders of images (default: 30)")
    parser.add_argument("--output", metavar="DIR", help=f"folder of the results (default: {output})")
    parser.set_defaults(default_output=output)  # which a setting such as output_dir=DIR replaces
    parser.add_argument(
        "--overlay",
        action=argparse.BooleanOptionalAction,
        help="whether overlay.mp4 is written, which takes a third of the time (default: yes, but not of a dataset)",
    )
    parser.add_argument("--quiet", action="store_true", help="print errors only")


if __name__ == "__main__":
    main()
