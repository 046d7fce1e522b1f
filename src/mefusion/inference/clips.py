"""Predict clips that are cut already: those of a manifest."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mefusion.clips.cache import PICTURES
from mefusion.common.errors import MefusionError, first_line
from mefusion.datasets.labels import classes_of_clips
from mefusion.datasets.manifest import read_manifest
from mefusion.evaluation.folds import ALL
from mefusion.evaluation.predictions import COLUMNS, PROBABILITY
from mefusion.evaluation.scoring import score
from mefusion.evaluation.units import unit_names
from mefusion.inference.inputs import InputMaker, PreparedClip
from mefusion.inference.likeness import differences
from mefusion.preparation.reading import RawClip, read_raw_clip
from mefusion.processes.parallel import parallel_map

if TYPE_CHECKING:  # it imports torch, which the workers do without
    from mefusion.inference.predictor import Answers, Predictor

TRAINED_ON = "trained_on"
"""Column of the table: whether the network was trained on this very clip."""


def predict_clips(
    predictor: "Predictor", manifest: str | Path, *, workers: int | None = None
) -> tuple[pd.DataFrame, list[str], list[str]]:
    """Predict the clips of a manifest; one that cannot be used does not stop the others.

    Args:
        predictor: from `mefusion.load_bundle`.
        manifest: CSV file, see `mefusion.datasets.manifest.read_manifest`; emotions may be missing.
        workers: number of processes that prepare clips; None means one for each core.

    Returns:
        A prediction table, a row for each predicted clip, sorted by dataset, subject and clip: `COLUMNS` (study is the
        bundle's name; label is missing where the emotion has no class of the bundle), `probability_<class>`,
        `unit_<n>` if the network tells units, `TRAINED_ON`, and `warnings`: how a clip is unlike those that the network
        was trained on. One sentence for each clip that could not be used. And one for each that was changed.

    Raises:
        MefusionError: the manifest cannot be read.
    """
    clips = read_manifest(Path(manifest), dataset="manifest", labelled=False)
    rows = clips.to_dict("records")
    prepared = dict(
        parallel_map(
            _prepare,
            range(len(rows)),
            description="Preparing",
            workers=workers,
            initialise=_initialise_worker,
            arguments=(rows, predictor.inputs, predictor.facts["data"]),
        )
    )
    usable, kept, problems, notes = [], [], [], []
    for number, found in sorted(prepared.items()):
        name = f"{rows[number]['subject']}/{rows[number]['clip_id']}"
        if isinstance(found, PreparedClip) and (still := predictor.no_motion(found)):
            found = f"not named, {still}"
        if isinstance(found, str):
            problems.append(f"{name}: {found}")
            continue
        usable.append(number)
        kept.append(found)
        if note := found.facts["note"]:
            notes.append(f"{name}: {note}")
    table = _table(clips.iloc[usable].reset_index(drop=True), predictor.answers(kept), predictor)
    seen = {*predictor.seen.contents}
    trained_on = [not seen.isdisjoint((clip.facts["content"], clip.facts.get(PICTURES))) for clip in kept]
    table = table.assign(**{TRAINED_ON: trained_on}, warnings=[clip.facts["warnings"] for clip in kept])
    return table, problems, notes


def score_clips(predictor: "Predictor", table: pd.DataFrame) -> dict[str, Any] | None:
    """Score the predicted clips that have a label and that the network was not trained on.

    Args:
        predictor: that made the table.
        table: from `predict_clips`.

    Returns:
        What `mefusion.score` returns; None if there is no such clip.
    """
    usable = table[table["label"].notna() & ~table[TRAINED_ON].astype(bool)]
    return score(usable, predictor.classes) if len(usable) else None


def _table(clips: pd.DataFrame, answers: "Answers", predictor: "Predictor") -> pd.DataFrame:
    bundle, study = predictor.bundle, predictor.facts["study"]
    labels = classes_of_clips(clips, bundle.labels)
    best = np.array(bundle.classes, dtype=object)[answers.probabilities.argmax(axis=1)]
    origin = {"study": predictor.name, "fold": ALL, **{name: study[name] for name in ("seed", "rule", "epoch")}}
    table = clips[["dataset", "subject", "clip_id"]].assign(
        **origin, label=labels.where(labels.isin(bundle.classes)).astype("string"), prediction=best
    )
    names = [*(f"{PROBABILITY}{name}" for name in bundle.classes), *unit_names(bundle.units)]
    values = [*answers.probabilities.T, *answers.units.T]
    return table[[*COLUMNS]].assign(**dict(zip(names, values, strict=True)))


_rows: list[dict[str, object]] = []
_inputs: InputMaker | None = None
_data: dict[str, Any] = {}


def _initialise_worker(rows: list[dict[str, object]], inputs: InputMaker, data: dict[str, Any]) -> None:
    """Store in a worker process the clips, what makes inputs of them, and what the network was trained on."""
    global _inputs
    _rows[:] = rows
    _inputs = inputs
    _data.update(data)


def _prepare(number: int) -> PreparedClip | str:
    """A prepared clip, or why it could not be used."""
    assert _inputs is not None
    row = _rows[number]
    try:
        raw = read_raw_clip(row, _inputs.preparation)
        clip = _inputs(raw.frames, apex=raw.apex, landmarks=raw.landmarks, origin=row["path"])
        return replace(clip, facts=clip.facts | {"warnings": _warnings(raw, clip, row)})
    except MefusionError as error:
        return str(error)
    except Exception as error:  # a clip that fails must not stop the others
        return f"{type(error).__name__}: {first_line(error)}"


def _warnings(raw: RawClip, clip: PreparedClip, row: Mapping[str, object]) -> str:
    """How a clip is unlike those that the network was trained on; empty if it is not, or has no landmarks."""
    assert _inputs is not None
    if clip.landmarks is None:
        return ""
    fps = row["fps"]
    rate = None if pd.isna(fps) else float(fps)  # type: ignore[arg-type]
    picture, points = raw.frames[len(raw.frames) // 2], clip.landmarks[len(clip.landmarks) // 2]
    return "; ".join(differences(_data, _inputs.preparation, picture, points, rate))
