"""The simple models that a network has to beat, and the best of them on a study's clips."""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mefusion.common.files import is_irregular

MAJORITY = "majority"
"""The model that says the most frequent class of the training clips."""

REFERENCES = ("linear_flow", "hoof_svm", "flow_cnn")
"""Simple models, by name, that every network has to beat; the majority class, which every result has, is apart."""


def best_reference(summary: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The summary of a simple model with the best UF1 on the same clips.

    Args:
        summary: that the reference stands beside, as `mefusion.studies.results.read_result` has it.
        others: summaries to choose from; those of the rule oracle cannot be a reference.

    Returns:
        None if there is none, or if the summary itself is of a simple model.
    """
    if summary["provenance"]["model"] in REFERENCES:
        return None
    fitting = [
        other
        for other in others
        if other["provenance"]["model"] in REFERENCES and _clips(other) == _clips(summary) and other["rule"] != "oracle"
    ]
    return max(fitting, key=lambda other: other["uf1"], default=None)


def _clips(summary: Mapping[str, Any]) -> tuple[str, str | None]:
    """What tells the clips of a study from others: their list, and what they show; older studies lack that."""
    return summary["provenance"]["sample_list_hash"], summary["provenance"].get("pictures_hash")


def summaries_beside(directory: Path) -> list[dict[str, Any]]:
    """Summaries of the complete studies of simple models in the folder of a study; what cannot be read is left out."""
    summaries = []
    for name in REFERENCES:
        for path in sorted(directory.parent.glob(f"{name}-*/summary.json")):
            with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
                summary = {} if is_irregular(path) else json.loads(path.read_text(encoding="utf-8"))
                provenance = summary["provenance"]
                float(summary["uf1"]), provenance["model"], provenance["sample_list_hash"], summary["rule"]
                if not summary["missing_folds"]:
                    summaries.append(summary)
    return summaries
