"""Make the objects that a configuration describes, once; the packages below this one never see a configuration.

experiment = resolve_experiment(config)    settings, source, tasks
clips = load_clips(experiment)             prepared clips with their classes
study = plan_study(experiment, clips)      name, folds and seeds
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from mefusion.clips.cache import PICTURES, read_index, read_left_out, recorded_source, settings_hash
from mefusion.clips.table import KEY, clip_notes, folder_name
from mefusion.common.errors import MefusionError
from mefusion.common.units import UNIT_TASK
from mefusion.configuration.cli import configuration_folder
from mefusion.configuration.launching import own_folders
from mefusion.configuration.objects import check_target, make, modules_of_targets
from mefusion.configuration.preparing import Preparation, plan_preparation, require_folder_name, typed_settings
from mefusion.configuration.schema import ProtocolOptions, TrainSettings
from mefusion.configuration.starting import Origin, read_origin
from mefusion.configuration.targets import clip_targets
from mefusion.configuration.using import facts_for_use
from mefusion.datasets.labels import classes_of_clips, label_clips
from mefusion.datasets.reading.counts import differences
from mefusion.datasets.reading.source import Source
from mefusion.evaluation.folds import Fold, make_folds
from mefusion.evaluation.predictions import sample_list_hash
from mefusion.faces.detectors import backend_version
from mefusion.preparation.checking import require_prepared
from mefusion.preparation.identity import PREPARATION
from mefusion.studies import provenance
from mefusion.studies.code import code_digest
from mefusion.studies.identity import study_content, study_hash
from mefusion.studies.study import Study
from mefusion.training.losses import Task
from mefusion.training.settings import Rule
from mefusion.windows.settings import Windows
from mefusion.windows.store import ClipStore
from mefusion.windows.views import make_view


@dataclass(frozen=True)
class Experiment:
    """A resolved configuration, and the objects that it describes.

    Attributes:
        settings: the typed settings.
        preparation: of the study's clips.
        tasks: the tasks that are on, with their weights; recognition is one of them.
        plain: the resolved configuration as plain data.
        yaml: the same as text.
        prepare_command: the command that prepares the clips, for messages.
    """

    settings: TrainSettings
    preparation: Preparation
    tasks: Mapping[str, Task]
    plain: Mapping[str, Any]
    yaml: str
    prepare_command: str


def resolve_experiment(config: DictConfig) -> Experiment:
    """Resolve a configuration of conf/train.yaml.

    Raises:
        MefusionError: a value is not allowed.
    """
    settings: TrainSettings = typed_settings(config)
    seeds = settings.seeds
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise MefusionError(f"seeds={seeds}: give one or more different whole numbers from 0 up, as [0,1,2]")
    require_folder_name("model.name", settings.model.name)
    require_folder_name("labels.name", settings.labels.name)
    plain: Any = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    return Experiment(
        settings=settings,
        preparation=plan_preparation(settings),
        tasks=resolve_tasks(settings),
        plain=plain,
        yaml=OmegaConf.to_yaml(config, resolve=True),
        prepare_command=_prepare_command(settings),
    )


def resolve_tasks(settings: TrainSettings) -> dict[str, Task]:
    """Make the tasks of conf/tasks that the model has, without those of weight 0.

    Raises:
        MefusionError: an entry is not a task, the model has a weight of an unknown task or none of a task that the user
            turned on, a weight is below 0, or recognition is off.
    """
    own, tasks = settings.model.task_weights, {}
    shipped = yaml.safe_load((configuration_folder("conf") / "tasks" / "all.yaml").read_text(encoding="utf-8"))
    known = {**shipped, **settings.tasks}
    if unknown := [name for name in own if name not in known]:
        raise MefusionError(
            f"model.task_weights.{unknown[0]}: there is no such task; choose from {', '.join(known)}, or give "
            f"the class of a task of your own as +tasks.{unknown[0]}._target_=CLASS"
        )
    for name, options in settings.tasks.items():
        if not isinstance(options, dict) or "_target_" not in options:
            raise MefusionError(
                f"tasks.{name} is not a task: give tasks.{name}._target_=CLASS and tasks.{name}.weight=1"
            )
        options = dict(options)
        weight = options.pop("weight", None)
        check_target(f"tasks.{name}", options, Task)
        if name not in own and weight != 0 and not (name in shipped and weight is None):
            raise MefusionError(
                f"tasks.{name}: model={settings.model.name} has no such task, only {', '.join(own)}; if its network "
                f"returns what the task needs, give +model.task_weights.{name}=1"
            )
        if weight is None or name not in own:
            weight = own.get(name, 0)
        if not isinstance(weight, int | float) or weight < 0:
            raise MefusionError(f"tasks.{name}.weight={weight}: give a number from 0 up")
        if weight:
            tasks[name] = make(f"tasks.{name}", options, Task, weight=float(weight))  # type: ignore[type-abstract]
    if "recognition" not in tasks:
        raise MefusionError("tasks.recognition is off, but a study is scored by it: give it a weight above 0")
    return tasks


def _prepare_command(settings: TrainSettings) -> str:
    """The `mefusion-prepare` command that prepares the clips for this `mefusion-train` command."""
    if not HydraConfig.initialized():
        return "mefusion-prepare"
    hydra = HydraConfig.get()
    # An experiment may have chosen these and the alignment of faces, so they may be missing on the command line.
    chosen = [f"{group}={hydra.runtime.choices[group]}" for group in ("data", "labels", "faces")]
    aligned = f"faces.alignment={settings.faces.alignment}"
    shared = ("data", "labels", "faces", "cache_dir", "clip_length", "short_clips", "missing_apex", "flow")
    # Forms of an override: a setting (data.root=), a group in a group (data/sources=), an added option (+data@)
    groups = ((text, re.match(r"[+~]*(\w*)", text)) for text in hydra.overrides.task)
    given = [text for text, group in groups if group and group[1] in shared and text not in chosen]
    given = [text for text in given if not re.match(r"\+?labels\.(?!name=)", text)]  # a class says nothing of its clips
    if settings.faces.alignment != "stabilised" and aligned not in given:
        given.append(aligned)
    shown = [text for text in chosen if text != "faces=default"]
    return " ".join(["mefusion-prepare", *own_folders(hydra), *shown, *given])


def load_clips(experiment: Experiment) -> ClipStore:
    """Load the prepared clips that have a class in the label scheme, as the model sees them.

    Raises:
        MefusionError: the clips are not prepared or their files are damaged, some of the download are missing, or they
            lack what the model needs.
    """
    settings, source = experiment.settings, experiment.preparation.source
    labels, folder = settings.labels, experiment.preparation.cache
    index = read_index(folder, command=experiment.prepare_command)
    recorded = recorded_source(folder, command=experiment.prepare_command)
    if recorded and source.digest() not in (None, recorded):
        raise MefusionError(
            f"the list of clips of data={source.name} has changed since it was prepared: "
            f"run {experiment.prepare_command}"
        )
    labelled = label_clips(index, labels, known=source.official)
    require_official_clips(labelled, source, labels.name, failures=folder / "failures.csv")
    require_prepared(labelled, folder, experiment.preparation.settings, command=experiment.prepare_command)
    view = make_view(
        settings.model.view,
        image_size=settings.model.image_size,
        dual_phase=settings.model.training.windows == Windows.dual_phase,
        flow=settings.model.flow,
    )
    clips = ClipStore(
        labelled,
        folder,
        classes=labels.class_names(labelled),
        clip_length=settings.clip_length,
        view=view,
        clip_targets=clip_targets(experiment.tasks, labelled, data=source.name),
    )
    if "landmarks" in experiment.tasks and "landmarks" not in clips.arrays[0]:
        raise MefusionError(
            "clips prepared with faces=none have no landmarks to learn from: give tasks.landmarks.weight=0"
        )
    return clips


def require_official_clips(labelled: pd.DataFrame, source: Source, scheme: str, *, failures: Path) -> None:
    """Check that the labelled clips are those of the official download, unless a partial copy is allowed.

    Raises:
        MefusionError: counts differ; the message says which, and which clips could not be prepared.
    """
    found = differences(labelled, scheme=scheme, datasets=source.required_counts)
    if not found:
        return
    names = ", ".join(f"{row.subject}/{row.clip_id}" for row in read_left_out(failures).itertuples())
    raise MefusionError(
        f"data={source.name} labels={scheme} is not the official download: {'; '.join(found)}"
        f"{f'; not prepared: {names}' if names else ''}; complete it, or give data.allow_partial=true to go on"
    )


def plan_study(experiment: Experiment, clips: ClipStore) -> Study:
    """Name a study by its content, split its subjects, and collect the facts that are stored with its result."""
    settings, protocol = experiment.settings, experiment.settings.protocol
    source = experiment.preparation.source
    options = {field.name: getattr(protocol, field.name) for field in fields(ProtocolOptions)}
    folds = make_folds(protocol.name, clips.index, **options)
    if settings.rule == Rule.oracle and not any(fold.test for fold in folds):
        raise MefusionError(
            f"rule=oracle selects the epoch on the test subjects, and protocol={protocol.name} has none: "
            "give rule=last, rule=average or rule=inner_val"
        )
    tested = clips.index[clips.index["subject"].isin({subject for fold in folds for subject in fold.test})]
    # With rule=inner_val, the seed decides which of the training subjects are validated on.
    training = {subject for fold in folds for subject in fold.train} if settings.rule == Rule.inner_val else ()
    validated = clips.index[clips.index["subject"].isin(training)]
    origin = read_origin(settings, experiment.tasks, clips.classes, tested=tested, validated=validated)
    content = _content(experiment, clips, origin)
    digest = _digest(experiment, clips, content)
    return Study(
        directory=Path(settings.output_dir)
        / folder_name(f"{settings.model.name}-{source.name}-{settings.labels.name}-{digest}"),
        config=experiment.yaml,
        facts={"config_hash": digest, **_facts(experiment, clips, content, folds, tested, origin)},
        folds=folds,
        seeds=tuple(settings.seeds),
        rule=settings.rule,
        validation=protocol.validation,
        keep_weights=settings.keep_weights,
        start=origin.start,
    )


def _content(experiment: Experiment, clips: ClipStore, origin: Origin) -> dict[str, Any]:
    """The settings that change a study's results."""
    return study_content(
        experiment.plain,
        backend=experiment.preparation.settings.backend,
        tasks=_task_settings(experiment),
        datasets=set(clips.index["dataset"]),
        init_from=origin.digest,
    )


