"""Make a bundle from a study that was trained on all its subjects."""

import importlib.metadata
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from safetensors.torch import save
from torch import nn

from mefusion import __version__
from mefusion.clips.table import folder_name
from mefusion.common.errors import MefusionError
from mefusion.common.files import remove_leftovers, sha256, temporary_path, told_if_unwritable
from mefusion.common.units import UNIT_TASK, UNITS
from mefusion.evaluation.calibration import LIMITS
from mefusion.inference.bundle import (
    CARD,
    DESCRIPTION,
    FORMAT,
    ONNX,
    OWN_MODELS,
    WEIGHTS,
    description_text,
    read_bundle,
)
from mefusion.inference.networks import build_network
from mefusion.inference.onnx import require_onnx, write_onnx
from mefusion.inference.predictor import Predictor
from mefusion.inference.rendered import recording_settings
from mefusion.inference.scores import Score, read_score
from mefusion.inference.seen import BEFORE, seen_before, seen_by
from mefusion.studies.record import has_score, load_study, planned_runs, read_config
from mefusion.studies.runs import Run
from mefusion.training.weights import TrainedWeights, load_weights


@dataclass(frozen=True)
class TrainedStudy:
    """A study that was trained on all its subjects, as it lies on disk.

    Attributes:
        directory: of the study.
        facts: of `study.json`.
        config: of `config.yaml`.
        run: the run whose weights are taken: that of the first seed.
        weights: of the run.
    """

    directory: Path
    facts: Mapping[str, Any]
    config: Mapping[str, Any]
    run: Run
    weights: TrainedWeights


