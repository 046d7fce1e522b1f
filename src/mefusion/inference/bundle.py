"""A bundle: a folder with a trained network and all that is needed to use it. Nothing in a bundle can run code.

`bundle.json` says what the network is and what it needs to see, with a checksum of itself and of the other files. The
weights are safetensors. A network is made of the classes of `mefusion.models`, or of a class that the caller passes.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

import mefusion.models
from mefusion.common.errors import MefusionError, first_line
from mefusion.common.files import is_irregular, sha256
from mefusion.datasets.schemes import DatasetLabels, Scheme
from mefusion.inference.inputs import InputMaker
from mefusion.preparation.settings import Alignment, FaceSettings, MissingApex, PreparationSettings, ShortClips
from mefusion.windows.settings import FlowSettings, Normalisation, Windows

FORMAT = 1
"""Raise it when older versions of mefusion cannot read a bundle any more."""

DESCRIPTION, WEIGHTS, CARD, ONNX = "bundle.json", "model.safetensors", "README.md", "model.onnx"
OWN_MODELS = "mefusion.models"

_ENTRIES: Mapping[str, type | tuple[type, ...]] = {
    "name": str,
    "network": dict,
    "classes": list,
    "view": str,
    "image_size": int,
    "clip_length": int,
    "windows": str,
    "preparation": dict,
    "normalisation": dict,
    "temperature": (int, float),
    "labels": dict,
    "study": dict,
    "data": dict,
    "files": dict,
}


@dataclass(frozen=True)
class Bundle:
    """What `bundle.json` says, as typed values.

    Attributes:
        folder: of the bundle.
        facts: all of `bundle.json`, plain data.
        network: the network's class, as `mefusion.models.MOL`.
        arguments: of the class.
        classes: their names, in the order of the network's logits.
        view: a key of `mefusion.windows.views.VIEWS`.
        image_size: side of the network's input, px.
        windows: which windows of a clip are predicted; the clip's probabilities are their mean.
        preparation: how clips are prepared.
        mean, std: of the training subjects, one value for each channel.
        temperature: the clip's probabilities are raised to the power 1 / temperature, and divided by their sum.
        labels: the label scheme.
        flow: what a network of flow images sees.
    """

    folder: Path
    facts: Mapping[str, Any]
    network: str
    arguments: Mapping[str, Any]
    classes: tuple[str, ...]
    view: str
    image_size: int
    windows: Windows
    preparation: PreparationSettings
    mean: tuple[float, ...]
    std: tuple[float, ...]
    temperature: float
    labels: Scheme
    flow: FlowSettings = field(default_factory=FlowSettings)


def description_text(content: Mapping[str, Any]) -> str:
    """Text of a `bundle.json` with its own checksum."""
    return json.dumps({**content, "checksum": _checksum(content)}, indent=2, ensure_ascii=False) + "\n"


def _checksum(content: Mapping[str, Any]) -> str:
    plain = {name: value for name, value in content.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def read_bundle(folder: str | Path) -> Bundle:
    """Read and check `bundle.json`, and the checksums of the bundle's files.

    Raises:
        MefusionError: the folder is no bundle, or a file is missing, damaged or changed.
    """
    folder = Path(folder)
    path = folder / DESCRIPTION
    content = _read_description(path)
    for name in (WEIGHTS, *({*content["files"]} - {WEIGHTS})):
        file = folder / name
        if name not in (WEIGHTS, ONNX) or not isinstance(content["files"].get(name), str):
            raise _unusable(path, f"has no usable checksum of {name}")
        if is_irregular(file) or not file.exists():
            raise MefusionError(f"{file} is missing: copy the whole bundle again, or export it again")
        if sha256(file) != content["files"][name]:
            raise MefusionError(f"{file} is damaged or was changed: copy the bundle again, or export it again")
    try:
        return _typed(folder, content)
    except (KeyError, TypeError, ValueError, AttributeError, MefusionError) as error:
        raise _unusable(path, f"has a value that cannot be used ({first_line(error)})") from error


def _read_description(path: Path) -> dict[str, Any]:
    try:
        if is_irregular(path):
            raise OSError("no regular file")
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MefusionError(f"{path.parent} is no bundle, since it has no {DESCRIPTION}: see mefusion-export") from None
    except (OSError, ValueError, RecursionError) as error:
        raise MefusionError(
            f"{path} cannot be read as JSON ({first_line(error)}): copy the bundle again, or export it again"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else None
        raise MefusionError(
            f"{path} is of format {found!r}, and this version of mefusion reads format {FORMAT}: install the version "
            "that wrote it, or export it again"
        )
    if content.get("checksum") != _checksum(content):
        raise MefusionError(f"{path} is damaged or was changed: copy the bundle again, or export it again")
    for name, kind in _ENTRIES.items():
        if not isinstance(content.get(name), kind) or isinstance(content[name], bool):
            raise _unusable(path, f"has no usable {name!r}")
    return content


def _typed(folder: Path, content: Mapping[str, Any]) -> Bundle:
    classes, network = content["classes"], content["network"]
    if not classes or len({*classes}) < len(classes) or not all(isinstance(name, str) for name in classes):
        raise ValueError("classes must be different names")
    values = {name: tuple(map(float, content["normalisation"][name])) for name in ("mean", "std")}
    if not content["temperature"] > 0:
        raise ValueError("the temperature must be above 0")
    if content["clip_length"] != content["preparation"]["clip_length"]:
        raise ValueError("two clip lengths")
    if network["arguments"]["num_classes"] != len(classes):
        raise ValueError(f"{len(classes)} classes, and a network of {network['arguments']['num_classes']}")
    if not isinstance(network["class"], str) or not isinstance(network["arguments"], dict):
        raise ValueError("network must have a class and arguments")
    return Bundle(
        folder=folder,
        facts=content,
        network=network["class"],
        arguments=network["arguments"],
        classes=tuple(classes),
        view=content["view"],
        image_size=content["image_size"],
        windows=Windows(content["windows"]),
        flow=_flow(content.get("flow", {})),
        preparation=_preparation(content["preparation"]),
        temperature=float(content["temperature"]),
        labels=_scheme(content["labels"]),
        **values,
    )


def _preparation(plain: Mapping[str, Any]) -> PreparationSettings:
    faces = dict(plain["faces"])
    faces["alignment"] = Alignment(faces["alignment"])
    choices = {"short_clips": ShortClips(plain["short_clips"]), "missing_apex": MissingApex(plain["missing_apex"])}
    return PreparationSettings(**{**plain, **choices, "faces": FaceSettings(**faces)})


def _flow(plain: Mapping[str, Any]) -> FlowSettings:
    chosen = {"normalisation": Normalisation(plain["normalisation"])} if "normalisation" in plain else {}
    return FlowSettings(**{**plain, **chosen})


def _scheme(plain: Mapping[str, Any]) -> Scheme:
    known = {field.name: plain[field.name] for field in fields(Scheme)}
    return Scheme(**known | {"datasets": {name: DatasetLabels(**own) for name, own in plain["datasets"].items()}})


def input_maker(bundle: Bundle) -> InputMaker:
    """What makes the inputs of a bundle's network."""
    return InputMaker(bundle.preparation, bundle.view, bundle.image_size, bundle.windows, bundle.flow)