def _digest(experiment: Experiment, clips: ClipStore, content: dict[str, Any]) -> str:
    """The digest of a study's settings and clips, which names it."""
    coding = ["action_units"] if UNIT_TASK in experiment.tasks else []
    return study_hash(
        content,
        samples=sample_list_hash(clips.index),
        # What a clip shows, where its apex is and a coding that is learned count; the folder of its file does not.
        contents=sorted(clips.index[[*KEY, "content", "apex_place", *coding]].astype(str).agg("\t".join, axis=1)),
        preparation=PREPARATION,
        faces=backend_version(experiment.preparation.settings.backend),
    )


def _facts(
    experiment: Experiment,
    clips: ClipStore,
    content: Mapping[str, Any],
    folds: Sequence[Fold],
    tested: pd.DataFrame,
    origin: Origin,
) -> dict[str, Any]:
    """What is stored with a study's result, in `study.json`."""
    settings, labels, source = experiment.settings, experiment.settings.labels, experiment.preparation.source
    named = [content["model"]["network"], content.get("callbacks")]
    named += [experiment.plain["tasks"][name] for name in experiment.tasks]
    facts = {
        "model": settings.model.name,
        "data": source.name,
        "labels": labels.name,
        "tasks": {name: task.weight for name, task in experiment.tasks.items()},
        "measures": {name: task.report.to_plain() for name, task in experiment.tasks.items() if task.report.measures},
        "classes": list(clips.classes),
        "protocol": settings.protocol.name,
        "folds": [fold.name for fold in folds],
        "clips": len(tested),  # the result covers these clips
        "sample_list_hash": sample_list_hash(tested),
        "pictures_hash": settings_hash({"pictures": sorted(tested[PICTURES])}),
        "partial": differences(clips.index, scheme=labels.name, datasets=source.official),
        "left_out": left_out_facts(experiment, clips.index),
        "clip_notes": clip_notes(clips.index),
        "rule": settings.rule,
        "seeds": settings.seeds,
        "versions": provenance.versions(),
        "git_revision": provenance.git_revision(),
        "code": code_digest([type(clips.view).__module__, *modules_of_targets(named)]),
        "device": provenance.device_name(settings.trainer["accelerator"]),
    }
    if origin.facts:
        facts["init_from"] = origin.facts
    if not tested.size or settings.keep_weights:
        facts |= facts_for_use(experiment.preparation, clips.index)
    return facts


