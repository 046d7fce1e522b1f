"""`mefusion-prepare`: prepare the clips of a source, and write the cache that training reads."""

from typing import TYPE_CHECKING, Any

# --help has to answer at once, and Ctrl-C from the start: what takes time to import comes in where it is used.
from mefusion.common.errors import MefusionError
from mefusion.processes.stopping import stoppable

if TYPE_CHECKING:
    from omegaconf import DictConfig


def prepare(config: "DictConfig") -> None:
    """Prepare all clips of a source and print the result; or write a synthetic download and print the next command.

    Raises:
        MefusionError: the flow cannot be measured, or some clips could not be prepared; then the others are prepared.
    """
    from rich.console import Console
    from rich.markup import escape

    from mefusion.clips.cache import record_source
    from mefusion.clips.table import clip_notes
    from mefusion.configuration.preparing import resolve_preparation
    from mefusion.preparation.arrays import require_flow
    from mefusion.preparation.clips import prepare_clips

    console = Console(soft_wrap=True, highlight=False)
    preparation = resolve_preparation(config)
    source: Any = preparation.source
    settings, folder, workers = preparation.settings, preparation.cache, preparation.options.workers
    device = preparation.options.flow_device
    require_flow(settings.flow, device=device)
    if getattr(source, "layout", None) is not None:
        console.print(escape(f"{source.write_to} is written; next command: {source.write_download(workers=workers)}"))
        return
    table = source.table(workers=workers)
    digest = source.digest()  # read now, since the user may edit the list during the preparation
    index, failures, notes = prepare_clips(table, folder, settings, workers=workers, flow_device=device)
    record_source(folder, digest)
    for line in [*clip_notes(index), *notes]:
        console.print(f"[yellow]note[/] {escape(line)}")
    for stand_in, clips in index[index["apex_from"] != "table"].groupby("apex_from"):
        console.print(f"[yellow]note[/] {len(clips)} clips have no annotated apex: missing_apex={stand_in} is used")
    for clip in failures.itertuples():
        console.print(f"[red]failed[/] {escape(f'{clip.subject}/{clip.clip_id}: {clip.problem}')}")
    subjects = index["subject"].nunique()
    console.print(escape(f"{len(index)} of {len(table)} clips of {subjects} subjects are in {folder}"))
    if hasattr(source, "compare_with_truth") and len(index) and settings.backend != "none":
        for line in source.compare_with_truth(index, folder):
            console.print(line)
    if len(failures):
        raise MefusionError(
            f"{len(failures)} of {len(table)} clips could not be prepared, see {folder / 'failures.csv'}: "
            "solve the problems and run again, or train without these clips"
        )


def main() -> None:
    """Console script."""
    with stoppable("mefusion-prepare", "prepared clips are kept: run the same command to go on"):
        from mefusion.configuration.cli import run

        run(prepare, config_name="prepare", program="mefusion-prepare")


if __name__ == "__main__":
    main()
