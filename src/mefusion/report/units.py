"""Tables of a study's action units."""

from collections.abc import Mapping
from typing import Any

from mefusion.common.units import UNIT_TASK, UNITS
from mefusion.report.document import Table
from mefusion.report.tables import INTERVAL, number_text, range_text


def unit_tables(summary: Mapping[str, Any]) -> list[Table]:
    """F1 of each action unit, and the mean of each dataset; none if the study has no such task."""
    if UNIT_TASK not in summary:
        return []
    scores, name = summary[UNIT_TASK], summary["study"]
    rows = [
        [
            f"{unit} {UNITS[int(unit)]}",
            *(str(part["present"]), str(part["clips"]), f"{part['f1']:.3f}", range_text(part["interval"])),
            *(f"{part['recall']:.3f}", f"{part['reference']:.3f}"),
        ]
        for unit, part in scores["units"].items()
    ]
    clips = [str(scores["clips"]), number_text(scores["f1"]), range_text(scores["interval"])]
    rows.append(["mean", "-", *clips, "-", number_text(scores["reference"])])
    titles = ["action unit", "present", "clips", "F1", INTERVAL, "recall", "F1 of always present"]
    tables = [Table("Action units", titles, rows, study=name)]
    if "datasets" in summary:
        tables.append(_by_dataset({each: part[UNIT_TASK] for each, part in summary["datasets"].items()}, name))
    return tables


def unit_notes(summary: Mapping[str, Any]) -> list[str]:
    """How many clips have no coding, and which units do not occur."""
    if UNIT_TASK not in summary:
        return []
    scores = summary[UNIT_TASK]
    notes = []
    if scores["left_out"]:
        notes.append(
            f"Action units: {scores['left_out']} of {scores['left_out'] + scores['clips']} test clips have no coding, "
            "and are left out of the scores of units."
        )
    if scores["absent_units"]:
        notes.append(
            f"Action units: {', '.join(map(str, scores['absent_units']))} do not occur in the coded test clips, and "
            "are left out of the mean."
        )
    return notes


def _by_dataset(datasets: Mapping[str, Mapping[str, Any]], study: str) -> Table:
    rows = [
        [
            *(name, str(part["clips"]), str(part["left_out"]), number_text(part["f1"]), range_text(part["interval"])),
            *(number_text(part["reference"]), ", ".join(map(str, part["absent_units"])) or "-"),
        ]
        for name, part in datasets.items()
    ]
    titles = [
        "dataset",
        "clips",
        "without coding",
        "mean F1",
        INTERVAL,
        "F1 of always present",
        "units that do not occur",
    ]
    return Table("Action units by dataset", titles, rows, study=study)
