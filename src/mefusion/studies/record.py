"""Studies on disk: find them, read and check `study.json`, list their runs."""

import json
import reprlib
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from mefusion.common.errors import MefusionError, first_line
from mefusion.common.files import is_irregular, write_text
from mefusion.evaluation.folds import ALL
from mefusion.evaluation.measures import TaskReport
from mefusion.evaluation.predictions import some
from mefusion.studies.runs import Run, runs_of

DEPTH = 50
"""How many settings of `config.yaml` may be one in the other; those of mefusion are a few."""


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_name(value: Any) -> bool:
    return _is_text(value) and value == Path(value).name != ".."


def _is_list_of(value: Any, *kinds: type) -> bool:
    return isinstance(value, list) and all(type(item) in kinds for item in value)


def _is_list_of_distinct(value: Any, kind: type) -> bool:
    return _is_list_of(value, kind) and 0 < len({*value}) == len(value)


def _is_report(value: Any) -> bool:
    try:
        TaskReport.from_plain(value)
    except (TypeError, KeyError, ValueError):
        return False
    return True


def _is_left_out(value: Any) -> bool:
    def is_clip(clip: Any) -> bool:
        return isinstance(clip, dict) and all(_is_text(clip.get(key)) for key in ("subject", "clip_id", "problem"))

    return (
        isinstance(value, dict)
        and isinstance(value.get("clips"), list)
        and all(map(is_clip, value["clips"]))
        and isinstance(value.get("of"), int)
        and _is_list_of(value.get("lost_subjects"), str)
    )


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "study": _is_name,
    "model": _is_text,
    "tasks": lambda value: isinstance(value, dict) and bool(value) and _is_list_of([*value.values()], int, float),
    "classes": lambda value: _is_list_of_distinct(value, str),
    "folds": lambda value: _is_list_of_distinct(value, str) and all(map(_is_name, value)),
    "seeds": lambda value: _is_list_of_distinct(value, int),
    "rule": _is_text,
    "sample_list_hash": _is_text,
    "partial": lambda value: _is_list_of(value, str),
    "left_out": lambda value: value is None or _is_left_out(value),
    "versions": lambda value: isinstance(value, dict),
    "measures": lambda value: isinstance(value, dict) and all(map(_is_report, value.values())),
}
"""The entries of `study.json` that are used, each with a check of its value."""


def find_studies(directory: str | Path) -> list[Path]:
    """Find the studies of a path: the path itself, or directories one level below it.

    Args:
        directory: a study, or a directory that contains studies.

    Returns:
        Directories with a `study.json`, sorted by name. Directories below `directory` that have only a pooled table, or
        cannot be read, are included, so that each of them gives an error later instead of being left out silently.

    Raises:
        MefusionError: there is none.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise MefusionError(f"{directory} is not a directory; give a study's directory, as under outputs/.")
    if (directory / "study.json").exists():
        return [directory]
    studies = sorted(path for path in directory.iterdir() if _may_be_study(path))
    if not studies:
        raise MefusionError(
            f"{directory} contains no study (no study.json in it or one level below it); run mefusion-train first."
        )
    return studies


def load_study(directory: str | Path) -> dict[str, Any]:
    """Read and check a study's `study.json`.

    Args:
        directory: the study's directory.

    Returns:
        Its content; it has at least `study`, `model`, `tasks`, `measures`, `classes`, `folds`, `seeds`, `rule`,
        `sample_list_hash`, `partial`, `left_out` (None in a study of version 0.1, which did not record it) and
        `versions`.

    Raises:
        MefusionError: the file is missing, is not JSON, or one of these entries is missing or has a wrong value.
    """
    path = Path(directory) / "study.json"
    if is_irregular(path):
        raise MefusionError(f"{path} is no regular file; run the study again.")
    try:
        study = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MefusionError(f"{directory} has no study.json; give a study's directory.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise MefusionError(f"{path} cannot be read as JSON ({first_line(error)}); run the study again.") from error
    if isinstance(study, dict):
        study.setdefault("left_out", None)
        if "measures" not in study and isinstance(study.get("tasks"), dict):
            study["measures"] = _measures_of_version_0_1(study["tasks"])
    for key, usable in _CHECKS.items():
        value = study.get(key) if isinstance(study, dict) else None
        if not usable(value):
            raise MefusionError(f"{path} has no usable {key!r} (found {reprlib.repr(value)}); run the study again.")
    return study


def _is_plain(text: str) -> bool:
    """Whether YAML has no alias and no deep nesting, as mefusion writes it.

    A few nested aliases unfold to more than fits into memory, and deep nesting takes the loader minutes.
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > DEPTH:
            return False
    return True


