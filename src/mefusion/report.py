"""`mefusion-report DIR...`: the pooled table of studies, their confusion matrices and contact sheets."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mefusion.errors import MefusionError

# --help has to answer at once: pandas, matplotlib and rich come in where they are used.

COLUMNS = (
    "study",
    "model",
    "tasks",
    "clips",
    "UF1",
    "UAR",
    "ACC",
    "WF1",
    "majority UF1",
)
AUXILIARY = (
    ("flow EPE px", "flow_epe", ".3f"),
    ("EPE / zero flow", "flow_epe_relative", ".2f"),
    ("landmark NME %", "landmarks_nme", ".2f"),
    ("dynamic image PSNR dB", "dynamic_image_psnr", ".1f"),
    ("PSNR of flat grey", "dynamic_image_psnr_flat", ".1f"),
    ("SSIM", "dynamic_image_ssim", ".2f"),
    ("cosine", "dynamic_image_cosine", ".3f"),
    ("rank accuracy", "rank_accuracy", ".2f"),
)
"""Columns that follow where a study has their task: title, key of the summary, format."""

_TEXT_COLUMNS = 3
_WIDE = 120  # characters
_CONTACT_SHEET_CLIPS = 6


def main(argv: Sequence[str] | None = None) -> int:
    """Report studies in the terminal, as Markdown and as PNG.

    Args:
        argv: the command line's arguments; by default those of the process.

    Returns:
        0, or 1 where a directory could not be reported (its reason is on stderr; the others are reported).
    """
    arguments = _parser().parse_args(argv)
    directories, errors = _find(arguments.directories)
    reported = []
    for directory in directories:
        try:
            summary = _summarise(directory)
            reported.append((directory, summary))
            _draw(directory, summary)
        except (MefusionError, OSError) as error:
            errors.append(_sentence(error))
    if reported:
        try:
            output = arguments.output or _default_output(directories)
            _write_markdown(output / "report.md", reported)
            _print_table([summary for _, summary in reported])
            print(f"Report: {output / 'report.md'}")
        except OSError as error:
            errors.append(_sentence(error))
    for sentence in errors:
        print(f"mefusion-report: {sentence}", file=sys.stderr)
    return 1 if errors else 0


def results_table(summaries: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """The table of studies.

    Args:
        summaries: what `results.pool` returned for each.

    Returns:
        Titles, `COLUMNS` and those of `AUXILIARY` that a study has; and a row of texts a study, with a dash where
        its task was off.
    """
    auxiliary = [column for column in AUXILIARY if any(column[1] in summary for summary in summaries)]
    titles = [*COLUMNS, *(title for title, _, _ in auxiliary)]
    return titles, [
        [*_recognition_row(summary), *(_number(summary.get(key), form) for _, key, form in auxiliary)]
        for summary in summaries
    ]


def _recognition_row(summary: dict[str, Any]) -> list[str]:
    provenance = summary["provenance"]
    numbers = [summary["uf1"], summary["uar"], summary["acc"], summary["wf1"], summary["majority"]["uf1"]]
    return [
        summary["study"],
        provenance["model"],
        _tasks(provenance["tasks"]),
        str(summary["clips"]),
        *(f"{value:.3f}" for value in numbers),
    ]


def notes(summaries: Sequence[dict[str, Any]]) -> list[str]:
    """What has to be known to read the table.

    Args:
        summaries: what `results.pool` returned for each study in the table.

    Returns:
        Sentences.
    """
    rules = ", ".join(sorted({f"`{summary['rule']}`" for summary in summaries}))
    folds = ", ".join(f"{summary['mean_of_folds_uf1']:.3f} ({summary['study']})" for summary in summaries)
    lines = [
        f"Each number is pooled over all folds of a study; the weights that predict follow the rule {rules}.",
        "Majority: always predicting the commonest class.",
        f"mean_of_folds_uf1, as older papers report it and not comparable with UF1: {folds}.",
    ]
    for summary in summaries:
        if partial := summary["provenance"].get("partial"):
            lines.append(f"{summary['study']} is not of the whole download: {', '.join(partial)}.")
    if any("flow_epe" in summary for summary in summaries):
        lines.append("EPE / zero flow: below 1 is better than predicting no motion.")
    if any("dynamic_image_psnr" in summary for summary in summaries):
        lines.append("PSNR of flat grey: of the best picture of one grey level. Rank accuracy: 0.50 is chance.")
    if len({summary["provenance"].get("sample_list_hash") for summary in summaries}) > 1:
        lines.append("The studies do not all cover the same clips: compare only those with one sample list.")
    return lines


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mefusion-report",
        description="Pool studies; write their table, confusion matrices and contact sheets.",
    )
    parser.add_argument(
        "directories",
        metavar="DIR",
        nargs="+",
        type=Path,
        help="a study's directory, or a directory that holds studies, such as outputs/",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        help="where report.md goes (default: report/ in the study, or beside the studies where there are "
        "several); the figures go to each study's report/",
    )
    return parser


def _find(directories: Sequence[Path]) -> tuple[list[Path], list[str]]:
    from mefusion import results

    found: dict[Path, Path] = {}
    errors = []
    for directory in directories:
        try:
            found |= {path.resolve(): path for path in results.find_studies(directory)}
        except MefusionError as error:
            errors.append(_sentence(error))
    return list(found.values()), errors


def _summarise(directory: Path) -> dict[str, Any]:
    from mefusion import results

    summary = results.pool(directory)
    if summary["rule"] == "oracle":
        raise MefusionError(
            f"{directory} follows the rule 'oracle', weights chosen on the test subjects: no result, so not "
            "reported; its scores are in its summary.json."
        )
    return summary


def _draw(directory: Path, summary: dict[str, Any]) -> None:
    import numpy as np

    from mefusion import plots

    report = directory / "report"
    report.mkdir(parents=True, exist_ok=True)
    title = f"{summary['study']}\nUF1 {summary['uf1']:.3f}, {summary['clips']} clips of {summary['folds']} folds"
    matrix = np.array(summary["confusion_matrix"])
    figure = plots.confusion_matrix_figure(matrix, summary["classes"], title=title)
    figure.savefig(report / "confusion_matrix.png", dpi=150)
    (report / "contact_sheet.png").unlink(missing_ok=True)  # one of an earlier run may show other clips
    folds = [directory / "folds" / str(name) for name in summary["provenance"]["folds"]]
    files = [fold / "examples.safetensors" for fold in folds]
    examples = [example for file in files if file.is_file() for example in plots.load_examples(file)]
    if examples:
        chosen = _choose(examples, summary["classes"])
        plots.contact_sheet(chosen, title=summary["study"]).savefig(report / "contact_sheet.png", dpi=120)


def _choose(examples: list[dict[str, Any]], classes: Sequence[str]) -> list[dict[str, Any]]:
    """A few clips, of each class in turn and of subjects not shown yet: never picked by how well they did."""
    chosen: list[dict[str, Any]] = []
    left = list(examples)
    while left and len(chosen) < _CONTACT_SHEET_CLIPS:
        for name in classes:
            candidates = [example for example in left if example["label"] == name]
            seen = [example["subject"] for example in chosen]
            if candidates and len(chosen) < _CONTACT_SHEET_CLIPS:
                best = min(candidates, key=lambda example: seen.count(example["subject"]))
                chosen.append(best)
                left = [example for example in left if example is not best]
    return chosen


def _default_output(directories: Sequence[Path]) -> Path:
    if len(directories) == 1:
        return directories[0] / "report"
    return Path(os.path.commonpath([directory.resolve() for directory in directories])) / "report"


def _print_table(summaries: Sequence[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # A file or a pipe has no width of its own; a narrow terminal gets the texts in lines below the numbers.
    console = Console(width=None if sys.stdout.isatty() else 160)
    narrow = console.width < _WIDE
    titles, rows = results_table(summaries)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("#",) if narrow else COLUMNS[:_TEXT_COLUMNS]:
        table.add_column(name, overflow="fold")
    for name in titles[_TEXT_COLUMNS:]:
        table.add_column(name, justify="right", width=max(6, *map(len, name.split())))
    for i, row in enumerate(rows, start=1):
        texts = [str(i)] if narrow else row[:_TEXT_COLUMNS]
        table.add_row(*map(Text, [*texts, *row[_TEXT_COLUMNS:]]))
    console.print(table)
    lines = [f"{i}: {', '.join(row[:_TEXT_COLUMNS])}" for i, row in enumerate(rows, start=1)] if narrow else []
    for line in [*lines, *notes(summaries)]:
        console.print(Text(line))


def _write_markdown(path: Path, reported: Sequence[tuple[Path, dict[str, Any]]]) -> None:
    summaries = [summary for _, summary in reported]
    titles, rows = results_table(summaries)
    alignment = ["---"] * _TEXT_COLUMNS + ["---:"] * (len(titles) - _TEXT_COLUMNS)
    lines = ["# Results", "", *map(_markdown_row, (titles, alignment, *rows))]
    for note in notes(summaries):
        lines += ["", note]
    for directory, summary in reported:
        lines += ["", *_markdown_study(directory, summary, path.parent)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _markdown_study(directory: Path, summary: dict[str, Any], start: Path) -> list[str]:
    provenance = summary["provenance"]
    keys = ("data", "labels", "seed", "rule", "config_hash", "sample_list_hash", "git_revision", "device")
    facts = [f"{key} `{provenance[key]}`" for key in keys if key in provenance]
    classes = [f"{name} {score['f1']:.3f} ({score['clips']} clips)" for name, score in summary["per_class"].items()]
    lines = [f"## {summary['study']}", "", f"F1 of each class: {', '.join(classes)}."]
    for name, part in summary.get("datasets", {}).items():
        lines.append(f"On {name}: UF1 {part['uf1']:.3f}, UAR {part['uar']:.3f}, ACC {part['acc']:.3f}.")
    lines += ["", f"Provenance: {', '.join(facts)}."]
    for name in ("confusion_matrix", "contact_sheet"):
        picture = directory / "report" / f"{name}.png"
        if picture.is_file():
            link = Path(os.path.relpath(picture.resolve(), start.resolve())).as_posix()
            lines += ["", f"![{name.replace('_', ' ')}](<{link}>)"]
    return lines


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _tasks(weights: dict[str, float]) -> str:
    names = [name if weight == 1 else f"{name} x{weight:g}" for name, weight in weights.items() if weight]
    return ", ".join(names) or "-"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _sentence(error: MefusionError | OSError) -> str:
    if isinstance(error, OSError):
        return f"{error.filename} cannot be written ({error.strerror}); make it writable."
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
