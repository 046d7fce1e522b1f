"""The score that stands for a network: that of the same settings, tested on subjects that did not train."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mefusion.common.errors import MefusionError
from mefusion.common.mappings import flatten
from mefusion.common.units import UNIT_TASK
from mefusion.evaluation.predictions import some
from mefusion.studies.identity import study_content
from mefusion.studies.record import load_study, read_config
from mefusion.studies.results import read_calibration, read_result


@dataclass(frozen=True)
class Score:
    """A score and a calibration, for `bundle.json`.

    Attributes:
        plain: study, protocol, scores with interval, those of the majority class, and those of action units if the
            study has them.
        temperature: 1 where there is no calibration.
        calibration: number of trainings and expected calibration errors; None unless the study had rule=inner_val.
    """

    plain: dict[str, Any]
    temperature: float
    calibration: dict[str, Any] | None


def read_score(scores: Path, study: Path, facts: Mapping[str, Any], config: Mapping[str, Any]) -> Score:
    """Read the score of a study, and check that it stands for another one.

    Args:
        scores: directory of the study with the score.
        study: directory of the study with protocol=all.
        facts, config: its `study.json` and `config.yaml`.

    Raises:
        MefusionError: the study is not complete, selects on its test subjects, or has other settings or clips.
    """
    told = load_study(scores)
    if told["rule"] == "oracle":
        raise MefusionError(f"{scores} has rule=oracle, which selects on the test subjects: its scores are no results")
    if differing := differing_settings(config, facts, read_config(scores), told):
        raise MefusionError(
            f"the score of {scores} does not stand for {study}, since they differ in {some(differing, 5)}: give the "
            "study with the same settings and another protocol, such as protocol=loso"
        )
    result = read_result(scores)
    if told["sample_list_hash"] != facts["trained_on"]["sample_list_hash"]:
        raise MefusionError(
            f"the score of {scores} covers {told.get('clips')} clips, and {study} was trained on "
            f"{facts['trained_on']['clips']}, not the same ones: give a study that tests each of these, such as one "
            "with protocol=loso"
        )
    summary, calibration = result.summary, read_calibration(scores)
    plain = {name: summary[name] for name in ("study", "uf1", "uar", "acc", "wf1", "clips")}
    plain |= {
        "protocol": told.get("protocol"),
        "uf1_interval": summary["intervals"].get("uf1"),
        "per_class": summary["per_class"],
        "majority": {name: summary["majority"][name] for name in ("uf1", "uar", "acc")},
        "subjects": len(summary["subjects"]),
        "seeds": told["seeds"],
        "code": told.get("code"),
        UNIT_TASK: summary.get(UNIT_TASK),
    }
    if calibration is None:
        return Score(plain, 1.0, None)
    before, after = calibration.errors
    runs = len(calibration.temperatures)
    return Score(plain, calibration.temperature, {"runs": runs, "error_before": before, "error_after": after})


def differing_settings(
    config: Mapping[str, Any], facts: Mapping[str, Any], other: Mapping[str, Any], other_facts: Mapping[str, Any]
) -> list[str]:
    """Settings that decide results and differ between two studies, as `key=value and value`; protocol and seeds apart.

    Args:
        config, facts: `config.yaml` and `study.json` of one study.
        other, other_facts: of the other.

    Raises:
        MefusionError: the other study was made by an older version, with other settings.
    """
    try:
        first, second = (
            flatten(_content(settings, told)) for settings, told in ((config, facts), (other, other_facts))
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise MefusionError(
            f"{other_facts['study']} was made by an older version of mefusion, and its settings cannot be compared: "
            "run it again"
        ) from error
    return [
        f"{key}={first.get(key)} and {second.get(key)}"
        for key in dict.fromkeys([*first, *second])
        if first.get(key) != second.get(key)
    ]


def _content(config: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    tasks = {name: {**config["tasks"][name], "weight": weight} for name, weight in facts["tasks"].items()}
    backend, datasets = config["faces"]["backend"], [*config["labels"]["datasets"]]
    digest = (facts.get("init_from") or {}).get("digest")
    content = study_content(config, backend=backend, tasks=tasks, datasets=datasets, init_from=digest)
    protocol = content.pop("protocol")
    del content["seeds"]
    return content | {"protocol": {"validation": protocol.get("validation")}}
