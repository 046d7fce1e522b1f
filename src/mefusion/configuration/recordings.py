"""Make what the settings of `mefusion-spot data=NAME` describe: a dataset of recordings, and its spotting study."""

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mefusion.common.errors import MefusionError
from mefusion.configuration.cli import configuration_folder
from mefusion.configuration.objects import make
from mefusion.configuration.preparing import require_folder_name
from mefusion.configuration.schema import SpotSettings
from mefusion.datasets.reading.recordings import RecordingSource
from mefusion.spotting_studies.recognition import read_recogniser
from mefusion.spotting_studies.study import SpottingStudy, plan_study
from mefusion.studies.provenance import git_revision, versions


def make_study(settings: SpotSettings) -> SpottingStudy:
    """The spotting study that settings describe.

    Raises:
        MefusionError: a value is not allowed, the dataset cannot be read, or `recognise` cannot name its events.
    """
    assert settings.data is not None
    source = recording_source(settings.data)
    recogniser = read_recogniser(Path(settings.recognise), source) if settings.recognise else None
    if settings.workers is not None and settings.workers < 1:
        raise MefusionError(f"workers={settings.workers}: give a number above 0, or null to use every core")
    return plan_study(
        source, settings.spotting, recogniser, output_dir=Path(settings.output_dir), workers=settings.workers
    )


def recording_source(options: Mapping[str, Any]) -> RecordingSource:
    """The dataset of recordings that `data=` names.

    Raises:
        MefusionError: it is another one, or an option is not allowed.
    """
    sets = sorted(path.stem for path in (configuration_folder("conf") / "data").glob("*_long.yaml"))
    if str(options.get("_target_")).startswith("mefusion.") and ".recordings." not in str(options["_target_"]):
        raise MefusionError(
            f"data={options.get('name')} has clips that are cut already, and no recordings: choose from "
            f"{', '.join(sets)}"
        )
    source: RecordingSource = make("data", options, RecordingSource)  # type: ignore[type-abstract]
    require_folder_name("data.name", source.name)
    return source


def provenance_of(settings: SpotSettings, command: str) -> dict[str, Any]:
    """Where a spotting study comes from, for `spotting.json`."""
    return {
        "command": command,
        "date": f"{datetime.datetime.now().astimezone():%Y-%m-%d %H:%M %z}",
        "source": settings.data,
        "versions": versions(),
        "git_revision": git_revision(),
    }
