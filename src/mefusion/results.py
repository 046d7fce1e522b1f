"""Studies on disk: read and check their prediction tables, pool the folds, score.

The layout of a study is in the README; `COLUMNS` are those of its tables.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mefusion.errors import MefusionError
from mefusion.files import write_table, write_text

# Entry points import this module for `--help` too: pandas comes in where a table is read.
if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("study", "dataset", "subject", "clip_id", "fold", "seed", "label", "prediction", "rule", "epoch")
"""Columns of every prediction table, beside one `probability_<class>` a class."""

AUXILIARY_COLUMNS = (
    *("flow_epe", "flow_epe_zero", "landmarks_nme"),
    *("dynamic_image_psnr", "dynamic_image_psnr_flat", "dynamic_image_ssim", "dynamic_image_cosine", "rank_accuracy"),
)
"""Columns that are there when their task is on: px, px, per cent of the inter-ocular distance; dB, dB, -1..1,
-1..1; share of frame pairs in order."""

_PREFIX = "probability_"
_STUDY_KEYS = {"study": str, "model": str, "tasks": dict, "classes": list, "folds": list}


def find_studies(directory: str | Path) -> list[Path]:
    """The study directories that a path stands for: itself, or those one level below it.

    Args:
        directory: a study, or a directory that holds studies.

    Returns:
        Directories with a `study.json`, sorted by name.

    Raises:
        MefusionError: there is none.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise MefusionError(f"{directory} is not a directory; give a study's directory, as under outputs/.")
    if (directory / "study.json").is_file():
        return [directory]
    studies = sorted(path.parent for path in directory.glob("*/study.json"))
    if not studies:
        raise MefusionError(
            f"{directory} holds no study (no study.json in it nor one level below); run mefusion-train first."
        )
    return studies


def load_study(directory: str | Path) -> dict[str, Any]:
    """Read and check a study's `study.json`.

    Args:
        directory: the study's directory.

    Returns:
        Its content; `study`, `model`, `tasks`, `classes` and `folds` (all of them) are there.

    Raises:
        MefusionError: the file is missing, is not JSON, or lacks one of them.
    """
    path = Path(directory) / "study.json"
    try:
        study = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MefusionError(f"{directory} has no study.json; give a study's directory.") from None
    except (OSError, ValueError) as error:
        raise MefusionError(f"{path} cannot be read as JSON ({_line(error)}); run the study again.") from error
    for key, kind in _STUDY_KEYS.items():
        value = study.get(key) if isinstance(study, dict) else None
        if not isinstance(value, kind) or not value:
            raise MefusionError(f"{path} has no usable {key!r} (found {value!r}); run the study again.")
    return study


def load_predictions(directory_or_file: str | Path) -> "pd.DataFrame":
    """Read and check a prediction table.

    Args:
        directory_or_file: a Parquet file, or a directory with `predictions.parquet` (a pooled study, a fold).

    Returns:
        The table, one row a clip (of each study, seed and rule), with the columns of `COLUMNS` and
        `probability_<class>` for each class, in the scheme's order.

    Raises:
        MefusionError: the table is missing, cannot be read or is empty; a column is missing or holds a value
            that cannot be; or a clip is there twice.
    """
    import pandas as pd

    path = Path(directory_or_file)
    if path.is_dir():
        path = path / "predictions.parquet"
    try:
        table = pd.read_parquet(path)
    except FileNotFoundError:
        raise _broken(path, "does not exist") from None
    except (OSError, ValueError) as error:  # pyarrow.ArrowInvalid is a ValueError
        raise _broken(path, f"is no readable Parquet table ({_line(error)})") from error
    _check_predictions(table, path)
    return table


def classes_of(predictions: "pd.DataFrame") -> list[str]:
    """The scheme's classes of a prediction table, in order, read from its `probability_<class>` columns."""
    return [name.removeprefix(_PREFIX) for name in predictions.columns if name.startswith(_PREFIX)]


