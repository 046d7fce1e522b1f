"""`mefusion-annotate`: recordings into clips that a multimodal language model has labelled."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mefusion.processes.stopping import stoppable

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
        0, or 1 if a video could not be read, or a segment has no answer that it could have.

    Raises:
        MefusionError: a setting is missing or not allowed, a package is not installed, or another process annotates
            there.
    """
    from omegaconf import OmegaConf

    from mefusion.annotation.labelling.settings import require_labels, require_server
    from mefusion.common.errors import MefusionError
    from mefusion.common.files import try_lock, write_text
    from mefusion.configuration.cli import compose, configuration_folder
    from mefusion.configuration.preparing import typed_settings
    from mefusion.configuration.schema import Stage

    config = compose(overrides, configuration_folder("conf") / "annotate", name="annotate")
    settings: AnnotateSettings = typed_settings(config)
    output = Path(settings.output_dir)
    failed = False
    if settings.stage in (Stage.all, Stage.label):  # what is missing is told before hours of extraction
        require_labels(settings.vocabulary)
        if not settings.dry_run:
            require_server(settings.api)
    with try_lock(output) as alone:
        if not alone:
            raise MefusionError(f"another process annotates in {output}: wait for it, or give another output_dir")
        write_text(output / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
        if settings.stage in (Stage.all, Stage.extract):
            failed |= _extract(settings, output, quiet=quiet)
        if settings.stage in (Stage.all, Stage.label):
            failed |= _label(settings, output, quiet=quiet)
        if settings.stage in (Stage.all, Stage.export) and not settings.dry_run:
            failed |= _export(settings, output, quiet=quiet)
        if settings.stage == Stage.evaluate:
            _evaluate(settings, output, quiet=quiet)
    return int(failed)


def _extract(settings: "AnnotateSettings", output: Path, *, quiet: bool) -> bool:
    """Stage extract; whether a video could not be read."""
    from mefusion.annotation.extraction.extraction import extract
    from mefusion.annotation.extraction.settings import ExtractSettings
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


def _label(settings: "AnnotateSettings", output: Path, *, quiet: bool) -> bool:
    """Stage label; whether an answer is missing that could be had."""
    import importlib.util

    from mefusion.annotation.agreement.consistency import write_consistency
    from mefusion.annotation.extraction.contents import VideoContents
    from mefusion.annotation.extraction.extraction import read_segments
    from mefusion.annotation.labelling.settings import LabelSettings
    from mefusion.common.errors import MefusionError

    for package in ("openai", "pydantic"):
        if importlib.util.find_spec(package) is None:
            raise MefusionError(f"stage=label needs the package {package}: pip install 'mefusion[annotate]'")
    from mefusion.annotation.labelling.labelling import label_segments

    chosen = LabelSettings(
        api=settings.api,
        request=settings.request,
        budget=settings.budget,
        vocabulary=settings.vocabulary,
        runs=settings.runs,
        dry_run=settings.dry_run,
    )
    segments = read_segments(output)
    if not any(output.glob("videos/*/DONE")):
        raise MefusionError(f"{output} has no extracted video: run stage=extract with source.path=DIR first")
    request = settings.request
    contents = VideoContents(
        output, size=request.size, picture=request.picture, fps=request.fps, least=request.least, most=request.most
    )
    done = label_segments(segments, contents, chosen, output, lambda text: None if quiet else print(text, flush=True))
    _tell(done.problems)
    if settings.dry_run:
        return bool(done.problems)
    found = write_consistency(output, segments, chosen.labels, settings.runs)
    if not quiet:
        counts = ", ".join(f"{count} {status}" for status, count in done.statuses.items())
        print(
            f"{done.answers} of {done.calls} calls are answered: {counts}; {done.requests} requests, {done.usd:.2f} USD"
        )
        if found and found["kappa"] is not None:
            print(f"Fleiss' kappa of {settings.runs} runs {found['kappa']:.2f}. {found['meaning']}", flush=True)
    return bool(done.problems)


def _export(settings: "AnnotateSettings", output: Path, *, quiet: bool) -> bool:
    """Stage export; whether a video could not be read any more."""
    from mefusion.annotation.export.export import export
    from mefusion.annotation.extraction.extraction import read_segments
    from mefusion.annotation.labelling.table import read_labels

    labels = read_labels(output, [*settings.vocabulary.labels], settings.runs, read_segments(output))
    labelled = len(labels) > 0
    done = export(
        output,
        labels if labelled else None,
        settings.mapping.by_label(),
        settings.export,
        workers=settings.workers,
        quiet=quiet,
    )
    _tell(done.problems)
    if not quiet:
        told = f"labels of a model, not truth; {done.rejected} segments rejected, see {output / 'rejected.csv'}"
        print(
            f"{done.clips} clips in {output / 'manifest.csv'}, "
            + (told if labelled else "without emotions: nothing is labelled yet"),
            flush=True,
        )
    return bool(done.problems)


def _evaluate(settings: "AnnotateSettings", output: Path, *, quiet: bool) -> None:
    """Stage evaluate."""
    from mefusion.annotation.agreement.evaluation import describe, evaluate_run
    from mefusion.annotation.extraction.extraction import read_segments

    found = evaluate_run(
        output,
        read_segments(output),
        [*settings.vocabulary.labels],
        settings.mapping.by_label(),
        settings.runs,
        settings.evaluate,
    )
    if not quiet:
        print("\n".join(describe(found)), flush=True)


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