def export_study(
    directory: str | Path,
    *,
    to: str | Path | None = None,
    scores: str | Path | None = None,
    onnx: bool = False,
    network: type[nn.Module] | None = None,
) -> Path:
    """Write a bundle, as a whole or not at all.

    Args:
        directory: of a study with protocol=all.
        to: the new folder; None means `bundles/<study>`.
        scores: directory of the study whose score stands for this one: the same settings, but tested on subjects that
            did not train.
        onnx: whether to write `model.onnx` too.
        network: the class of a network that is none of `mefusion.models`.

    Returns:
        The bundle's folder.

    Raises:
        MefusionError: the study is another one, or is not complete; the score does not stand for it; the folder is
            there already; or the network cannot be exported.
    """
    study = read_trained(Path(directory))
    score = None if scores is None else read_score(Path(scores), study.directory, study.facts, study.config)
    if onnx:
        require_onnx()
    folder = Path(to) if to is not None else Path("bundles") / folder_name(study.directory.resolve().name)
    if folder.exists():
        raise MefusionError(f"{folder} is there already: remove it, or give another folder with --to")
    with told_if_unwritable(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        if to is None:  # another folder may be one with much else in it, through which the search would go
            remove_leftovers(folder.parent)
        temporary = temporary_path(folder)
        temporary.mkdir()
        try:
            write_bundle(temporary, study, score, folder, onnx=onnx, network=network)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def read_trained(directory: Path) -> TrainedStudy:
    """Read a study that was trained on all its subjects.

    Raises:
        MefusionError: it is another study, is not complete, or its files are damaged.
    """
    facts = load_study(directory)
    if has_score(facts):
        raise MefusionError(
            f"{directory} is a study of protocol={facts.get('protocol')}, whose networks each lack some subjects: run "
            "the same mefusion-train command with protocol=all, and then mefusion-export on that study with "
            f"--scores {directory}"
        )
    run = planned_runs(directory, facts)[0]
    if not run.done:
        raise MefusionError(f"{directory} is not trained yet: run its mefusion-train command again, which goes on")
    weights = load_weights(run.weights)
    if not run.has_own(run.weights):
        raise MefusionError(f"{run.weights} was changed after the training: delete {run.folder} and train again")
    config = read_config(directory)
    if not all(isinstance(facts.get(name), dict) for name in ("trained_on", "preparation")):
        raise MefusionError(f"{directory / 'study.json'} does not say what it was trained on: run the study again")
    recording_settings(directory, facts, config)
    return TrainedStudy(directory, facts, config, run, weights)


def write_bundle(
    folder: Path,
    study: TrainedStudy,
    score: Score | None,
    final: Path,
    *,
    onnx: bool = False,
    network: type[nn.Module] | None = None,
) -> None:
    """Write the files of a bundle into `folder`, which will be renamed to `final`; see `export_study`.

    Raises:
        MefusionError: the study lacks something, or its network cannot be used.
    """
    (folder / WEIGHTS).write_bytes(save(dict(study.weights.network)))
    try:
        content = describe(study, score)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise MefusionError(f"{study.directory} lacks what a bundle needs ({error}): run the study again") from error
    content["files"] = {WEIGHTS: sha256(folder / WEIGHTS)}
    (folder / DESCRIPTION).write_text(description_text(content), encoding="utf-8")
    try:  # what cannot be used is not exported
        bundle = read_bundle(folder)
        made = build_network(bundle, network)
        Predictor(bundle, made).try_out()
    except MefusionError as error:
        raise MefusionError(str(error).replace(str(folder), str(final))) from error
    if onnx:
        content["onnx"] = write_onnx(made, bundle, folder / ONNX)
        content["files"][ONNX] = sha256(folder / ONNX)
        (folder / DESCRIPTION).write_text(description_text(content), encoding="utf-8")
    (folder / CARD).write_text(model_card(content, folder=final), encoding="utf-8")


def describe(study: TrainedStudy, score: Score | None) -> dict[str, Any]:
    """Content of `bundle.json`, without the checksums of the files."""
    facts, config, weights = study.facts, study.config, study.weights
    model, statistics = config["model"], weights.statistics
    arguments = {name: value for name, value in model["network"].items() if not name.startswith("_")}
    arguments |= {
        "num_classes": len(facts["classes"]),
        "tasks": [*facts["tasks"]],
        "clip_length": config["clip_length"],
    }
    trained = {name: weights.facts[name] for name in ("seed", "rule", "epoch")}
    known = ("config_hash", "git_revision", "code", "versions", "seeds")
    return {
        "format": FORMAT,
        "name": facts["study"],
        "network": {"class": model["network"]["_target_"], "arguments": arguments},
        "classes": facts["classes"],
        UNIT_TASK: [*UNITS] if UNIT_TASK in facts["tasks"] else None,
        "view": model["view"],
        "image_size": model["network"]["image_size"],
        "clip_length": config["clip_length"],
        "windows": model["training"]["windows"],
        "flow": model.get("flow", {}),
        **recording_settings(study.directory, facts, config),
        "normalisation": {name: getattr(statistics, name).flatten().tolist() for name in ("mean", "std")},
        "class_counts": dict(zip(facts["classes"], statistics.class_counts.tolist(), strict=True)),
        "temperature": score.temperature if score else 1.0,
        "calibration": score.calibration if score else None,
        "labels": _without_names(config["labels"]),
        "score": score.plain if score else None,
        "study": {"name": facts["study"], **trained, **{name: facts.get(name) for name in known}},
        "data": {"name": facts["data"], "partial": facts["partial"], **facts["trained_on"], BEFORE: seen_before(facts)},
        "onnx": None,
        "versions": {"mefusion": __version__, "torch": importlib.metadata.version("torch")},
    }


def _without_names(labels: Mapping[str, Any]) -> dict[str, Any]:
    """A label scheme without the clips that it leaves out, which are named by their subjects."""
    datasets = {name: {**own, "leave_out": []} for name, own in labels["datasets"].items()}
    return {**labels, "datasets": datasets}


def model_card(content: Mapping[str, Any], *, folder: Path) -> str:
    """The model card of a bundle, Markdown.

    Args:
        content: of `bundle.json`.
        folder: of the bundle, for the example.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mefusion.inference", "."),
        autoescape=False,  # it is Markdown
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    score, (module, _, name) = content["score"], content["network"]["class"].rpartition(".")
    ends, scored = (score["uf1_interval"], score.get(UNIT_TASK)) if score else (None, None)
    return environment.get_template("card.md.j2").render(
        **content,
        folder=folder.name,
        seen=seen_by(content["data"]),
        before=content["data"].get(BEFORE),
        units=scored if scored and scored["units"] else None,
        at_limit=any(math.isclose(content["temperature"], limit, rel_tol=0.01) for limit in LIMITS),
        interval=f"{ends[0]:.3f} to {ends[1]:.3f}" if ends else "-",
        own_network="" if module == OWN_MODELS else f", network={name}",
    )
