"""The command line of `mefusion-report`."""

import argparse
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mefusion.common.errors import MefusionError
from mefusion.common.quiet import quiet_matplotlib
from mefusion.processes.stopping import stoppable

# pandas, matplotlib and rich are imported where they are used, so that --help answers at once.
if TYPE_CHECKING:
    from mefusion.report.reading import ReportedStudy


def main(argv: Sequence[str] | None = None) -> int:
    """Report studies in the terminal and as Markdown, HTML, LaTeX and CSV files.

    Args:
        argv: the command line's arguments; by default those of the process.

    Returns:
        0; or 1 if a directory or a figure could not be reported. stderr says why, and all others are reported.
    """
    argv = sys.argv[1:] if argv is None else argv
    arguments = _parser().parse_args(argv)
    with stoppable("mefusion-report", "the studies are as before: run the same command to write the report"):
        return _report(arguments, shlex.join(["mefusion-report", *argv]))


def _report(arguments: argparse.Namespace, command: str) -> int:
    if sentence := _misused(arguments):
        print(f"mefusion-report: {sentence}", file=sys.stderr)
        return 1
    from mefusion.annotation.labelling.answers import is_annotation_run

    if any(map(is_annotation_run, arguments.directories)):
        return _report_annotation(arguments, command)
    quiet_matplotlib()
    from mefusion.spotting_studies.record import find_spotting_studies

    found = {directory: find_spotting_studies(directory) for directory in arguments.directories}
    if any(found.values()):
        return _report_spotting(arguments, found, command)
    reported, skipped, errors = _read(arguments.directories, arguments.partial)
    if arguments.pivot:
        return _report_pivot(arguments, reported, skipped, errors)
    if reported:
        from mefusion.report.content import make_document
        from mefusion.report.reading import find_reference
        from mefusion.report.writers import print_document, to_frame, write_document

        try:
            reference = find_reference(reported, arguments.reference) if arguments.reference else None
            document, broken = make_document(reported, reference, command)
            errors += broken
            output = arguments.output or _default_output([study.directory for study in reported])
            write_document(output, document, to_frame(reported))
            print_document(document)
            print(_written(output))
        except MefusionError as error:
            errors.append(str(error))
    return _finish(bool(reported), skipped, errors)


def _finish(reported: bool, skipped: Sequence[str], errors: Sequence[str]) -> int:
    """Print the sentences on studies without a score, which are errors if no study has one, and the errors."""
    if reported:
        for sentence in skipped:
            print(f"note: {sentence}")
    else:
        errors = [*errors, *skipped]
    for sentence in errors:
        print(f"mefusion-report: {sentence}", file=sys.stderr)
    return 1 if errors else 0


def _misused(arguments: argparse.Namespace) -> str | None:
    """What is wrong with the options beside --pivot; None if nothing is."""
    alone = [f"--{name}" for name in ("metric", "names") if getattr(arguments, name) is not None]
    if not arguments.pivot:
        return f"{alone[0]} belongs to --pivot: give the settings of the table too." if alone else None
    settings = arguments.pivot.split(",")
    if len(settings) > 2 or not all(settings) or len({*settings}) < len(settings):
        return f"--pivot {arguments.pivot}: give one setting, or two different ones such as model,data."
    if arguments.reference:
        return "--reference is for the report, not for --pivot: give one of the two."
    return None


def _report_pivot(
    arguments: argparse.Namespace, studies: "list[ReportedStudy]", skipped: list[str], errors: list[str]
) -> int:
    """Print and write the table of --pivot; the sentences tell of studies without a score, and of errors."""
    if studies:
        from mefusion.report.pivot import make_pivot, read_names, write_pivot

        try:
            names = read_names(arguments.names) if arguments.names else {}
            pivot = make_pivot(studies, arguments.pivot.split(","), arguments.metric or "uf1", names)
            output = arguments.output or _default_output([study.directory for study in studies])
            write_pivot(output, pivot)
            print(pivot.markdown())
            print(f"Table: {output / 'pivot.md'}, pivot.tex")
        except MefusionError as error:
            errors.append(str(error))
    return _finish(bool(studies), skipped, errors)


