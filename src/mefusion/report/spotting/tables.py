"""Tables of spotting studies."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from mefusion.clips.table import file_name
from mefusion.common.mappings import flatten
from mefusion.evaluation.spotting import KINDS, expressions_of, match, score_spotting
from mefusion.report.document import Table
from mefusion.report.writers import numbers
from mefusion.spotting_studies.record import SpottingResult

INTERVAL = "95 %"
_RATES = {"precision": "precision", "recall": "recall", "f1": "F1"}


def results_table(studies: Sequence[SpottingResult]) -> Table:
    """Counts, precision, recall and F1 of each study, for micro-expressions, macro-expressions and all."""
    differences = differing_settings(studies)
    names = [] if len(studies) == 1 else ["study", *(["settings"] if any(differences) else [])]
    titles = [*names, "expressions", "true", "found", "spotted", "right"]
    titles += [title for name in _RATES.values() for title in (name, INTERVAL)]
    rows = []
    for study, settings in zip(studies, differences, strict=True):
        for kind in KINDS:
            part = study.scores[kind]
            row = [*[study.name, settings][: len(names)], kind]
            row += [str(part[name]) for name in ("true", "found", "spotted", "right")]
            for name in _RATES:
                row += [f"{part[name]:.3f}", _range(part["intervals"].get(name))]
            rows.append(row)
    return Table("Spotting, pooled over all recordings", titles, rows, text_columns=len(names) + 1)


def differing_settings(studies: Sequence[SpottingResult]) -> list[str]:
    """The settings of each study in which the studies differ, as one text."""
    plain = [flatten(study.facts["spotting"]) for study in studies]
    keys = [
        key
        for key in dict.fromkeys(key for settings in plain for key in settings)
        if len({str(settings.get(key)) for settings in plain}) > 1
    ]
    return [", ".join(f"{key}={_text(settings.get(key))}" for key in keys) for settings in plain]


def recognition_table(studies: Sequence[SpottingResult]) -> Table | None:
    """F1 of recognition and STRS of the studies that recognise what they find; None if none does."""
    named = [study for study in studies if "recognition" in study.scores]
    if not named:
        return None
    titles = ["study", "recognised by", "found and named", "without a class", "not recognised"]
    titles += ["recognition F1", INTERVAL, "STRS", INTERVAL]
    rows = []
    for study in named:
        part = study.scores["recognition"]
        counts = [str(part[name]) for name in ("pairs", "without_emotion", "not_recognised")]
        values = [f"{part['f1']:.3f}", _range(part["intervals"].get("f1"))]
        values += [f"{part['strs']:.3f}", _range(part["intervals"].get("strs"))]
        rows.append([study.name, study.facts["recognised_by"]["name"], *counts, *values])
    return Table("Recognition of what was found, and spot-then-recognise", titles, rows, text_columns=2)


def subject_table(study: SpottingResult) -> Table:
    """Counts and F1 of each subject, over all expressions."""
    titles = ["subject", "recordings", "true", "found", "spotted", "right", "precision", "recall", "F1"]
    rows = []
    kept, counted = _kept(study), expressions_of(study.spotted)
    for subject, own in kept.groupby("subject"):
        spotted, truth = (table[table["recording"].isin(own["recording"])] for table in (counted, study.truth))
        part = score_spotting(spotted, truth, own)["all"]
        counts = [str(part[name]) for name in ("true", "found", "spotted", "right")]
        rows.append([str(subject), str(len(own)), *counts, *(f"{part[name]:.3f}" for name in _RATES)])
    return Table("Subjects", titles, rows, long=True, study=study.name)


def recording_table(study: SpottingResult, output: Path) -> Table:
    """What each recording has, and what was spotted in it; its name leads to its page.

    Args:
        study: the study.
        output: folder of the report, to which the links are relative.
    """
    kept, spotted = _kept(study), expressions_of(study.spotted)
    truth = study.truth[study.truth["recording"].isin(kept["recording"])].reset_index(drop=True)
    found = truth.iloc[match(spotted, truth)["truth"].to_numpy(int)]
    counted = {
        "true micro": truth[truth["kind"] == "micro"],
        "true macro": truth[truth["kind"] == "macro"],
        "found": found,
        "spotted": spotted,
    }
    counts = {title: table["recording"].value_counts() for title, table in counted.items()}
    rows, links = [], {}
    for row in kept.itertuples():
        name = str(row.recording)
        rows.append([name, str(row.subject), *(str(count.get(name, 0)) for count in counts.values())])
        page = study.directory / "recordings" / file_name(name) / "page.html"
        if page.exists():
            links[name] = quote(Path(os.path.relpath(page, output)).as_posix())
    titles = ["recording", "subject", *counts]
    return Table("Recordings", titles, rows, text_columns=2, long=True, study=study.name, links=links)


def settings_table(study: SpottingResult) -> Table:
    """The settings of spotting."""
    rows = [[name, _text(value)] for name, value in flatten(study.facts["spotting"]).items()]
    if derived := study.facts.get("k"):
        for kind, values in zip(("micro", "macro"), np.array(list(derived.values()), float).T, strict=True):
            rows.append([f"k by other subjects' labels, {kind}", f"{values.min():.3f} to {values.max():.3f} s"])
    return Table("Settings of spotting", ["setting", "value"], rows, text_columns=2, study=study.name)


def left_out_table(study: SpottingResult) -> Table | None:
    """The recordings that could not be read; None if all could."""
    rows = [[row["recording"], row["subject"], row["reason"]] for row in study.facts["left_out"]]
    titles = ["recording", "subject", "reason"]
    return Table("Recordings left out", titles, rows, text_columns=3, study=study.name) if rows else None


def problems_table(study: SpottingResult) -> Table | None:
    """Remarks on the dataset's tables and on single recordings; None if there are none."""
    rows = [[text] for text in (*study.facts["problems"], *study.facts.get("recording_problems", ()))]
    return (
        Table("Remarks on the dataset", ["remark"], rows, text_columns=1, long=True, study=study.name) if rows else None
    )


def to_frame(studies: Sequence[SpottingResult]) -> pd.DataFrame:
    """All numbers of the studies with full precision: one row for each study."""
    rows = []
    for study in studies:
        left_out: Mapping[str, Any] = study.scores["left_out"]
        scores = {name: part for name, part in study.scores.items() if name != "left_out"}
        settings = {f"setting_{name}": value for name, value in flatten(study.facts["spotting"]).items()}
        facts = {name: study.facts.get(name) for name in ("data", "method", "config_hash", "git_revision", "date")}
        facts |= {"recognised_by": (study.facts.get("recognised_by") or {}).get("name")}
        rows.append(numbers(scores) | {"recordings_left_out": len(left_out["recordings"])} | facts | settings)
    return pd.json_normalize(rows, sep="_")


def _kept(study: SpottingResult) -> pd.DataFrame:
    return study.recordings[~study.recordings["recording"].isin(study.scores["left_out"]["recordings"])]


def _range(ends: Sequence[float] | None) -> str:
    return "-" if not ends else f"{ends[0]:.3f} to {ends[1]:.3f}"


def _text(value: Any) -> str:
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
