"""Rendered recordings on disk: several of each pseudo-subject, with their exact events."""

import functools
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd

from mefusion.clips.cache import settings_hash
from mefusion.common.errors import MefusionError
from mefusion.common.files import remove_leftovers, write_table, write_text
from mefusion.datasets.reading.recordings import EVENT_DTYPES, RECORDING_DTYPES, RecordingSource
from mefusion.processes.parallel import parallel_map
from mefusion.synthetic.portraits import portrait_digests
from mefusion.synthetic.recordings import RecordingSettings, write_recording

RENDERING = 2  # raise it when a change of the code makes the same settings give other frames


class SyntheticRecordings(RecordingSource):
    """Rendered recordings; they are rendered when they are first needed.

    Args:
        root: folder of all sets; each has a folder of its own there.
        name: name of the set.
        subjects: number of groups of pseudo-subjects who are recorded together, one person each with `faces=1`.
        takes: number of recordings of each.
        settings: see `RecordingSettings`; `subject` and `take` are counted from those given here.

    Raises:
        MefusionError: a setting is not allowed.
    """

    clip_dataset = "synthetic"  # the same people where `seed` and a folder of `portraits` are

    def __init__(self, *, root: str, name: str = "synthetic_long", subjects: int = 4, takes: int = 2, **settings: Any):
        for option, value in (("subjects", subjects), ("takes", takes)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise MefusionError(f"data.{option}={value}: give a whole number above 0")
        self.name, self.root, self.problems = name, Path(root), []
        self.subjects, self.takes = subjects, takes
        try:
            self.settings = RecordingSettings(**settings)
        except MefusionError as error:
            raise MefusionError(f"data.{error}") from error

    @property
    def folder(self) -> Path:
        """Folder of this set; its name has a hash of the settings and of the photographs' content."""
        content = asdict(self.settings) | {
            "subjects": self.subjects,
            "takes": self.takes,
            "portraits": portrait_digests(self.settings.portraits),
            "rendering": RENDERING,
        }
        return self.root / settings_hash(content)

    def recordings(self, *, workers: int | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
        """See `RecordingSource.recordings`; the events also have `face`, `subject` and `amplitude`.

        The table of recordings is written last. If rendering was interrupted, the next call completes the set.
        """
        folder, manifest = self.folder, self.folder / "recordings.csv"
        if not manifest.exists():
            remove_leftovers(folder)
            write_text(folder / "settings.json", json.dumps(asdict(self.settings), indent=2))
            work = functools.partial(_render, folder)
            plan = {self._recording_name(each): each for each in self._plan()}
            rendered = parallel_map(work, [*plan.items()], description="Rendering", unit="recordings", workers=workers)
            done = dict(rendered)
            rows = [
                (self.name, f"{self.name}/{done[item]}", item[0], f"{item[0]}.mp4", item[1].fps, item[1].length)
                for item in plan.items()
            ]
            write_table(manifest, pd.DataFrame(rows, columns=list(RECORDING_DTYPES)))
        table = pd.read_csv(manifest, dtype=dict(RECORDING_DTYPES))
        table["path"] = [str(folder / path) for path in table["path"]]
        parts = [
            pd.read_csv(Path(row.path).with_suffix(".events.csv"), dtype={"action_units": "string"}).assign(
                recording=row.recording
            )
            for row in table.itertuples()
        ]
        events = pd.concat(parts, ignore_index=True)
        return table, events[[*EVENT_DTYPES, "face", "subject", "amplitude"]].astype(dict(EVENT_DTYPES))

    def _plan(self) -> list[RecordingSettings]:
        first = self.settings
        return [
            replace(first, subject=first.subject + group * first.faces, take=first.take + take)
            for group in range(self.subjects)
            for take in range(self.takes)
        ]

    def _recording_name(self, settings: RecordingSettings) -> str:
        return f"sub{settings.subject + 1:02d}_{settings.take + 1:02d}"


def _render(folder: Path, item: tuple[str, RecordingSettings]) -> str:
    """Write a recording if it is not there; returns the name of its first subject."""
    name, settings = item
    path = folder / f"{name}.mp4"
    if not path.exists():
        write_recording(path, settings)
    return name.split("_")[0]
