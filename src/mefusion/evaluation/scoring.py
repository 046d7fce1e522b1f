"""Compute all scores of a study from its pooled prediction table."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mefusion.common.errors import MefusionError
from mefusion.common.units import UNIT_TASK
from mefusion.evaluation import metrics
from mefusion.evaluation.bootstrap import score_intervals
from mefusion.evaluation.measures import TaskReport
from mefusion.evaluation.predictions import classes_of

if TYPE_CHECKING:
    import pandas as pd

_RECOGNITION = (*metrics.SCORES, "mean_of_folds_uf1", "f1", "recall", "confusion_matrix")
"""Under the rule `oracle`, these names and those of the tasks' measures get the prefix `oracle_`."""


def score(
    predictions: "pd.DataFrame", classes: Sequence[str] | None = None, reports: Iterable[TaskReport] = ()
) -> dict[str, Any]:
    """Compute every metric of one study from its pooled prediction table.

    Args:
        predictions: the table of one study and rule, of one seed or several, from `load_predictions`.
        classes: the scheme's classes in order; by default those of the probability columns.
        reports: reports of the study's tasks; their measures are computed too.

    Returns:
        Plain data, ready for JSON: the entries of `metrics.recognition_report`, averaged over the seeds
        (`confusion_matrix` is the sum); `intervals`, see `bootstrap.score_intervals`; `subjects`, with the accuracy on
        each subject; the tasks' measures by name; with several seeds, `seeds`, the scores of each seed, and `sd`, their
        standard deviations; with several datasets, `datasets`, the same entries for each dataset. Under the rule
        `oracle`, the name of each metric begins with `oracle_`.

    Raises:
        MefusionError: the table mixes studies or rules.
    """
    classes = list(classes) if classes is not None else classes_of(predictions)
    reports = list(reports)
    for column in ("study", "rule"):
        found = sorted(map(str, predictions[column].unique()))
        if len(found) > 1:
            raise MefusionError(f"The table mixes {column} {', '.join(found)}; score each {column} by itself.")
    scores = _score_part(predictions, classes, reports)
    datasets = sorted(predictions["dataset"].unique())
    if len(datasets) > 1:
        parts = {name: predictions[predictions["dataset"] == name] for name in datasets}
        scores["datasets"] = {name: _score_part(part, classes, reports) for name, part in parts.items()}
    if predictions["rule"].iloc[0] != "oracle":
        return scores
    measured = (measure.name for report in reports for measure in report.measures)
    return _named_oracle(scores, {*_RECOGNITION, *measured, UNIT_TASK})


def spread(scores: Mapping[str, Any], name: str) -> str:
    """How a score spreads, in words: its standard deviation over seeds and its 95 % interval over subjects.

    Args:
        scores: what `score` returns.
        name: of the score.

    Returns:
        The text; empty where neither is known.
    """
    parts = []
    if name in scores.get("sd", {}):
        parts.append(f"sd over seeds {scores['sd'][name]:.3f}")
    if name in scores["intervals"]:
        low, high = scores["intervals"][name]
        parts.append(f"95 % interval over {len(scores['subjects'])} subjects {low:.3f} to {high:.3f}")
    return "; ".join(parts)


def _score_part(table: "pd.DataFrame", classes: list[str], reports: Sequence[TaskReport]) -> dict[str, Any]:
    by_seed = {str(seed): _recognition(part, classes) for seed, part in table.groupby("seed")}
    scores = _over_seeds(list(by_seed.values()))
    scores["intervals"] = score_intervals(table, classes)
    right = table.assign(acc=table["label"] == table["prediction"]).groupby(["dataset", "subject"])
    subjects = right.agg(clips=("clip_id", "nunique"), acc=("acc", "mean")).reset_index()
    scores |= {"clips": int(subjects["clips"].sum()), "subjects": subjects.to_dict("records")}
    if len(by_seed) > 1:
        scores["seeds"] = {seed: {name: part[name] for name in metrics.SCORES} for seed, part in by_seed.items()}
        values = {name: [part[name] for part in by_seed.values()] for name in metrics.SCORES}
        scores["sd"] = {name: float(np.std(of_seeds, ddof=1)) for name, of_seeds in values.items()}
    for report in reports:
        scores |= report.summary(table)
    return scores


def _recognition(table: "pd.DataFrame", classes: list[str]) -> dict[str, Any]:
    labels, predictions, folds = (table[name].tolist() for name in ("label", "prediction", "fold"))
    return metrics.recognition_report(labels, predictions, folds, classes)


def _over_seeds(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Average the reports of several seeds. The counts of clips and the majority class are the same in all."""
    scores = dict(reports[0])
    for name in (*metrics.SCORES, "mean_of_folds_uf1"):
        scores[name] = float(np.mean([report[name] for report in reports]))
    scores["confusion_matrix"] = np.sum([report["confusion_matrix"] for report in reports], axis=0).tolist()
    for name, part in scores["per_class"].items():
        means = {key: np.mean([report["per_class"][name][key] for report in reports]) for key in ("f1", "recall")}
        scores["per_class"][name] = part | {key: float(mean) for key, mean in means.items()}
    return scores


def _named_oracle(scores: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {
        f"oracle_{name}" if name in names else name: _named_oracle_value(name, value, names)
        for name, value in scores.items()
    }


def _named_oracle_value(name: str, value: Any, names: set[str]) -> Any:
    if isinstance(value, dict) and name != "majority":  # the majority class does not depend on the rule
        return _named_oracle(value, names)
    if name == "subjects":
        return [_named_oracle(subject, names) for subject in value]
    return value