def left_out_facts(experiment: Experiment, labelled: pd.DataFrame) -> dict[str, Any]:
    """What preparation left out of a study's clips, for `study.json`.

    Args:
        experiment: the study's experiment.
        labelled: the prepared clips that have a class in the study's label scheme.

    Returns:
        `clips`, those that could not be used, though they have a class too: subject, clip_id and problem of each;
        `of`, the number of clips with them; `lost_subjects`, of whom no clip is left.
    """
    scheme = experiment.settings.labels
    left_out = read_left_out(experiment.preparation.cache / "failures.csv")
    if scheme.column in left_out:  # else the cache is of version 0.1, which did not record it
        left_out = left_out[classes_of_clips(left_out, scheme).notna()]
    return {
        "clips": left_out[["subject", "clip_id", "problem"]].to_dict("records"),
        "of": len(labelled) + len(left_out),
        "lost_subjects": sorted({*left_out["subject"]} - {*labelled["subject"]}),
    }


def _task_settings(experiment: Experiment) -> dict[str, Any]:
    """The weight of each task; all settings of a task that has more than a weight."""
    settings: dict[str, Any] = {}
    for name, task in experiment.tasks.items():
        options = experiment.plain["tasks"][name]
        settings[name] = options | {"weight": task.weight} if {*options} - {"_target_", "weight"} else task.weight
    return settings
