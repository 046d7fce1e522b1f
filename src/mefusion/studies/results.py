"""Results of studies: pool their folds and seeds, score them, summarise them in one line."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from mefusion.common.errors import MefusionError, first_line
from mefusion.common.files import is_irregular, write_table, write_text
from mefusion.evaluation import metrics
from mefusion.evaluation.calibration import Calibration, calibrate
from mefusion.evaluation.errors import constant_folds
from mefusion.evaluation.predictions import (
    COLUMNS,
    PROBABILITY,
    broken,
    check_predictions,
    classes_of,
    load_predictions,
    sample_list_hash,
    some,
)
from mefusion.evaluation.scoring import score, spread
from mefusion.studies.record import has_score, left_out_phrase, load_study, origin_phrase, planned_runs, task_reports
from mefusion.studies.references import MAJORITY, best_reference
from mefusion.studies.runs import Run


class NoScoreError(MefusionError):
    """A study has no score, since it tests no one."""


@dataclass(frozen=True)
class Result:
    """A study's pooled result.

    Attributes:
        summary: what `score` returns, with `study`, `rule`, `provenance` (all of `study.json`), `missing_folds` (with
            the seed if there are several), `constant_folds`, in which a network gives all clips the same
            probabilities, and `folds_differ`: the facts (revision, kind of device, versions, code) that are not the
            same for all folds, each with all its values. It should be empty. With the folds' code goes the code that
            the study was last gone on with.
        predictions: the prediction table, one row for each clip and seed.
    """

    summary: dict[str, Any]
    predictions: pd.DataFrame


def read_result(directory: str | Path, partial: bool = False) -> Result:
    """Pool and score the tables of a study's runs; nothing is written.

    Args:
        directory: the study's directory.
        partial: if folds are missing, use the folds that are complete with every seed.

    Raises:
        NoScoreError: the study tests no one.
        MefusionError: folds are missing (with `partial`: all folds are), a fold's table is broken or does not belong to
            this study, or the clips are not the study's clips.
    """
    directory = Path(directory)
    study = load_study(directory)
    if not has_score(study):
        raise NoScoreError(
            f"{directory} has no score: with protocol=all it was trained on all subjects, for use. The study with the "
            "same settings and protocol=loso has one."
        )
    planned = planned_runs(directory, study)
    missing = [run for run in planned if not run.done]
    runs = [run for run in planned if run.fold not in {run.fold for run in missing}]  # each seed needs the same folds
    if missing and not (partial and runs):
        way_out = ", or give mefusion-report --partial for the others" if runs else ""
        raise MefusionError(
            f"{directory} is incomplete: {len(missing)} of {len(planned)} folds are missing "
            f"({some([run.name for run in missing])}); run its mefusion-train command again, which runs only these"
            f"{way_out}."
        )
    reports = task_reports(study)
    columns = {name: lowest for report in reports for name, lowest in report.columns.items()}
    predictions = pd.concat([_load_run(run, study, columns) for run in runs], ignore_index=True)
    check_predictions(predictions, directory / "folds", columns)
    if not missing:
        _require_sample_list(predictions, study, directory)
    summary = {
        "study": study["study"],
        "rule": study["rule"],
        "missing_folds": [run.name for run in missing],
        "constant_folds": _constant_folds(predictions, runs, study["model"]),
        **score(predictions, study["classes"], reports),
        "provenance": study,
        "folds_differ": _differences([_origin(run) for run in runs]) | _code_differences(runs, study),
    }
    return Result(summary, predictions)


def pool(directory: str | Path) -> Result:
    """Write a complete study's `predictions.parquet` and `summary.json`.

    Each file is replaced as a whole, so that other processes never read half a file.

    Args:
        directory: the study's directory.

    Raises:
        MefusionError: as `read_result`, or the files cannot be written.
    """
    result = read_result(directory)
    write_table(Path(directory) / "predictions.parquet", result.predictions)
    text = json.dumps(result.summary, indent=2, ensure_ascii=False)
    write_text(Path(directory) / "summary.json", text + "\n")
    return result


def validation_uf1(folders: Sequence[Path]) -> float:
    """UF1 pooled over the validation clips of runs; each clip is predicted by a network that was not trained on it.

    Args:
        folders: of a study's runs with the rule `inner_val`; each contains a `validation.parquet`.

    Raises:
        MefusionError: a table is missing or broken.
    """
    table = pd.concat([load_predictions(folder / "validation.parquet") for folder in folders])
    matrix = metrics.confusion_matrix(table["label"].tolist(), table["prediction"].tolist(), classes_of(table))
    return float(metrics.uf1(matrix))


def read_calibration(directory: str | Path) -> Calibration | None:
    """Temperatures fitted on the validation clips of a study's runs, and what they do to its test clips.

    Args:
        directory: of a study; runs that are not done are left out.

    Returns:
        The calibration; None unless the study has rule=inner_val and a run that tests someone is done.

    Raises:
        MefusionError: a table is missing or broken.
    """
    study = load_study(directory)
    runs = [run for run in planned_runs(directory, study) if run.done]
    if study["rule"] != "inner_val" or not has_score(study) or not runs:
        return None
    return calibrate(
        [(load_predictions(run.folder / "validation.parquet"), load_predictions(run.folder)) for run in runs]
    )


def load_curves(directory: str | Path) -> pd.DataFrame | None:
    """Read what each run of a study logged.

    Args:
        directory: the study's directory.

    Returns:
        The rows of every `metrics.csv` with the columns `fold`, `seed`, `epoch`, `step` and the logged values; None if
        nothing was logged, for example because the model does not learn.

    Raises:
        MefusionError: a file cannot be read.
    """
    tables = []
    for run in planned_runs(directory):
        path = run.folder / "metrics.csv"
        if is_irregular(path):
            raise MefusionError(f"{path} is no regular file; delete it.")
        if not path.exists() or not path.stat().st_size:
            continue
        try:
            table = pd.read_csv(path)
        except (OSError, ValueError) as error:  # pandas' ParserError is a ValueError
            raise MefusionError(f"{path} is not a readable CSV file ({first_line(error)}); delete it.") from error
        if "epoch" not in table:
            raise MefusionError(f"{path} has no column 'epoch'; delete it.")
        if text := [name for name in table if len(table) and not is_numeric_dtype(table[name])]:
            raise MefusionError(f"{path} has a value in column {text[0]!r} that is not a number; delete it.")
        tables.append(table.assign(fold=run.fold, seed=run.seed))
    return pd.concat(tables, ignore_index=True) if tables else None


def headline(summary: Mapping[str, Any], beside: Sequence[Mapping[str, Any]] = ()) -> str:
    """Summarise a result in one line: the pooled scores, those that they have to beat, and the tasks' errors.

    Args:
        summary: of the result.
        beside: summaries of other studies; the best of the simple models on the same clips is named.
    """
    if summary["rule"] == "oracle":
        numbers = ", ".join(f"oracle {name.upper()} {summary[f'oracle_{name}']:.3f}" for name in metrics.SCORES)
        chosen = f"the epoch was chosen on the test subjects, so this is not a result: {numbers}"
        return "; ".join([chosen, *_of_different_code(summary)])
    seeds = f" and {len(summary['seeds'])} seeds" if "seeds" in summary else ""
    to_beat = [f"majority class {summary['majority']['uf1']:.3f}"]
    if reference := best_reference(summary, beside):
        to_beat.append(f"best reference {reference['provenance']['model']} {reference['uf1']:.3f}")
    around = "; ".join(text for text in (spread(summary, "uf1"), *to_beat) if text)
    parts = [
        f"pooled over {summary['clips']} clips{seeds}: UF1 {summary['uf1']:.3f} ({around}), "
        + ", ".join(f"{name.upper()} {summary[name]:.3f}" for name in ("uar", "acc", "wf1"))
    ]
    parts += [report.phrase(summary) for report in task_reports(summary["provenance"]) if report.headline]
    if constant := constant_phrase(summary):
        parts.append(constant)
    if missing := summary["missing_folds"]:
        parts.append(f"without the folds {', '.join(missing)}")
    if partial := summary["provenance"]["partial"]:
        parts.append(f"not the whole download: {', '.join(partial)}")
    if left_out := left_out_phrase(summary["provenance"]):
        parts.append(left_out)
    if origin := origin_phrase(summary["provenance"]):
        parts.append(origin)
    return "; ".join([*parts, *_of_different_code(summary)])


def constant_phrase(summary: Mapping[str, Any]) -> str:
    """Says in how many folds a network tells nothing apart; empty if in none."""
    found = summary.get("constant_folds", [])  # older summaries lack it
    folds = summary["folds"] * len(summary.get("seeds", [0]))
    return f"in {len(found)} of {folds} folds all clips get the same probabilities" if found else ""


def _constant_folds(predictions: pd.DataFrame, runs: Sequence[Run], model: str) -> list[str]:
    """Names of the runs; none of the majority class, which is the same for all clips by design."""
    found = {*constant_folds(predictions)} if model != MAJORITY else set()
    return [run.name for run in runs if (run.fold, run.seed) in found]


def _of_different_code(summary: Mapping[str, Any]) -> list[str]:
    code = summary["folds_differ"].get("code")
    return [f"made by different code: {', '.join(code)}"] if code else []


def _load_run(run: Run, study: Mapping[str, Any], columns: Mapping[str, float]) -> pd.DataFrame:
    table = load_predictions(run.folder, columns)
    expected = {"study": study["study"], "rule": study["rule"], "fold": run.fold, "seed": run.seed}
    for column, value in expected.items():
        if {*table[column]} != {value}:
            raise broken(run.folder, f"has {column} {some(table[column].unique())} instead of {value}")
    if sorted(classes_of(table)) != sorted(study["classes"]):
        raise broken(run.folder, f"has other classes than the study ({some(study['classes'])})")
    if not run.has_own(run.predictions):
        raise broken(run.predictions, "is not the table that the fold was completed with (another checksum)")
    return table[[*COLUMNS[:8], *(PROBABILITY + name for name in study["classes"]), *COLUMNS[8:], *columns]]


def _origin(run: Run) -> dict[str, str]:
    path = run.folder / "fold.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        kind = facts["device"].partition(":")[0]  # without its number: folds may run on different GPUs of one machine
        return {"git_revision": str(facts["git_revision"]), "device": kind, **facts["versions"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise broken(path, f"does not say where the fold was run ({first_line(error)})") from error


def _differences(origins: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    values = {key: sorted({str(origin.get(key, "none")) for origin in origins}) for key in origins[0]}
    return {key: different for key, different in values.items() if len(different) > 1}


def _code_differences(runs: Sequence[Run], study: Mapping[str, Any]) -> dict[str, list[str]]:
    known = sorted({str(code) for code in (study.get("code"), *(run.code for run in runs)) if code is not None})
    return {"code": known} if len(known) > 1 else {}


def _require_sample_list(predictions: pd.DataFrame, study: dict[str, Any], directory: Path) -> None:
    expected = study["sample_list_hash"]
    for seed, part in predictions.groupby("seed"):
        if (found := sample_list_hash(part)) != expected:
            raise MefusionError(
                f"{directory}: the folds of seed {seed} have other clips or labels than the study (sample "
                f"list {found}, not {expected}); delete the fold that is wrong and run the study again."
            )
