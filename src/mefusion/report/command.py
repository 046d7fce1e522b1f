"""The command line of `mefusion-report`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mefusion.common.errors import MefusionError
from mefusion.common.stopping import stoppable

# --help has to answer at once: pandas, matplotlib and rich come in where they are used.
if TYPE_CHECKING:
    from mefusion.report.reading import ReportedStudy


def main(argv: Sequence[str] | None = None) -> int:
    """Report studies in the terminal, as Markdown, HTML, LaTeX and CSV.

    Args:
        argv: the command line's arguments; by default those of the process.

    Returns:
        0, or 1 where a directory or a figure could not be reported (its reason is on stderr; the others are reported).
    """
    arguments = _parser().parse_args(argv)
    with stoppable("mefusion-report", "the studies are as before: the same command writes the report again"):
        return _report(arguments)


def _report(arguments: argparse.Namespace) -> int:
    reported, errors = _read(arguments.directories, arguments.partial)
    if reported:
        from mefusion.report.content import make_document
        from mefusion.report.reading import find_reference
        from mefusion.report.writers import print_document, write_document

        try:
            reference = find_reference(reported, arguments.reference) if arguments.reference else None
            document, broken = make_document(reported, reference)
            errors += broken
            output = arguments.output or _default_output([study.directory for study in reported])
            write_document(output, document, reported)
            print_document(document)
            print(f"Report: {output / 'report.html'}, report.md, tables.tex, results.csv, figures/")
        except MefusionError as error:
            errors.append(str(error))
    for sentence in errors:
        print(f"mefusion-report: {sentence}", file=sys.stderr)
    return 1 if errors else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mefusion-report",
        description="Pool studies; write their tables, intervals, comparisons and figures.",
    )
    parser.add_argument(
        "directories",
        metavar="DIR",
        nargs="+",
        type=Path,
        help="a study's directory, or a directory that holds studies, such as outputs/",
    )
    parser.add_argument(
        "--reference",
        metavar="STUDY",
        help="compare every study with this one: a part of its name, or swept settings such as tasks.flow=0,seeds=[0]",
    )
    parser.add_argument(
        "--partial", action="store_true", help="of a study that lacks folds report those that are complete, and say so"
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        help="where the report goes (default: report/ in the study, or beside the studies where there are several)",
    )
    return parser


def _read(directories: Sequence[Path], partial: bool) -> "tuple[list[ReportedStudy], list[str]]":
    from mefusion.report.reading import read_study, sort_studies
    from mefusion.studies.record import find_studies

    found: dict[Path, Path] = {}
    reported: dict[str, ReportedStudy] = {}
    errors = []
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
        except (MefusionError, OSError) as error:
            errors.append(_sentence(error, directory))
    return sort_studies([*reported.values()]), errors


def _sentence(error: Exception, directory: Path) -> str:
    if isinstance(error, OSError):  # such as a folder that may not be looked into
        return f"{directory} cannot be read ({error.strerror}); make it readable."
    return str(error)


def _default_output(directories: Sequence[Path]) -> Path:
    if len(directories) == 1:
        return directories[0] / "report"
    return Path(os.path.commonpath([directory.resolve().parent for directory in directories])) / "report"
