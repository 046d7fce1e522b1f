"""A bundle: a folder with a trained network and all that is needed to use it. Nothing in a bundle can run code.

`bundle.json` says what the network is and what it needs to see, with a checksum of itself and of the other files. The
weights are safetensors. A network is made of the classes of `mefusion.models`, or of a class that the caller passes.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mefusion.common.errors import MefusionError, first_line
from mefusion.common.files import is_irregular, leads_outside, sha256
from mefusion.common.units import UNIT_TASK, UNITS
from mefusion.datasets.schemes import Scheme
from mefusion.faces.detectors import backend_version
from mefusion.inference.inputs import InputMaker
from mefusion.inference.plain import brief, check_names, typed
from mefusion.inference.seen import BEFORE, TrainingData
from mefusion.preparation.settings import PreparationSettings
from mefusion.windows.flow import FlowSettings
from mefusion.windows.settings import Windows

FORMAT = 1
"""Raise it when older versions of mefusion cannot read a bundle any more."""

DESCRIPTION, WEIGHTS, CARD, ONNX = "bundle.json", "model.safetensors", "README.md", "model.onnx"
OWN_MODELS = "mefusion.models"

# Limits, far above what networks have: a bundle from elsewhere must not fill the memory, nor take for ever.
MOST_TEXT = 2**24  # bytes of bundle.json
MOST_BYTES = 2**32  # of the weights
MOST_NUMBER = 100_000  # among the network's arguments
MOST_ITEMS = 1000  # of one list among them
MOST_PIXELS = 2048  # side of a picture
MOST_OF_A_WINDOW = 2**26  # pixels
MOST_ENLARGED = 20
TEMPERATURES = (0.01, 100)

SHIPPED = Path(__file__).parents[1] / "bundles" / "rendered-motion"
"""The bundle that comes with mefusion: a network that has seen rendered motion only."""

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
        least_motion: a clip whose motion is smaller shows nothing that the network could name, px of the aligned
            picture, see `mefusion.inference.likeness.motion_size`; 0 where every clip is named.
        units: numbers of the action units that the network tells, in the order of its output; most tell none.
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
    least_motion: float = 0.0
    units: tuple[int, ...] = ()


@dataclass(frozen=True)
class Origin:
    """What is used of the entry `study`: see `mefusion.evaluation.predictions.COLUMNS`."""

    seed: int
    rule: str
    epoch: int


def description_text(content: Mapping[str, Any]) -> str:
    """Text of a `bundle.json` with its own checksum."""
    return json.dumps({**content, "checksum": _checksum(content)}, indent=2, ensure_ascii=False) + "\n"


def _checksum(content: Mapping[str, Any]) -> str:
    plain = {name: value for name, value in content.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def read_bundle(folder: str | Path) -> Bundle:
    """Read and check `bundle.json`, and the checksums of the bundle's files.

    Raises:
        MefusionError: the folder is no bundle; a file is missing, damaged, changed or a link to elsewhere; or an entry
            cannot be used.
    """
    folder = Path(folder)
    path = folder / DESCRIPTION
    content = _read_description(path)
    try:
        bundle = _bundle(folder, content)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, MefusionError) as error:
        raise unusable(path, f"has a value that cannot be used ({first_line(error)})") from error
    for name in (WEIGHTS, *({*content["files"]} - {WEIGHTS})):
        if name not in (WEIGHTS, ONNX) or not isinstance(content["files"].get(name), str):
            raise unusable(path, f"has no usable checksum of {name}")
        if _checksum_of(folder / name) != content["files"][name]:
            raise MefusionError(f"{folder / name} is damaged or was changed: copy the bundle again, or export it again")
    return bundle


def _require_file(path: Path, most: int) -> None:
    """Raise a MefusionError or an OSError unless a regular file of the bundle itself is there, of `most` bytes."""
    if leads_outside(path, path.parent):
        raise MefusionError(f"{path} is a link to a file outside the bundle: put the file itself there")
    if is_irregular(path):
        raise OSError("no regular file")
    if path.stat().st_size > most:
        raise MefusionError(f"{path} has more than {most} bytes, which no bundle has: export it again")


def _checksum_of(file: Path) -> str:
    try:
        _require_file(file, MOST_BYTES)
        return sha256(file)
    except FileNotFoundError:
        raise MefusionError(f"{file} is missing: copy the whole bundle again, or export it again") from None
    except OSError as error:
        raise MefusionError(f"{file} cannot be read ({first_line(error)}): copy the bundle again") from error


def _read_description(path: Path) -> dict[str, Any]:
    try:
        _require_file(path, MOST_TEXT)
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
        whole = isinstance(content, dict) and content.get("checksum") == _checksum(content)
    except (FileNotFoundError, NotADirectoryError):
        raise MefusionError(f"{path.parent} is no bundle, since it has no {DESCRIPTION}: see mefusion-export") from None
    except (OSError, ValueError, RecursionError) as error:
        raise MefusionError(
            f"{path} cannot be read as JSON ({brief(first_line(error))}): copy the bundle again, or export it again"
        ) from error
    if not isinstance(content, dict) or type(content.get("format")) is not int or content["format"] != FORMAT:
        found = content.get("format") if isinstance(content, dict) else None
        raise MefusionError(
            f"{path} is of format {brief(repr(found), 20)}, and this version of mefusion reads format {FORMAT}: "
            "install the version that wrote it, or export it again"
        )
    if not whole:
        raise MefusionError(f"{path} is damaged or was changed: copy the bundle again, or export it again")
    for name, kind in _ENTRIES.items():
        if not isinstance(content.get(name), kind) or isinstance(content[name], bool):
            raise unusable(path, f"has no usable {name!r}")
    return content


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _bundle(folder: Path, content: Mapping[str, Any]) -> Bundle:
    classes, network = typed(list[str], content["classes"], "classes"), content["network"]
    check_names(classes, "classes")
    check_names([content["name"]], "name")
    check_names([typed(str, network["class"], "network.class")], "network.class")
    values = {name: tuple(typed(list[float], content["normalisation"][name], name)) for name in ("mean", "std")}
    if not all(value > 0 for value in values["std"]):
        raise ValueError("normalisation.std must be above 0")
    temperature = typed(float, content["temperature"], "temperature")
    if not TEMPERATURES[0] <= temperature <= TEMPERATURES[1]:
        raise ValueError(f"temperature is {temperature}, not from {TEMPERATURES[0]} to {TEMPERATURES[1]}")
    arguments = network["arguments"]
    if not isinstance(arguments, dict):
        raise ValueError("network must have arguments")
    _check_arguments(arguments)
    if arguments["num_classes"] != len(classes):
        raise ValueError(f"{len(classes)} classes, and a network of {arguments['num_classes']}")
    # The first bundles do not say how flow is measured: they knew TV-L1 alone.
    preparation = typed(PreparationSettings, {"flow": "tvl1"} | content["preparation"], "preparation")
    if content["clip_length"] != preparation.clip_length:
        raise ValueError("two clip lengths")
    _check_sizes(preparation, content["image_size"])
    typed(Origin, content["study"], "study")
    typed(TrainingData, {BEFORE: None} | content["data"], "data")
    return Bundle(
        folder=folder,
        facts=content,
        network=network["class"],
        arguments=arguments,
        classes=tuple(classes),
        view=content["view"],
        image_size=content["image_size"],
        windows=Windows(content["windows"]),
        preparation=preparation,
        temperature=temperature,
        labels=typed(Scheme, content["labels"], "labels"),
        flow=typed(FlowSettings, content["flow"], "flow") if content.get("flow") else FlowSettings(),
        least_motion=_least_motion(content.get("least_motion", 0.0)),
        units=_units(content.get(UNIT_TASK)),
        **values,
    )


def _least_motion(value: Any) -> float:
    motion = typed(float, value, "least_motion")
    if not 0 <= motion <= MOST_PIXELS:
        raise ValueError(f"least_motion is {motion}, not from 0 to {MOST_PIXELS} px")
    return motion


def is_bundle(folder: Path) -> bool:
    """Whether a folder is meant as a bundle, perhaps one that lacks a file."""
    return any((folder / name).exists() for name in (DESCRIPTION, WEIGHTS))


def _units(value: Any) -> tuple[int, ...]:
    """Numbers of action units; a bundle without the task has none, and older ones no entry."""
    units = tuple(typed(list[int], [] if value is None else value, UNIT_TASK))
    if len({*units}) < len(units) or not {*units} <= {*UNITS}:
        raise ValueError(f"{UNIT_TASK} must be different ones of {', '.join(map(str, UNITS))}")
    return units


def input_maker(bundle: Bundle) -> InputMaker:
    """What makes the inputs of a bundle's network."""
    return InputMaker(bundle.preparation, bundle.view, bundle.image_size, bundle.windows, bundle.flow)