def _report_spotting(arguments: argparse.Namespace, found: Mapping[Path, Sequence[Path]], command: str) -> int:
    """Report spotting studies; `found` are those of each directory of the command line."""
    from mefusion.report.spotting.content import make_document
    from mefusion.report.spotting.tables import to_frame
    from mefusion.report.writers import print_document, write_document
    from mefusion.spotting_studies.record import read_spotting_study

    errors = [
        f"{directory} has no spotting study, and others of the command have: report the two kinds by a command each."
        for directory, own in found.items()
        if not own
    ]
    studies = []
    for directory in {path.resolve(): path for own in found.values() for path in own}.values():
        try:
            studies.append(read_spotting_study(directory))
        except (MefusionError, OSError) as error:
            errors.append(_sentence(error, directory))
    if arguments.pivot:
        errors.append("--pivot arranges studies of recognition: give spotting studies without it.")
    elif arguments.reference:
        errors.append("--reference compares studies of recognition: give spotting studies without it.")
    elif studies:
        output = arguments.output or _default_output([study.directory for study in studies])
        document = make_document(studies, command, output)
        try:
            write_document(output, document, to_frame(studies))
            print_document(document)
            print(_written(output))
        except MefusionError as error:
            errors.append(str(error))
    for sentence in errors:
        print(f"mefusion-report: {sentence}", file=sys.stderr)
    return 1 if errors else 0


def _report_annotation(arguments: argparse.Namespace, command: str) -> int:
    """Write the page of each annotation run."""
    from mefusion.annotation.labelling.answers import is_annotation_run
    from mefusion.report.annotation.page import write_page
    from mefusion.report.annotation.run import read_run

    errors = []
    if arguments.reference or (arguments.output and len(arguments.directories) > 1):
        errors.append("annotation runs have a page each: give no --reference, and --output with one run alone.")
    for directory in arguments.directories if not errors else ():
        if not is_annotation_run(directory):
            errors.append(f"{directory} is no annotation run, and others of the command are: report them apart.")
            continue
        try:
            page = (arguments.output or directory / "report") / "report.html"
            write_page(page, read_run(directory), command)
            print(f"Report: {page}")
        except (MefusionError, OSError) as error:
            errors.append(_sentence(error, directory))
    for sentence in errors:
        print(f"mefusion-report: {sentence}", file=sys.stderr)
    return 1 if errors else 0


def _written(output: Path) -> str:
    return f"Report: {output / 'report.html'}, report.md, tables.tex, results.csv, figures/"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mefusion-report",
        description="Report studies: tables, confidence intervals, comparisons and figures.",
    )
    parser.add_argument(
        "directories",
        metavar="DIR",
        nargs="+",
        type=Path,
        help="directory of a study, or a directory with several studies, such as outputs/; or of spotting studies, as "
        "outputs/spot/; or of a run of mefusion-annotate",
    )
    parser.add_argument(
        "--reference",
        metavar="STUDY",
        help="compare all studies with this one; give a part of its name, or settings in which the studies differ, "
        "such as tasks.flow=0,seeds=[0]",
    )
    parser.add_argument(
        "--partial",
        action="store_true",
        help="report incomplete studies too, from the folds that are complete; the report says so",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        help="folder of the report (default: report/ in the study; for several studies, report/ beside them)",
    )
    parser.add_argument(
        "--pivot",
        metavar="ROWS[,COLUMNS]",
        help="instead of the report, print one table of a score by one or two settings, such as model,data; also as "
        "pivot.md and pivot.tex",
    )
    parser.add_argument("--metric", help="score of this table, by its name in summary.json (default: uf1)")
    parser.add_argument(
        "--names",
        metavar="FILE",
        type=Path,
        help="YAML file with the names that this table prints, such as mol_tiny: MOL (tiny)",
    )
    return parser


def _read(directories: Sequence[Path], partial: bool) -> "tuple[list[ReportedStudy], list[str], list[str]]":
    """The studies of the command line; a sentence for each that has no score; a sentence for each error."""
    from mefusion.report.reading import read_study, sort_studies
    from mefusion.studies.record import find_studies
    from mefusion.studies.results import NoScoreError

    found: dict[Path, Path] = {}
    reported: dict[str, ReportedStudy] = {}
    skipped, errors = [], []
    for directory in directories:
        try:
            found |= {path.resolve(): path for path in find_studies(directory)}
        except (MefusionError, OSError) as error:
            errors.append(_sentence(error, directory))
    for directory in found.values():
        try:
            study = read_study(directory, partial)
            if study is not (first := reported.setdefault(study.name, study)):
                errors.append(f"{directory} is the same study as {first.directory}; give one of them.")
        except NoScoreError as error:
            skipped.append(str(error))
        except (MefusionError, OSError) as error:
            errors.append(_sentence(error, directory))
    return sort_studies([*reported.values()]), skipped, errors


def _sentence(error: Exception, directory: Path) -> str:
    if isinstance(error, OSError):  # such as a folder without read permission
        return f"{directory} cannot be read ({error.strerror}); check its permissions."
    return str(error)


def _default_output(directories: Sequence[Path]) -> Path:
    if len(directories) == 1:
        return directories[0] / "report"
    return Path(os.path.commonpath([directory.resolve().parent for directory in directories])) / "report"
