"""What the page of an annotation run shows, read from the run's folder."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from mefusion.annotation.agreement.consistency import measure_consistency
from mefusion.annotation.extraction.extraction import read_segments
from mefusion.annotation.extraction.segments import Segment
from mefusion.annotation.labelling.answers import Status, read_answers, read_way
from mefusion.annotation.labelling.table import read_judgements, read_labels
from mefusion.common.errors import MefusionError


@dataclass(frozen=True)
class AnnotationRun:
    """A run.

    Attributes:
        folder: of the run.
        model, vocabulary: who was asked the last time, and with which labels.
        segments: with a speaker.
        labels: a row of `read_labels` for each segment that was asked about, by its name.
        distribution: number of segments of each dominant emotion, in the vocabulary's order; none is left out.
        rejected: stage, reason, number and seconds, most first.
        kept: number and seconds of segments with a label, and of all stretches of speech that were found.
        cost: see `_cost`.
        consistency: of the runs; None if nothing was asked.
        evaluation: beside labels of people; None if there is none.
    """

    folder: Path
    model: str
    vocabulary: str
    segments: Sequence[Segment]
    labels: Mapping[str, Mapping[str, Any]]
    distribution: Mapping[str, int]
    rejected: Sequence[Mapping[str, Any]]
    kept: Mapping[str, float]
    cost: Mapping[str, float]
    consistency: Mapping[str, Any] | None
    evaluation: Mapping[str, Any] | None


def read_run(folder: Path) -> AnnotationRun:
    """Read a run.

    Raises:
        MefusionError: a file of it is missing or damaged.
    """
    config = _read_config(folder / "config.yaml")
    names = [*config["vocabulary"]["labels"]]
    runs, segments = int(config["runs"]), read_segments(folder)
    table = read_labels(folder, names, runs, segments)
    # pandas has NaN where there is no dominant emotion.
    labels = {
        row["segment"]: row | {"dominant": row["dominant"] if isinstance(row["dominant"], str) else None}
        for row in table.to_dict("records")
    }
    judgements = read_judgements(folder, names, runs, segments)
    videos = {segment.name: segment.video for segment in segments}
    counts = Counter(row["dominant"] for row in labels.values() if row["dominant"])
    lines = read_answers(folder)
    rejected = _read_rejected(folder / "rejected.csv", segments, labels)
    length = {segment.name: segment.end - segment.start for segment in segments}
    kept = [length[name] for name, row in labels.items() if row["dominant"]]
    found = rejected[(rejected["stage"] == "extract") & rejected["segment"].notna()]
    return AnnotationRun(
        folder=folder,
        model=str(read_way(folder, lines)["model"] if lines else "-"),
        vocabulary=str(config["vocabulary"]["name"]),
        segments=segments,
        labels=labels,
        distribution={name: counts[name] for name in names},
        rejected=_by_reason(rejected),
        kept={
            "segments": len(kept),
            "seconds": sum(kept),
            "found": len(segments) + len(found),
            "found_seconds": sum(length.values()) + float((found["end"] - found["start"]).sum()),
        },
        cost=_cost(lines, sum(kept)),
        consistency=measure_consistency(judgements, videos, names, runs) if judgements else None,
        evaluation=_read_json(folder / "evaluation.json"),
    )


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not config["vocabulary"]["labels"] or not config["runs"]:
            raise ValueError
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        raise MefusionError(f"{path} is missing or damaged: run mefusion-annotate there again") from error
    return config


def _read_json(path: Path) -> Any:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MefusionError(f"{path} is damaged: run stage=evaluate again") from error


def _read_rejected(path: Path, segments: Sequence[Segment], labels: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """The rows of `rejected.csv`; those of stage label are taken from the answers, which may be newer."""
    columns = ["stage", "video", "segment", "start", "end", "reason"]
    table = pd.DataFrame(columns=columns)
    if path.is_file():
        try:
            table = pd.read_csv(path, dtype={"video": str, "segment": str})[columns]
        except (OSError, ValueError, KeyError) as error:
            raise MefusionError(f"{path} is damaged: run mefusion-annotate there again") from error
    rows = []
    for segment in segments:
        row = labels.get(segment.name, {"dominant": None, "status": "not asked about yet"})
        if not row["dominant"]:
            span = {"start": segment.start, "end": segment.end}
            rows.append({"stage": "label", "segment": segment.name, **span, "reason": row["status"]})
    table = table[table["stage"] != "label"].astype({"start": float, "end": float})
    return pd.concat([table, pd.DataFrame(rows, columns=columns)]) if rows else table


def _by_reason(rejected: pd.DataFrame) -> list[dict[str, Any]]:
    """Number and seconds of each stage and reason; of a model's reasons, which are all different, its status alone."""
    reasons = rejected["reason"].astype(str)
    short = reasons.where(rejected["stage"] != "label", reasons.str.partition(":")[0] if len(reasons) else reasons)
    table = rejected.assign(reason=short, seconds=rejected["end"].astype(float) - rejected["start"].astype(float))
    grouped = table.groupby(["stage", "reason"], sort=False)["seconds"].agg(["size", "sum"]).reset_index()
    ordered = grouped.sort_values(["stage", "size"], ascending=[True, False])
    return [
        {"stage": row["stage"], "reason": row["reason"], "count": int(row["size"]), "seconds": float(row["sum"])}
        for row in ordered.to_dict("records")
    ]


def _cost(lines: Sequence[Mapping[str, Any]], seconds: float) -> dict[str, float]:
    """Requests, failed ones, tokens, USD, and USD for an hour of labelled speech, over all starts."""
    usd = sum(line.get("usd") or 0.0 for line in lines)
    return {
        "requests": len(lines),
        "failed": sum(line["status"] == Status.failed for line in lines),
        "invalid": sum(line["status"] == Status.invalid for line in lines),
        "tokens_in": sum(line.get("tokens_in") or 0 for line in lines),
        "tokens_out": sum(line.get("tokens_out") or 0 for line in lines),
        "usd": usd,
        "usd_per_hour": usd / seconds * 3600 if seconds else 0.0,
    }
