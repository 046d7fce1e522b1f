"""From a configuration to the objects it describes; only the entry points come here.

Heavy packages are imported where they are used, so that --help does not wait for torch.
"""

import dataclasses
import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mefusion import __version__
from mefusion.common.errors import MefusionError

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig
    from torch import nn

    from mefusion.datasets.labels import Scheme
    from mefusion.evaluation.folds import Fold
    from mefusion.preparation.clips import PreparationSettings
    from mefusion.studies.study import Study
    from mefusion.training.module import MERModule
    from mefusion.windows.datamodule import FoldData, Statistics
    from mefusion.windows.store import ClipStore

# Where things stand and what they run on does not change what a study is.
NOT_CONTENT = (
    "cache_dir", "output_dir", "workers", "logger", "protocol.folds", "protocol.shard", "faces.folder",
    "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy", "trainer.sync_batchnorm",
    "trainer.enable_progress_bar", "trainer.enable_model_summary", "trainer.log_every_n_steps", "trainer.profiler",
)  # fmt: skip
NOT_CONTENT_OF_DATA = ("root", "portraits", "layout", "write_to", "allow_partial", "casme2", "samm", "smic")


def preparation(config: "DictConfig") -> "tuple[Any, PreparationSettings, Path]":
    """Source, preparation settings and cache folder of a configuration."""
    from hydra.utils import instantiate

    from mefusion.preparation.clips import PreparationSettings, cache_folder

    source = instantiate(config.data)
    settings = PreparationSettings(
        faces=config.faces.backend or source.faces,
        enlarge=config.faces.enlarge,
        alignment=config.faces.alignment,
        clip_length=config.clip_length,
        short_clips=config.short_clips,
        missing_apex=config.missing_apex,
        max_missing=config.faces.max_missing,
        landmark_folder=str(Path(config.faces.folder).resolve()) if config.faces.folder else None,
    )
    return source, settings, cache_folder(Path(config.cache_dir), settings, data=source.name, source=source.identity())


def load_clips(config: "DictConfig") -> "ClipStore":
    """Prepared clips that have a class in the label scheme, as the model sees them."""
    from hydra.utils import get_class

    from mefusion.clips.cache import read_index
    from mefusion.datasets.labels import label_clips
    from mefusion.windows.store import ClipStore
    from mefusion.windows.views import make_view

    source, _, folder = preparation(config)
    command = preparing_command(config)
    index = read_index(folder, command=command)
    recorded = folder / "source.txt"
    if recorded.exists() and source.digest() not in (None, recorded.read_text().strip()):
        raise MefusionError(f"the list of clips of data={source.name} has changed since it was prepared: run {command}")
    scheme = label_scheme(config)
    labelled = label_clips(index, scheme)
    require_whole(labelled, source, scheme.name, failures=folder / "failures.csv")
    module: Any = get_class(config.model.module._target_)
    dual_phase = config.model.training.windows == "dual_phase"
    view = make_view(module.view, image_size=config.model.network.image_size, dual_phase=dual_phase)
    classes = scheme.class_names(labelled)
    store = ClipStore(labelled, folder, classes=classes, clip_length=config.clip_length, view=view)
    if "landmarks" in task_weights(config) and "landmarks" not in store.arrays[0]:
        raise MefusionError(
            "faces=none has prepared no landmarks, so none can be learnt: give tasks.landmarks.weight=0"
        )
    return store


def label_scheme(config: "DictConfig") -> "Scheme":
    """Label scheme of a configuration."""
    from omegaconf import OmegaConf

    from mefusion.datasets.labels import DatasetLabels, Scheme

    labels: Any = OmegaConf.to_container(config.labels, resolve=True)
    datasets = {name: DatasetLabels(**own) for name, own in labels.pop("datasets").items()}
    return Scheme(**labels, datasets=datasets)


def require_whole(labelled: "pd.DataFrame", source: Any, scheme: str, *, failures: Path) -> None:
    """Stop where labelled clips are not those of the official download, unless a partial copy is allowed.

    Raises:
        MefusionError: counts differ; says which, and which clips could not be prepared.
    """
    import pandas as pd

    from mefusion.datasets.counts import differences

    found = differences(labelled, scheme=scheme, datasets=source.asserted)
    if not found:
        return
    failed = pd.read_csv(failures, dtype=str) if failures.exists() else pd.DataFrame()
    names = ", ".join(f"{row.subject}/{row.clip_id}" for row in failed.itertuples())
    raise MefusionError(
        f"data={source.name} labels={scheme} is not the official download: {'; '.join(found)}"
        f"{f'; not prepared: {names}' if names else ''}; complete it, or give data.allow_partial=true to go on"
    )