def score(predictions: "pd.DataFrame", classes: Sequence[str] | None = None) -> dict[str, Any]:
    """Compute every metric of one study from its pooled prediction table.

    Args:
        predictions: the table of one study, seed and rule, from `load_predictions`.
        classes: the scheme's classes in order; by default those of the probability columns.

    Returns:
        Plain data, ready for JSON: what `metrics.recognition_report` gives (`clips`, `uf1`, `uar`, `acc`, `wf1`,
        `confusion_matrix`, `majority`, ...) and, where the tasks were on, `metrics.flow_report`,
        `metrics.landmark_report` and the means of the other `AUXILIARY_COLUMNS`; with several datasets also
        `datasets`, the same restricted to each.

    Raises:
        MefusionError: the table is empty, or mixes studies, seeds or rules.
    """
    classes = list(classes) if classes is not None else classes_of(predictions)
    for column in ("study", "seed", "rule"):
        found = sorted(map(str, predictions[column].unique()))
        if len(found) > 1:
            raise MefusionError(f"The table mixes {column} {', '.join(found)}; score each {column} by itself.")
    scores = _score_part(predictions, classes)
    datasets = sorted(predictions["dataset"].unique())
    if len(datasets) > 1:
        parts = {name: predictions[predictions["dataset"] == name] for name in datasets}
        scores["datasets"] = {name: _score_part(part, classes) for name, part in parts.items()}
    return scores


def done_folds(directory: str | Path) -> list[str]:
    """The folds of a study that are complete (have `DONE`), in the order of `study.json`.

    Args:
        directory: the study's directory.

    Returns:
        Names of folds.

    Raises:
        MefusionError: `study.json` is missing or broken.
    """
    names = map(str, load_study(directory)["folds"])
    return [name for name in names if (Path(directory) / "folds" / name / "DONE").is_file()]


