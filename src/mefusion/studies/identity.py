"""What a study is named by: those of its settings, clips and software versions that decide its results.

A study's name ends in a hash of these. The name stays the same as long as the results do:

- Settings that do not change results are left out (`SETTINGS_WITHOUT_EFFECT`, `DATA_SETTINGS_WITHOUT_EFFECT`,
  `CALLBACKS_WITHOUT_EFFECT`).
- A setting that version 0.1 did not have is left out if it has its neutral value (`ADDED`). A new setting needs an
  entry there.
- Classes that were renamed since version 0.1 are written with their old names (`OLD_TARGETS`, `_old_module`).
- The package's version does not count; `RESULTS` does. Raise it when the same settings give other results.
"""

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mefusion.clips.cache import settings_hash

RESULTS = "0.1.0"

SETTINGS_WITHOUT_EFFECT = (
    "cache_dir", "output_dir", "workers", "logger", "protocol.folds", "protocol.shard", "faces.folder",
    "flow_device", "again", "accept_code", "keep_weights", "processes", "processes_per_gpu", "cluster", "resources",
    "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy", "trainer.sync_batchnorm",
    "trainer.enable_progress_bar", "trainer.enable_model_summary", "trainer.log_every_n_steps", "trainer.profiler",
    "trainer.benchmark",
)  # fmt: skip
"""Settings of folders, devices and what is run, which do not change results.

TV-L1 differs between devices as much as OpenCV's differs from itself once each pixel changes by a millionth of a grey
level: tests/acceleration/test_tvl1.py.
"""

DATA_SETTINGS_WITHOUT_EFFECT = ("root", "portraits", "layout", "write_to", "allow_partial")
"""The same for sources, also for the sources of a pool."""

CALLBACKS_WITHOUT_EFFECT = (
    "mefusion.training.examples.ShowExamples",
    "lightning.pytorch.callbacks.LearningRateMonitor",
    "lightning.pytorch.callbacks.RichModelSummary",
)
"""Callbacks that only observe the training."""

ADDED: Mapping[str, Any] = {
    "callbacks": {},
    "flow": "tvl1",
    "imbalance_tau": 1.0,
    "model.init_from": None,
    "model.freeze": [],
    "model.network.flow_closed_form": False,
    "model.network.image_detail": False,
    "model.flow": {"strain": True, "normalisation": "pixels", "mirror_test": False},
    "model.optimizer.warmup": 0.15,
    "model.training.copies": 1,
    "model.training.label_smoothing": 0.0,
    **dict.fromkeys((f"model.training.{name}" for name in ("rotation", "scale", "shift", "amplitude")), 0.0),
}
"""Settings that version 0.1 did not have, each with the value that changes no result."""

ALWAYS_COUNTED = ("casme2", "samm")
"""Datasets whose own labels in a scheme always count, because version 0.1 counted them for all data."""

_SOURCES = "mefusion.data.sources"
OLD_TARGETS = {
    "mefusion.datasets.synthetic.SyntheticSource": f"{_SOURCES}.synthetic.SyntheticSource",
    "mefusion.datasets.manifest.ManifestSource": f"{_SOURCES}.manifest.ManifestSource",
    "mefusion.datasets.pooled.PooledSource": f"{_SOURCES}.pooled.PooledSource",
    "mefusion.datasets.flow_images.FlowImagesSource": f"{_SOURCES}.flow_images.FlowImagesSource",
    "mefusion.datasets.casme2.Casme2Source": f"{_SOURCES}.casme2.Casme2Source",
    "mefusion.datasets.samm.SammSource": f"{_SOURCES}.samm.SammSource",
    "mefusion.datasets.smic.SmicSource": f"{_SOURCES}.smic.SmicSource",
    "mefusion.datasets.cas_me_2.CasmeSquaredSource": f"{_SOURCES}.casme_squared.CasmeSquaredSource",
    "mefusion.datasets.cas_me_3.CasmeCubedSource": f"{_SOURCES}.casme_cubed.CasmeCubedSource",
}
"""Classes of sources, with their names in version 0.1."""