def read_config(directory: Path) -> dict[str, Any]:
    """Read a study's `config.yaml`: its resolved configuration, as plain data.

    Raises:
        MefusionError: the file is missing, or is not a configuration.
    """
    path = directory / "config.yaml"
    try:
        text = path.read_text(encoding="utf-8")
        if not _is_plain(text):
            raise MefusionError(f"{path} has an alias, or settings in more than {DEPTH} others; run the study again.")
        config = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else first_line(error)
        raise MefusionError(f"{path} cannot be read ({reason}); run the study again.") from error
    if not isinstance(config, dict) or not isinstance(config.get("tasks", {}), dict):
        raise MefusionError(f"{path} is not a configuration; run the study again.")
    return config


def update_study(directory: Path, **facts: Any) -> None:
    """Write facts into a study's `study.json` that may change while its name stays; nothing if there is none yet.

    Raises:
        MefusionError: `study.json` is broken.
    """
    path = directory / "study.json"
    if path.exists():
        recorded = load_study(directory)
        if recorded != recorded | facts:
            write_text(path, json.dumps(recorded | facts, indent=2))


def _measures_of_version_0_1(tasks: Mapping[str, Any]) -> dict[str, Any]:
    """What the tasks of a study of version 0.1 measure; its `study.json` does not say."""
    from mefusion.training.losses import DynamicImage, Flow, Landmarks, Rank  # imports torch, which is slow

    known = {"flow": Flow, "landmarks": Landmarks, "dynamic_image": DynamicImage, "rank": Rank}
    return {name: known[name].report.to_plain() for name in tasks if name in known}


def task_reports(study: Mapping[str, Any]) -> list[TaskReport]:
    """How the errors of the study's tasks are reported; `study` is what `load_study` returns."""
    return [TaskReport.from_plain(data) for data in study["measures"].values()]


def has_score(study: Mapping[str, Any]) -> bool:
    """Whether a study tests anyone, and so has a score; `study` is what `load_study` returns."""
    return study.get("protocol") != ALL


def left_out_phrase(study: Mapping[str, Any]) -> str:
    """How many of a study's clips preparation left out, and of whom; empty where it left out none.

    Args:
        study: what `load_study` returns.
    """
    left_out = study["left_out"]
    if not left_out or not left_out["clips"]:
        return ""
    counts = Counter(clip["subject"] for clip in left_out["clips"])
    phrase = f"preparation left out {len(left_out['clips'])} of {left_out['of']} clips"
    phrase += f" ({some(f'{subject} {count}' for subject, count in sorted(counts.items()))}"
    lost = left_out["lost_subjects"]
    return phrase + (f"; no clip is left of {some(lost)})" if lost else ")")


def origin_phrase(study: Mapping[str, Any]) -> str:
    """What a study started from, and what has to be known of it; empty where it started from nothing.

    Args:
        study: what `load_study` returns.
    """
    origin = study.get("init_from")
    if not origin:
        return ""
    told = f"started from {origin['name']} ({origin['digest']})"
    if datasets := origin["datasets"]:
        told += f", trained on {', '.join(datasets)}"
    if origin["anew"]:
        told += f", but for {', '.join(origin['anew'])}"
    if shared := origin.get("shared"):
        told += f"; this study tests clips of {', '.join(shared)} too: it may have seen the same people"
    if not origin.get("known", bool(datasets)):
        what = "else that" if datasets else "that"
        told += f"; what {what} was trained on is not known: if it has seen the tested subjects, this is no result"
    if flow := origin.get("flow"):
        told += f"; its flow is measured by {flow[0]}, that of this study by {flow[1]}"
    return told


def planned_runs(directory: str | Path, study: Mapping[str, Any] | None = None) -> list[Run]:
    """All runs of a study, done or not: each fold with each seed, sorted by fold.

    Args:
        directory: the study's directory.
        study: what `load_study` returns, if the caller has it already.

    Raises:
        MefusionError: `study.json` is missing or broken.
    """
    study = study or load_study(directory)
    return runs_of(Path(directory), study["folds"], study["seeds"])


def _may_be_study(path: Path) -> bool:
    try:
        return any((path / name).exists() for name in ("study.json", "predictions.parquet"))
    except PermissionError:
        return True
