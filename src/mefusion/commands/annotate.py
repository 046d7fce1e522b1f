"""`mefusion-annotate`: recordings into clips that a multimodal language model has labelled."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mefusion.common.stopping import stoppable

# --help has to answer at once, and Ctrl-C from the start: what takes time to import comes in where it is used.
if TYPE_CHECKING:
    from mefusion.configuration.schema import AnnotateSettings

PROGRAM = "mefusion-annotate"
KEPT = "finished videos, answers and clips are kept: run the same command to go on"


def main(argv: Sequence[str] | None = None) -> None:
    """Annotate recordings. An error is printed as one sentence; the exit code is then 1, after all others are done.

    Args:
        argv: the command line's arguments; by default those of the process.
    """
    arguments = _parser().parse_intermixed_args(sys.argv[1:] if argv is None else argv)
    with stoppable(PROGRAM, KEPT):
        from mefusion.configuration.cli import exit_on_error

        with exit_on_error(PROGRAM):
            sys.exit(annotate(arguments.settings, quiet=arguments.quiet))


def annotate(overrides: Sequence[str], *, quiet: bool = False) -> int:
    """Run the stages that the settings name.

    Args:
        overrides: of conf/annotate.yaml.
        quiet: whether only errors are printed.

    Returns:
        0, or 1 if a video could not be read.

    Raises:
        MefusionError: a setting is not allowed, a package is not installed, or another process annotates there.
    """
    from omegaconf import OmegaConf

    from mefusion.common.errors import MefusionError
    from mefusion.common.files import try_lock, write_text
    from mefusion.configuration.cli import compose, configuration_folder
    from mefusion.configuration.preparing import typed_settings
    from mefusion.configuration.schema import Stage

    config = compose(overrides, configuration_folder("conf") / "annotate", name="annotate")
    settings: AnnotateSettings = typed_settings(config)
    output = Path(settings.output_dir)
    failed = False
    with try_lock(output) as alone:
        if not alone:
            raise MefusionError(f"another process annotates in {output}: wait for it, or give another output_dir")
        write_text(output / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
        if settings.stage in (Stage.all, Stage.extract):
            failed |= _extract(settings, output, quiet=quiet)
        if settings.stage in (Stage.all, Stage.export):
            failed |= _export(settings, output, quiet=quiet)
    return int(failed)


def _extract(settings: "AnnotateSettings", output: Path, *, quiet: bool) -> bool:
    """Stage extract; whether a video could not be read."""
    from mefusion.annotation.extraction import extract
    from mefusion.annotation.settings import ExtractSettings
    from mefusion.common.errors import MefusionError

    if settings.source.path is None:
        raise MefusionError("there is no recording: give source.path=DIR, a folder of videos")
    chosen = ExtractSettings(
        vad=settings.vad,
        speaker=settings.speaker,
        transcript=settings.transcript,
        segments=settings.segments,
        allow_broken=settings.allow_broken,
    )
    done = extract(Path(settings.source.path), output, chosen, settings.identity, workers=settings.workers, quiet=quiet)
    _tell(done.problems)
    if not quiet:
        seconds = sum(segment.end - segment.start for segment in done.segments)
        people = len({segment.subject for segment in done.segments})
        print(
            f"{len(done.segments)} segments of {people} subjects, {seconds:.0f} s; "
            f"{done.rejected} rejected, see {output / 'rejected.csv'}",
            flush=True,
        )
    return bool(done.problems)


def _export(settings: "AnnotateSettings", output: Path, *, quiet: bool) -> bool:
    """Stage export; whether a video could not be read any more."""
    from mefusion.annotation.export import export

    done = export(output, None, {}, settings.export, workers=settings.workers, quiet=quiet)
    _tell(done.problems)
    if not quiet:
        print(f"{done.clips} clips in {output / 'manifest.csv'}, without emotions: nothing is labelled yet", flush=True)
    return bool(done.problems)


def _tell(problems: Sequence[str]) -> None:
    for problem in problems:
        print(f"{PROGRAM}: {problem}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Make labelled clips of recordings: stretches of speech, the face that speaks, and emotions as a "
        "multimodal language model names them.",
        epilog="The labels are a model's, not truth. Faces and voices are personal data: see docs/annotation.md.",
    )
    parser.add_argument(
        "settings",
        metavar="KEY=VALUE",
        nargs="*",
        help="settings of conf/annotate.yaml: source.path=DIR, output_dir=DIR, stage=extract, label, export, evaluate "
        "or all; groups of conf/annotate, such as vad=webrtc",
    )
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    return parser


if __name__ == "__main__":
    main()