_OLD_MODULES = {
    "canvas": "mefusion.models.mol.module.MOLModule",
    "small": "mefusion.models.fdp.module.FDPModule",
    "flow_image": "mefusion.models.baselines.module.BaselineModule",
}
_OLD_MAJORITY = "mefusion.models.baselines.module.MajorityModule"


def study_content(
    settings: Mapping[str, Any],
    *,
    backend: str,
    tasks: Mapping[str, Any],
    datasets: Collection[str],
    init_from: str | None = None,
) -> dict[str, Any]:
    """The settings of a study that decide its results.

    Args:
        settings: the resolved configuration, plain data.
        backend: the face backend that is used, also if no setting names it.
        tasks: the tasks that are on, each with its weight, or with all its settings if it has more than a weight.
        datasets: the datasets of the clips; a scheme's labels for other datasets do not count.
        init_from: digest of the weights that the networks start from, which counts in place of where they lie.
    """
    content = copy.deepcopy(dict(settings))
    for key in SETTINGS_WITHOUT_EFFECT:
        _remove(content, key)
    content["data"] = _old_data(content["data"])
    for data in (content["data"], *content["data"].get("sources", {}).values()):
        for key in DATA_SETTINGS_WITHOUT_EFFECT:
            data.pop(key, None)
        data["_target_"] = OLD_TARGETS.get(data["_target_"], data["_target_"])
    content["faces"]["backend"] = backend
    content["tasks"] = dict(tasks)
    if content["rule"] != "inner_val":
        del content["protocol"]["validation"]
    content["callbacks"] = {
        name: callback
        for name, callback in content["callbacks"].items()
        if callback.get("_target_") not in CALLBACKS_WITHOUT_EFFECT
    }
    model = content["model"]
    del model["task_weights"]
    for name in ("imbalance", "imbalance_tau"):  # those of the study count
        model.pop(name, None)
    model["module"] = _old_module(model)
    model["init_from"] = init_from
    for key, value in ADDED.items():
        if value == _find(content, key):
            _remove(content, key)
    own = content["labels"]["datasets"]
    content["labels"]["datasets"] = {name: own[name] for name in own if name in (*ALWAYS_COUNTED, *datasets)}
    return content


def study_hash(
    content: Mapping[str, Any], *, samples: str, contents: Sequence[str], preparation: int, faces: str
) -> str:
    """Ten hex digits that name a study.

    Args:
        content: see `study_content`.
        samples: hash of the clips with their labels.
        contents: one line for each clip, which identifies what it shows.
        preparation: version of the preparation.
        faces: version of the face backend.
    """
    versions = {"mefusion": RESULTS, "preparation": preparation, "faces": faces}
    return settings_hash({"config": content, "samples": samples, "contents": contents, "versions": versions})


def _old_data(data: dict[str, Any]) -> dict[str, Any]:
    """A source's settings; for megc2019, which is a pool now, those of its own class in version 0.1."""
    if data["name"] != "megc2019":
        return data
    frames = data["sources"]["casme2"]["frames"]
    return {"_target_": f"{_SOURCES}.megc2019.Megc2019Source", "name": "megc2019", "frames": frames}


def _old_module(model: dict[str, Any]) -> dict[str, Any]:
    """`view` and `mean_shape` of a model as version 0.1 wrote them: it had one class for each view."""
    view, mean_shape = model.pop("view"), model.pop("mean_shape")
    counts = model["network"].get("_target_") == "mefusion.models.Majority"
    module = {"_target_": _OLD_MAJORITY if counts else _OLD_MODULES.get(view, view)}
    return module | ({"mean_shape": True} if mean_shape else {})


def _find(content: Mapping[str, Any], key: str) -> Any:
    """A setting by its path; None if it does not exist."""
    node: Any = content
    for name in key.split("."):
        node = (node or {}).get(name)
    return node


def _remove(content: dict[str, Any], key: str) -> None:
    """Remove a setting by its path, if it exists."""
    parents, _, leaf = key.rpartition(".")
    if (node := _find(content, parents) if parents else content) is not None:
        node.pop(leaf, None)
