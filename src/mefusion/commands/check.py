"""`mefusion-check`: list the contents of a dataset's download, and find errors in it or in its prepared clips."""

import sys
from typing import TYPE_CHECKING

# --help has to answer at once, and Ctrl-C from the start: what takes time to import comes in where it is used.
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from mefusion.common.errors import MefusionError
from mefusion.processes.stopping import stoppable

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from omegaconf import DictConfig

    from mefusion.configuration.preparing import Preparation
    from mefusion.datasets.reading.counts import CountsByScheme

WIDE = 120  # width of the tables in characters if the output is not a terminal


def check(config: "DictConfig") -> None:
    """Read a source's tables, check its files and print what is found; with `prepared`, see `check_prepared`.

    Raises:
        MefusionError: there are problems.
    """
    from mefusion.clips.table import clip_notes
    from mefusion.configuration.preparing import resolve_preparation
    from mefusion.datasets.labels import label_clips
    from mefusion.datasets.reading.counts import differences
    from mefusion.evaluation.predictions import sample_list_hash

    console = Console(soft_wrap=True, highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, WIDE)
    preparation = resolve_preparation(config)
    if config.prepared:
        check_prepared(preparation, console)
        return
    source, options = preparation.source, preparation.options
    scheme = options.labels
    table = source.table(workers=options.workers)
    subjects = table["subject"].nunique()
    console.print(escape(f"{source.name}: {len(table)} clips of {subjects} subjects in {source.root}"))
    console.print(escape(f"{scheme.column}: {_counts(table[scheme.column])}"))
    labelled = label_clips(table, scheme, known=source.official)
    names = scheme.class_names(labelled)
    console.print(_class_table(labelled, names, scheme.name, source.official))
    console.print(_subject_table(labelled, names))

    problems, notes = _inspect(table, options.clip_length, console)
    notes = [*clip_notes(table), *notes]
    absent = sorted(set(table["subject"]) - set(labelled["subject"]))
    notes += [f"{subject} has no clip with labels={scheme.name}" for subject in absent]
    wrong = differences(labelled, scheme=scheme.name, datasets=source.required_counts)
    problems += wrong
    partial = differences(labelled, scheme=scheme.name, datasets=source.official)
    notes += [f"{line}: allowed by allow_partial=true" for line in partial if line not in wrong]
    for line in notes:
        console.print(f"[yellow]note[/] {escape(line)}")
    for line in problems:
        console.print(f"[red]wrong[/] {escape(line)}")
    console.print(f"sample list {sample_list_hash(labelled)}: {len(labelled)} clips with labels={scheme.name}")
    if problems:
        raise MefusionError(
            f"{len(problems)} problems in data={source.name} ({source.root}), see above: solve them and check again"
        )


def check_prepared(preparation: "Preparation", console: Console) -> None:
    """Write `check.html` into the cache: a strip of every prepared clip, with what to look at; and print the counts.

    Raises:
        MefusionError: the clips are not prepared.
    """
    from hydra.core.hydra_config import HydraConfig

    from mefusion.clips.cache import read_index, read_left_out
    from mefusion.configuration.launching import own_folders
    from mefusion.report.prepared import check_clips, write_page

    folder = preparation.cache
    hydra = HydraConfig.get()
    given = [text for text in hydra.overrides.task if not text.startswith("prepared=")]
    index = read_index(folder, command=" ".join(["mefusion-prepare", *own_folders(hydra), *given]))
    left_out = read_left_out(folder / "failures.csv")
    clips = check_clips(index, folder, workers=preparation.options.workers)
    write_page(folder / "check.html", clips, left_out, title=f"Prepared clips of {preparation.source.name}")
    for clip in clips:
        name = f"{clip.row['subject']}/{clip.row['clip_id']}"
        for _, sentence in clip.warnings:
            console.print(f"[yellow]look[/] {escape(f'{name}: {sentence}')}")
    warned = sum(bool(clip.warnings) for clip in clips)
    console.print(escape(f"{warned} of {len(clips)} prepared clips have warnings; {len(left_out)} are left out"))
    console.print(escape(f"Page: {folder / 'check.html'}"))


def _inspect(table: "pd.DataFrame", clip_length: int, console: Console) -> tuple[list[str], list[str]]:
    from mefusion.clips.inspection import inspect_clip

    problems: list[str] = []
    notes: list[str] = []
    clips = table.to_dict("records")
    for clip in track(clips, "Checking files", console=console, transient=True, disable=not console.is_terminal):
        found = inspect_clip(clip, clip_length=clip_length)
        name = f"{clip['subject']}/{clip['clip_id']}"
        problems += [f"{name}: {line}" for line in found.problems]
        notes += [f"{name}: {line}" for line in found.notes]
    return problems, notes


def _counts(values: "pd.Series") -> str:
    counts = values.value_counts()
    return ", ".join(f"{value} {count}" for value, count in counts.items()) or "none"


def _class_table(
    labelled: "pd.DataFrame", names: list[str], scheme: str, datasets: "Mapping[str, CountsByScheme]"
) -> Table:
    shown = Table("dataset", "class", "clips", "expected", title=escape(f"labels={scheme}"), title_justify="left")
    for dataset, clips in labelled.groupby("dataset"):
        expected = datasets.get(dataset, {}).get(scheme)
        for name in names:
            known = expected.classes.get(name, "-") if expected else "-"
            _add_row(shown, dataset, name, (clips["label"] == name).sum(), known)
        _add_row(shown, dataset, "all", len(clips), expected.total if expected else "-")
        _add_row(shown, dataset, "subjects", clips["subject"].nunique(), expected.subjects if expected else "-")
    return shown


def _subject_table(labelled: "pd.DataFrame", names: list[str]) -> Table:
    shown = Table("subject", *map(escape, names), "all", title="clips of each subject", title_justify="left")
    for subject, clips in labelled.groupby("subject"):
        _add_row(shown, subject, *((clips["label"] == name).sum() for name in names), len(clips))
    return shown


def _add_row(table: Table, *cells: object) -> None:
    table.add_row(*(escape(str(cell)) for cell in cells))


def main() -> None:
    """Console script; `--prepared` is short for `prepared=true`."""
    sys.argv[1:] = ["prepared=true" if argument == "--prepared" else argument for argument in sys.argv[1:]]
    with stoppable("mefusion-check", "no data has changed: run the same command to check again"):
        from mefusion.configuration.cli import run

        run(check, config_name="check", program="mefusion-check")


if __name__ == "__main__":
    main()