def _check_arguments(value: Any) -> None:
    """Raise a ValueError if an argument of the network is a number or a list that no network has."""
    if isinstance(value, int | float) and not abs(value) <= MOST_NUMBER:
        raise ValueError(f"network.arguments has a number above {MOST_NUMBER}")
    if isinstance(value, dict | list):
        if len(value) > MOST_ITEMS:
            raise ValueError(f"network.arguments has more than {MOST_ITEMS} entries in one")
        for item in value.values() if isinstance(value, dict) else value:
            _check_arguments(item)


def _check_sizes(preparation: PreparationSettings, image_size: int) -> None:
    """Raise a ValueError if pictures would be larger than those of any network, or their settings make no sense."""
    sides = {"preparation.canvas": preparation.canvas, "preparation.small": preparation.small, "image_size": image_size}
    for name, side in sides.items():
        if not 1 <= side <= MOST_PIXELS:
            raise ValueError(f"{name} is {side}, not from 1 to {MOST_PIXELS} px")
    if preparation.clip_length * max(sides.values()) ** 2 > MOST_OF_A_WINDOW:
        raise ValueError(f"a window of {preparation.clip_length} pictures of {max(sides.values())} px is too large")
    if preparation.faces.enlarge > MOST_ENLARGED:
        raise ValueError(f"preparation.faces.enlarge is {preparation.faces.enlarge}, above {MOST_ENLARGED}")
    if preparation.faces.folder is not None:
        raise ValueError("preparation.faces.folder is a path of another machine")
    backend_version(preparation.backend)  # raises for unknown names


def unusable(path: Path, what: str) -> MefusionError:
    """The error of a bundle's file that cannot be used; what comes from the file is shortened."""
    return MefusionError(f"{path} {brief(what, 300)}: export the bundle again")
