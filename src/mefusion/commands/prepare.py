"""`mefusion-prepare`: from a source to the cache that training reads."""

from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape

from mefusion.common.errors import MefusionError
from mefusion.configuration.cli import run


def prepare(config: DictConfig) -> None:
    """Prepare every clip of a source and say what became of them; or write a fake download and say what is next.

    Raises:
        MefusionError: clips failed; the others are prepared all the same.
    """
    from mefusion.clips.cache import record_source
    from mefusion.clips.table import clip_notes
    from mefusion.configuration.preparing import resolve_preparation
    from mefusion.preparation.clips import prepare_clips

    console = Console(soft_wrap=True, highlight=False)
    preparation = resolve_preparation(config)
    source: Any = preparation.source
    settings, folder, workers = preparation.settings, preparation.cache, preparation.options.workers
    if getattr(source, "layout", None) is not None:
        console.print(escape(f"{source.write_to} is written; next: {source.write_download(workers=workers)}"))
        return
    table = source.table(workers=workers)
    digest = source.digest()  # of what is prepared: the list may be edited meanwhile
    index, failures, notes = prepare_clips(table, folder, settings, workers=workers)
    record_source(folder, digest)
    for line in [*clip_notes(index), *notes]:
        console.print(f"[yellow]note[/] {escape(line)}")
    for stand_in, clips in index[index["apex_from"] != "table"].groupby("apex_from"):
        console.print(f"[yellow]note[/] missing_apex={stand_in} stands for the apex of {len(clips)} clips")
    for line in failures["problem"]:
        console.print(f"[red]failed[/] {escape(line)}")
    subjects = index["subject"].nunique()
    console.print(escape(f"{len(index)} of {len(table)} clips of {subjects} subjects are in {folder}"))
    if hasattr(source, "compare_with_truth") and len(index) and settings.backend != "none":
        for line in source.compare_with_truth(index, folder):
            console.print(line)
    if len(failures):
        raise MefusionError(
            f"{len(failures)} of {len(table)} clips could not be prepared, see {folder / 'failures.csv'}: "
            "mend them and run again, or train without them"
        )


def main() -> None:
    """Console script."""
    run(prepare, config_name="prepare", program="mefusion-prepare")


if __name__ == "__main__":
    main()