def pool(directory: str | Path, partial: bool = False) -> dict[str, Any]:
    """Gather the tables of a study's complete folds into its `predictions.parquet` and `summary.json`.

    Each file is replaced as a whole: a reader, or a second process that pools, never sees half of one.

    Args:
        directory: the study's directory.
        partial: pool what is complete although folds are missing.

    Returns:
        The summary: what `score` gives, with `study`, `rule`, `seed`, `partial`, `missing_folds` and
        `provenance` (all of `study.json`).

    Raises:
        MefusionError: folds are missing (unless `partial`), none is complete, a fold's table is broken or
            does not belong to this study, or the files cannot be written.
    """
    import pandas as pd

    directory = Path(directory)
    study = load_study(directory)
    done = done_folds(directory)
    missing = [name for name in map(str, study["folds"]) if name not in done]
    if not done or (missing and not partial):
        raise MefusionError(
            f"{directory} is incomplete: {len(missing)} of {len(study['folds'])} folds are missing "
            f"({_some(missing)}); run its mefusion-train command again, which does only what is missing."
        )
    tables = [_load_fold(directory / "folds" / name, study) for name in done]
    for name, table in zip(done, tables, strict=True):
        if different := {*table.columns} ^ {*tables[0].columns}:
            raise MefusionError(
                f"{directory}: folds {done[0]} and {name} differ in column {min(different)!r}, so their "
                "settings differed; delete the one that is wrong and run the study again."
            )
    predictions = pd.concat(tables, ignore_index=True)
    _check_predictions(predictions, directory / "folds")
    summary = {
        "study": study["study"],
        "rule": str(predictions["rule"].iloc[0]),
        "seed": int(predictions["seed"].iloc[0]),
        "partial": bool(missing),
        "missing_folds": missing,
        **score(predictions, study["classes"]),
        "provenance": study,
    }
    write_table(directory / "predictions.parquet", predictions)
    write_text(directory / "summary.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return summary


def headline(summary: Mapping[str, Any]) -> str:
    """One line of a summary: the pooled scores beside the majority class, and the tasks' errors."""
    parts = [
        f"pooled over {summary['clips']} clips: UF1 {summary['uf1']:.3f} (majority class "
        f"{summary['majority']['uf1']:.3f}), "
        + ", ".join(f"{name.upper()} {summary[name]:.3f}" for name in ("uar", "acc", "wf1"))
    ]
    if "flow_epe" in summary:
        relative = summary["flow_epe_relative"]
        share = "nothing moves" if relative is None else f"{relative:.2f} of zero flow"
        parts.append(f"flow {summary['flow_epe']:.3f} px ({share})")
    if "landmarks_nme" in summary:
        parts.append(f"landmarks {summary['landmarks_nme']:.1f} % of the inter-ocular distance")
    if "dynamic_image_psnr" in summary:
        flat = summary["dynamic_image_psnr_flat"]
        parts.append(f"dynamic image {summary['dynamic_image_psnr']:.1f} dB (flat grey {flat:.1f})")
    if "rank_accuracy" in summary:
        parts.append(f"frame pairs in order {summary['rank_accuracy']:.2f} (chance 0.50)")
    if partial := summary.get("provenance", {}).get("partial"):
        parts.append(f"not the whole download: {', '.join(partial)}")
    return "; ".join(parts)


def _load_fold(directory: Path, study: dict[str, Any]) -> "pd.DataFrame":
    table = load_predictions(directory)
    for column, value in (study | {"fold": directory.name}).items():
        if column not in ("study", "fold", "seed", "rule"):
            continue
        if {*table[column]} != {value}:
            raise _broken(directory, f"has {column} {_some(table[column].unique())} where {value} belongs")
    if sorted(classes_of(table)) != sorted(study["classes"]):
        raise _broken(directory, f"has other classes than the study ({_some(study['classes'])})")
    auxiliary = [name for name in AUXILIARY_COLUMNS if name in table.columns]
    return table[[*COLUMNS[:8], *(_PREFIX + name for name in study["classes"]), *COLUMNS[8:], *auxiliary]]


def _check_predictions(table: "pd.DataFrame", path: Path) -> None:
    classes = classes_of(table)
    missing = [name for name in COLUMNS if name not in table.columns]
    if not classes:
        missing.append(_PREFIX + "<class>")
    if "flow_epe" in table.columns and "flow_epe_zero" not in table.columns:
        missing.append("flow_epe_zero")
    if missing:
        raise _broken(path, f"has no column {missing[0]!r}")
    if table.empty:
        raise _broken(path, "holds no prediction")
    for name in COLUMNS:
        if table[name].isna().any():
            raise _broken(path, f"has an empty cell in column {name!r}")
    for name in ("label", "prediction"):
        if unknown := sorted({*table[name]} - {*classes}, key=str):
            raise _broken(path, f"has the {name} {unknown[0]!r}, which is none of {', '.join(classes)}")
    _check_numbers(table, classes, path)
    twice = table[table.duplicated(["study", "dataset", "subject", "clip_id", "seed", "rule"])]
    if len(twice):
        row = twice.iloc[0]
        raise _broken(path, f"has clip {row.clip_id!r} of subject {row.subject!r} twice (fold {row.fold!r})")


def _check_numbers(table: "pd.DataFrame", classes: list[str], path: Path) -> None:
    import numpy as np
    from pandas.api.types import is_numeric_dtype

    probabilities = [_PREFIX + name for name in classes]
    auxiliary = [name for name in AUXILIARY_COLUMNS if name in table.columns]
    for name in ["seed", "epoch", *probabilities, *auxiliary]:
        lowest = -1 if name in ("dynamic_image_ssim", "dynamic_image_cosine") else 0
        if not is_numeric_dtype(table[name]) or not (table[name].between(lowest, np.inf, inclusive="left")).all():
            raise _broken(path, f"has a value in column {name!r} that is no number from {lowest} up")
    sums = table[probabilities].to_numpy(float).sum(axis=1)
    if not np.allclose(sums, 1, atol=1e-3):
        worst = table["clip_id"].iloc[int(np.abs(sums - 1).argmax())]
        raise _broken(path, f"has probabilities of clip {worst!r} that do not add up to 1")


def _score_part(table: "pd.DataFrame", classes: list[str]) -> dict[str, Any]:
    from mefusion import metrics

    columns = {name: table[name].tolist() for name in table.columns}
    scores = metrics.recognition_report(columns["label"], columns["prediction"], columns["fold"], classes)
    if "flow_epe" in columns:
        scores |= metrics.flow_report(columns["flow_epe"], columns["flow_epe_zero"])
    if "landmarks_nme" in columns:
        scores |= metrics.landmark_report(columns["landmarks_nme"])
    means = ("dynamic_image_psnr", "dynamic_image_psnr_flat", "dynamic_image_ssim", "dynamic_image_cosine")
    for name in (*means, "rank_accuracy"):
        if name in columns:
            scores[name] = float(table[name].mean())
    return scores


def _broken(path: Path, what: str) -> MefusionError:
    # A fold that says it is done is made again only when it is gone as a whole.
    fold = next((place for place in (path, path.parent) if (place / "DONE").is_file()), None)
    remedy = f"delete {fold} and run" if fold else "make it again with"
    return MefusionError(f"{path} {what}; {remedy} mefusion-train.")


def _some(names: Iterable[Any], most: int = 8) -> str:
    texts = [str(name) for name in names]
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