def preparing_command(config: "DictConfig") -> str:
    """The `mefusion-prepare` that goes with this `mefusion-train`."""
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    # An experiment may have chosen these, and how faces are aligned, which the command line then does not tell.
    chosen = [f"{group}={hydra.runtime.choices[group]}" for group in ("data", "labels", "faces")]
    aligned = f"faces.alignment={config.faces.alignment}"
    shared = ("data", "labels", "faces", "cache_dir", "clip_length", "short_clips", "missing_apex")
    # A setting, a group within a group, or an option that is put somewhere: data.root=, data/sources=, +data@
    groups = ((text, re.match(r"[+~]*(\w*)", text)) for text in hydra.overrides.task)
    given = [text for text, group in groups if group and group[1] in shared and text not in chosen]
    if config.faces.alignment != "stabilised" and aligned not in given:
        given.append(aligned)
    return " ".join(["mefusion-prepare", *(text for text in chosen if text != "faces=default"), *given])


def task_weights(config: "DictConfig") -> dict[str, float]:
    """Weights of the tasks that are on: those of conf/tasks that the model has, less those of weight 0.

    Raises:
        MefusionError: a task is not known, a weight is below 0, or recognition is off.
    """
    from mefusion.training.losses import TASKS

    unknown = [name for name in config.tasks if name not in TASKS]
    if unknown:
        raise MefusionError(f"tasks.{unknown[0]} is not known: choose from {', '.join(TASKS)}")
    own, weights = config.model.task_weights, {}
    for name, settings in config.tasks.items():
        weight = own.get(name, 0) if settings.weight is None or name not in own else settings.weight
        if weight < 0:
            raise MefusionError(f"tasks.{name}.weight={weight}: give a number from 0 up")
        if weight:
            weights[str(name)] = float(weight)
    if "recognition" not in weights:
        raise MefusionError("tasks has no recognition: a study scores it, so it must be on")
    return weights


def require_sense(config: "DictConfig") -> None:
    """Refuse what needs no data to be refused.

    Raises:
        MefusionError: a value is none of those there are.
    """
    from mefusion.training.checkpoints import require_rule
    from mefusion.training.losses import IMBALANCE

    if config.imbalance not in IMBALANCE:
        raise MefusionError(f"imbalance={config.imbalance}: choose from {', '.join(IMBALANCE)}")
    if not config.seeds or len(set(config.seeds)) < len(config.seeds):
        raise MefusionError(f"seeds={list(config.seeds)}: give one whole number or more, none twice, as [0,1,2]")
    require_rule(config.rule)


def plan_folds(config: "DictConfig", store: "ClipStore") -> "list[Fold]":
    """Folds of the protocol."""
    from omegaconf import OmegaConf

    from mefusion.evaluation.folds import make_folds

    protocol: Any = OmegaConf.to_container(config.protocol)
    options = {name: protocol[name] for name in ("k", "seed", "test")}
    return make_folds(protocol["name"], store.index, **options)


def study_content(config: "DictConfig") -> dict[str, Any]:
    """What of a configuration makes a study what it is: neither places nor devices."""
    from omegaconf import OmegaConf

    content: Any = OmegaConf.to_container(config, resolve=True)
    for key in NOT_CONTENT:
        *parents, leaf = key.split(".")
        functools.reduce(lambda node, name: node[name], parents, content).pop(leaf, None)
    for data in (content["data"], *content["data"].get("sources", {}).values()):
        for key in NOT_CONTENT_OF_DATA:
            data.pop(key, None)
    if config.rule != "inner_val":
        del content["protocol"]["validation"]
    content["tasks"] = task_weights(config)  # what is off has no say in what a study is
    del content["model"]["task_weights"]
    return content


