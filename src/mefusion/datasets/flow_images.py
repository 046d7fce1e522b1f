"""Flow images from onset to apex, in the form in which the composite dataset of 2019 is shared."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from mefusion.clips.table import clip_table
from mefusion.common.errors import MefusionError
from mefusion.common.files import resolved
from mefusion.datasets.casme2 import Casme2Source
from mefusion.datasets.reading.folders import require_inside
from mefusion.datasets.reading.source import Source
from mefusion.datasets.samm import SammSource
from mefusion.datasets.smic import SmicSource

DATASETS = {source.dataset: source for source in (Casme2Source, SammSource, SmicSource)}
COLUMNS = ("dataset", "sub", "filename_o", "label")
LABELS = {"0": "negative", "1": "positive", "2": "surprise"}


class FlowImagesSource(Source):
    """A 28x28 PNG for each clip (horizontal flow, vertical flow and optical strain as R, G, B), and a CSV of labels.

    The clip's path is its PNG. There are no frames, so there is no onset, apex or offset.

    Args:
        root: folder of the CSV; the images are in it or in folders below.
        name: name of the data.
        allow_partial: whether clips may be missing; every result then says so.
    """

    faces = "none"  # a flow image shows no face to find
    official = {dataset: source.counts for dataset, source in DATASETS.items()}

    def __init__(self, *, root: str, name: str = "flow_images", allow_partial: bool = False):
        self.name, self.root, self.allow_partial = name, Path(root), allow_partial

    def identity(self) -> dict[str, object]:
        """See `Source.identity`."""
        return {"flow_images": str(resolved(self.root))}

    def digest(self) -> str | None:
        """See `Source.digest`."""
        try:
            return hashlib.sha256(self._csv().read_bytes()).hexdigest()
        except MefusionError:
            return None

    def table(self, *, workers: int | None = None) -> pd.DataFrame:
        """Make the clip table.

        Raises:
            MefusionError: the CSV is missing or wrong, a row has no image, or an image has no row.
        """
        return clip_table(self._rows(), origin=self._csv(), root=self.root)

    def _csv(self) -> Path:
        if not self.root.is_dir():
            raise MefusionError(f"data.root={self.root} is no folder: give the folder of the images and their CSV")
        listed = [path for path in sorted(self.root.glob("*.csv")) if path.is_file()]
        if len(listed) != 1:
            names = ", ".join(path.name for path in listed) or "none"
            raise MefusionError(
                f"{self.root} must have one CSV, with the columns {', '.join(COLUMNS)}, but has {names}: keep one"
            )
        return require_inside(listed[0], self.root)

    def _rows(self) -> Iterator[dict[str, object]]:
        csv = self._csv()
        images = self._images()
        for row in _read(csv):
            dataset, label = row["dataset"].lower(), row["label"]
            if dataset not in DATASETS or label not in LABELS:
                raise MefusionError(
                    f"{csv} has the dataset '{row['dataset']}' with label '{label}': choose from the datasets "
                    f"{', '.join(DATASETS)} and the labels {', '.join(f'{k} ({v})' for k, v in LABELS.items())}"
                )
            subject = DATASETS[dataset].subject(row["sub"])
            # A spreadsheet program removes leading zeros of the subject when it saves the CSV.
            keys = [f"{sub}_{row['filename_o']}" for sub in (row["sub"], subject)]
            image = next((images.pop(key) for key in keys if key in images), None)
            if image is None:
                raise MefusionError(f"{csv} lists {keys[0]}, but {self.root} has no {keys[0]}.png: add it")
            clip_id = re.sub(r"^s0*(?=\d)", "s", row["filename_o"]) if dataset == "smic" else row["filename_o"]
            yield {
                "dataset": dataset,
                "subject": f"{dataset}/{subject}",
                "clip_id": clip_id,
                "path": str(image),
                "emotion": LABELS[label],
            }
        if images:
            raise MefusionError(
                f"{csv} has no row for {len(images)} images, such as {next(iter(images.values())).name}: "
                "add rows, or remove the images"
            )

    def _images(self) -> dict[str, Path]:
        """Image of each clip, by file name; spaces before `.png` are ignored."""
        images: dict[str, Path] = {}
        for path in sorted(self.root.rglob("*.png")):
            if path.stem.strip() in images:
                raise MefusionError(f"{path} and {images[path.stem.strip()]} show the same clip: keep one")
            images[path.stem.strip()] = require_inside(path, self.root)
        return images


def _read(csv: Path) -> list[dict[str, str]]:
    try:
        rows = pd.read_csv(csv, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise MefusionError(f"{csv} cannot be read as a CSV file ({str(error).strip()}): copy it again") from error
    rows = rows.rename(columns=lambda name: str(name).strip().lower()).map(str.strip)
    missing = [column for column in COLUMNS if column not in rows]
    if missing:
        raise MefusionError(f"{csv} lacks the column {', '.join(missing)}: its header must have {', '.join(COLUMNS)}")
    rows = rows[list(COLUMNS)]
    return rows[(rows != "").any(axis=1)].to_dict("records")  # some copies end with rows that contain only commas
