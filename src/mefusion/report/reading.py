"""Read studies for the report, and find the settings in which they differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mefusion.common.errors import MefusionError
from mefusion.common.mappings import flatten
from mefusion.evaluation.measures import TaskReport
from mefusion.studies.identity import ADDED, DATA_SETTINGS_WITHOUT_EFFECT, SETTINGS_WITHOUT_EFFECT
from mefusion.studies.record import read_config, task_reports
from mefusion.studies.references import best_reference as best_summary
from mefusion.studies.results import read_result

if TYPE_CHECKING:
    import pandas as pd

_WITHOUT_EFFECT = (*SETTINGS_WITHOUT_EFFECT, *(f"data.{name}" for name in DATA_SETTINGS_WITHOUT_EFFECT))


@dataclass(frozen=True)
class ReportedStudy:
    """A study with its result.

    Attributes:
        directory: of the study.
        summary: scores and provenance, as `read_result` returns them.
        predictions: pooled prediction table.
        settings: resolved configuration with flat names (`model.name`), without paths and devices; `tasks.<name>` is
            the task's weight, 0 if the task is off.
    """

    directory: Path
    summary: dict[str, Any]
    predictions: "pd.DataFrame"
    settings: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.summary["study"]

    @property
    def oracle(self) -> bool:
        """Whether each fold's epoch was chosen on its test subjects; such scores are not results."""
        return self.summary["rule"] == "oracle"

    @property
    def reports(self) -> list[TaskReport]:
        """How the results of the study's tasks are reported."""
        return task_reports(self.summary["provenance"])

    def setting(self, key: str) -> Any:
        """Value of a setting; if the configuration does not have it, None, or 0 for a task's weight."""
        return self.settings.get(key, 0 if key.startswith("tasks.") else None)


def read_study(directory: Path, partial: bool = False) -> ReportedStudy:
    """Read a study's result and its configuration, without writing anything.

    Args:
        directory: of the study.
        partial: see `read_result`.

    Raises:
        MefusionError: as `read_result`, or the configuration cannot be read.
    """
    result = read_result(directory, partial)
    summary = result.summary
    config = read_config(directory)
    settings = flatten({name: value for name, value in config.items() if name != "tasks"})
    weights = dict.fromkeys(config.get("tasks", {}), 0) | summary["provenance"]["tasks"]
    settings |= {f"tasks.{name}": weight for name, weight in weights.items()}
    settings = settings | {name: value for name, value in flatten(ADDED).items() if name not in settings}
    unwanted = (*_WITHOUT_EFFECT, "model.task_weights")
    kept = {
        name: value for name, value in settings.items() if not any(f"{name}.".startswith(f"{key}.") for key in unwanted)
    }
    return ReportedStudy(directory, summary, result.predictions, kept)


def swept_keys(studies: Sequence[ReportedStudy]) -> list[str]:
    """Names of the settings in which the studies differ, in the configuration's order.

    Settings that follow from the choice of a group are left out. For example, if two models differ, `model.name`
    stands for all `model.` settings, task weights and balancing of classes that follow from the model.
    """
    keys = list(dict.fromkeys(key for study in studies for key in study.settings))
    columns = {key: [repr(study.setting(key)) for study in studies] for key in keys}
    swept = [key for key in keys if len({*columns[key]}) > 1]
    chosen = {key.removesuffix(".name") + ".": key for key in swept if key.endswith(".name")}
    if "model." in chosen:
        chosen["tasks."] = chosen["imbalance"] = chosen["model."]
    return [
        key
        for key in swept
        if not any(
            key.startswith(group) and key != name and _is_determined_by(columns[key], columns[name])
            for group, name in chosen.items()
        )
    ]


def sort_studies(studies: Sequence[ReportedStudy]) -> list[ReportedStudy]:
    """Sort studies by the settings in which they differ, numbers by their value, and then by name."""

    def place(study: ReportedStudy) -> list[tuple[bool, Any]]:
        return [*(setting_order(study.setting(key)) for key in swept_keys(studies)), (True, study.name)]

    return sorted(studies, key=place)


def setting_order(value: Any) -> tuple[bool, Any]:
    """Key to sort a setting's values by: numbers first, by their size, then texts."""
    number = isinstance(value, int | float)
    return not number, value if number else str(value)


def swept_settings(study: ReportedStudy, keys: Sequence[str], *, null: str = "-") -> dict[str, str]:
    """A study's settings as texts, see `setting_text`, with the names that a table shows: `model` for `model.name`."""
    return {key.removesuffix(".name"): setting_text(study.setting(key), null=null) for key in keys}


def find_reference(studies: Sequence[ReportedStudy], wanted: str) -> ReportedStudy:
    """Find the study that a part of its name, or its settings, identify.

    Args:
        studies: to choose from; those of the rule oracle cannot be the reference.
        wanted: a part of the name; or `key=value` of settings in which the studies differ, separated by commas.

    Raises:
        MefusionError: no study fits, or several do.
    """
    studies = [study for study in studies if not study.oracle]
    keys = swept_keys(studies)
    exact = [study for study in studies if study.name == wanted]
    settings = {
        study.name: {f"{key}={text}" for key, text in swept_settings(study, keys, null="null").items()}
        for study in studies
    }
    found = exact or [
        study for study in studies if wanted in study.name or _split_settings(wanted) <= settings[study.name]
    ]
    if len(found) != 1:
        names = ", ".join(
            f"{study.name} ({', '.join(sorted(settings[study.name])) or 'the only study'})"
            for study in (found or studies)
        )
        fits = f"fits {len(found)} studies" if found else "fits no study"
        raise MefusionError(f"--reference {wanted} {fits}; choose from {names}.")
    return found[0]


def best_reference(study: ReportedStudy, studies: Sequence[ReportedStudy]) -> ReportedStudy | None:
    """The study of a simple model with the best UF1 on the same clips.

    Args:
        study: that the reference stands beside.
        studies: to choose from; those of the rule oracle cannot be a reference.

    Returns:
        None if there is none, or if the study itself is of a simple model.
    """
    best = best_summary(study.summary, [other.summary for other in studies])
    return next((other for other in studies if other.summary is best), None)


def same_study_under_other_rule(study: ReportedStudy, studies: Sequence[ReportedStudy]) -> ReportedStudy | None:
    """Find the study that differs from a study of the rule oracle only in its rule, preferably of the rule `last`."""
    clips = study.summary["provenance"]["sample_list_hash"]
    same = [
        other
        for other in studies
        if not other.oracle
        and other.summary["provenance"]["sample_list_hash"] == clips
        and all(other.setting(key) == study.setting(key) for key in study.settings | other.settings if key != "rule")
    ]
    return min(same, key=lambda other: other.summary["rule"] != "last", default=None)


def _is_determined_by(values: Sequence[str], choice: Sequence[str]) -> bool:
    return len({*zip(choice, values, strict=True)}) == len({*choice})


def _split_settings(text: str) -> set[str]:
    # Commas within brackets, as in seeds=[0,1], do not separate settings.
    parts, depth = [""], 0
    for letter in text.replace(" ", ""):
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return {*parts}


def setting_text(value: Any, *, null: str = "-") -> str:
    """A setting's value as a table shows it, or as a command line has it with `null="null"`."""
    if value is None:
        return null
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).replace(" ", "").replace("'", "")