def plan_study(config: "DictConfig", store: "ClipStore", folds: "list[Fold]") -> "Study":
    """Name the study by its content and gather what its result must carry."""
    from omegaconf import OmegaConf

    from mefusion.clips.cache import settings_hash
    from mefusion.clips.table import KEY, clip_notes
    from mefusion.datasets.counts import differences
    from mefusion.evaluation.predictions import sample_list_hash
    from mefusion.faces.detectors import backend_version
    from mefusion.preparation.clips import PREPARATION
    from mefusion.studies import provenance
    from mefusion.studies.study import Study

    seeds = tuple(config.seeds)
    content, (source, settings, _) = study_content(config), preparation(config)
    content["faces"]["backend"] = settings.faces  # the same whether named or the source's own
    tested = store.index[store.index["subject"].isin({subject for fold in folds for subject in fold.test})]
    # What each clip shows and where its apex is count, not where it lies.
    shown = [name for name in (*KEY, "content", "apex_place") if name in store.index]
    contents = sorted(store.index[shown].astype(str).agg("\t".join, axis=1))
    versions = {"mefusion": __version__, "preparation": PREPARATION, "faces": backend_version(settings.faces)}
    whole = sample_list_hash(store.index)
    digest = settings_hash({"config": content, "samples": whole, "contents": contents, "versions": versions})
    name = f"{config.model.name}-{config.data.name}-{config.labels.name}-{digest}"
    facts = {
        "config_hash": digest,
        "model": config.model.name,
        "data": config.data.name,
        "labels": config.labels.name,
        "tasks": content["tasks"],
        "classes": list(store.classes),
        "protocol": config.protocol.name,
        "folds": [fold.name for fold in folds],
        "clips": len(tested),  # the study's result is about these
        "sample_list_hash": sample_list_hash(tested),
        "partial": differences(store.index, scheme=config.labels.name, datasets=source.official),
        "clip_notes": clip_notes(store.index),
        "rule": config.rule,
        "seeds": list(seeds),
        "versions": provenance.versions(),
        "git_revision": provenance.git_revision(),
        "device": provenance.device_name(config.trainer.accelerator),
    }
    return Study(
        Path(config.output_dir) / name,
        OmegaConf.to_yaml(config, resolve=True),
        facts,
        seeds=seeds,
        rule=config.rule,
        validation=config.protocol.validation,
    )


def make_data(config: "DictConfig", store: "ClipStore", fold: "Fold", seed: int) -> "FoldData":
    """A fold's windows."""
    from mefusion.windows.augmentation import Augmentation
    from mefusion.windows.datamodule import FoldData

    training = config.model.training
    changes = {field.name: training[field.name] for field in dataclasses.fields(Augmentation)}
    return FoldData(
        store,
        fold,
        image_size=config.model.network.image_size,
        batch_size=training.batch_size,
        windows=training.windows,
        augmentation=Augmentation(**changes),
        seed=seed,
        balanced=config.imbalance == "sampler",
    )


def make_network(config: "DictConfig", num_classes: int) -> "nn.Module":
    """Network with the tasks that are on, made for its device, compiled and with channels last if asked for."""
    import torch
    from hydra.utils import instantiate

    from mefusion.models import use_cpu_layers
    from mefusion.models.options import channels_last

    network = instantiate(
        config.model.network, num_classes=num_classes, tasks=list(task_weights(config)), clip_length=config.clip_length
    )
    if config.trainer.accelerator == "cpu" or not torch.cuda.is_available():
        use_cpu_layers(network)
    if config.model.channels_last:
        channels_last(network)
    if config.model.compile:
        network.compile()
    return network


def make_module(config: "DictConfig", num_classes: int, statistics: "Statistics") -> "MERModule":
    """Network and tasks, fitted to the training subjects where they start from them."""
    from hydra.utils import instantiate

    from mefusion.training.losses import TASKS, make_recognition
    from mefusion.training.module import OptimizerSettings

    network = make_network(config, num_classes)
    weights = task_weights(config)
    tasks = {name: TASKS[name](weight=weight) for name, weight in weights.items()}
    tasks["recognition"] = make_recognition(
        weights["recognition"], imbalance=config.imbalance, class_counts=statistics.class_counts
    )
    # Called apart from `instantiate`, which would make configurations of its arguments.
    build = instantiate(config.model.module, _partial_=True)
    module = build(network, tasks, OptimizerSettings(**config.model.optimizer))
    module.initialise(statistics)
    return module