def build_network(bundle: Bundle, network: type[nn.Module] | None = None) -> nn.Module:
    """Make the network of a bundle with its weights, on the CPU, in evaluation mode.

    Args:
        bundle: from `read_bundle`.
        network: the class of a network that is none of `mefusion.models`.

    Raises:
        MefusionError: the class is another one or has to be passed, it refuses the arguments, or the weights are not
            those of this network.
    """
    path, kind = bundle.folder / DESCRIPTION, _network_class(bundle, network)
    try:
        made = kind(**bundle.arguments)
    except Exception as error:  # the class of an author can raise anything
        raise _unusable(path, f"describes a {kind.__name__} that cannot be built ({first_line(error)})") from error
    weights = _load_weights(bundle.folder / WEIGHTS)
    try:
        made.load_state_dict(weights)
    except RuntimeError as error:
        expected, found = ({name: tensor.shape for name, tensor in of.items()} for of in (made.state_dict(), weights))
        differing = [name for name in {**expected, **found} if found.get(name) != expected.get(name)]
        raise MefusionError(
            f"{bundle.folder / WEIGHTS} has the weights of another network ({len(differing)} tensors differ, such as "
            f"{differing[0]}): export the bundle again"
        ) from error
    return made.eval()


def _network_class(bundle: Bundle, network: type[nn.Module] | None) -> type[nn.Module]:
    path, (module, _, name) = bundle.folder / DESCRIPTION, bundle.network.rpartition(".")
    if network is not None:
        if network.__name__ != name:
            raise MefusionError(
                f"{path} describes the network {bundle.network}, not {network.__name__}: pass its class"
            )
        return network
    if module == OWN_MODELS and name in mefusion.models.__all__:
        return getattr(mefusion.models, name)
    raise MefusionError(
        f"{path} describes the network {bundle.network}, which is none of mefusion's, and a bundle has no code: "
        f"import its class, and pass it, as in mefusion.load_bundle({str(bundle.folder)!r}, network={name})"
    )


def _load_weights(path: Path) -> dict[str, Tensor]:
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise MefusionError(f"{path} cannot be read ({first_line(error)}): export the bundle again") from error
    for name, tensor in weights.items():
        if not bool(torch.isfinite(tensor).all()):
            raise MefusionError(f"{path} has values in {name} that are not finite: export the bundle again")
    return weights


def _unusable(path: Path, what: str) -> MefusionError:
    return MefusionError(f"{path} {what}: export the bundle again")
