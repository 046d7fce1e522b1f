"""Read what `model.init_from` names: a bundle, or a checkpoint of the authors of MOL or FDP."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor, nn

from mefusion.clips.cache import PICTURES
from mefusion.common.errors import MefusionError, first_line
from mefusion.configuration.objects import make
from mefusion.configuration.schema import TrainSettings
from mefusion.evaluation.predictions import some
from mefusion.inference.bundle import SHIPPED, Bundle, is_bundle, read_bundle
from mefusion.inference.networks import build_network
from mefusion.inference.seen import PEOPLELESS, Seen, seen_by
from mefusion.training.start import Start, frozen_parts

OWN_TO_A_STUDY = ("num_classes", "tasks")
"""Arguments of a network that may differ from those of the weights that it starts from: its heads."""


@dataclass(frozen=True)
class Origin:
    """What a study starts from.

    Attributes:
        start: the weights.
        digest: of their content; part of the study's name.
        facts: for `study.json`: name and digest; `contents`, `datasets` and `known`, what the weights have seen, see
            `mefusion.inference.seen.Seen`; `shared`, those of the datasets that the study tests; `anew`, the tensors
            that start at random; `flow`, how flow is measured for the weights and for the study, if that differs.
    """

    start: Start = field(default_factory=Start)
    digest: str | None = None
    facts: Mapping[str, Any] | None = None


def read_origin(
    settings: TrainSettings,
    tasks: Collection[str],
    classes: Sequence[str],
    *,
    tested: pd.DataFrame,
    validated: pd.DataFrame,
) -> Origin:
    """Read the weights that the networks of a study start from, and check that they fit and are new to its clips.

    Args:
        settings: of the study.
        tasks: its tasks.
        classes: its classes.
        tested: the clips that it tests.
        validated: those that it may validate on.

    Raises:
        MefusionError: there is nothing to start from, it is of another network, it was trained on clips that the study
            tests or may validate on, or what is to freeze does not exist, starts anew, or leaves nothing to train.
    """
    given, frozen = settings.model.init_from, tuple(settings.model.freeze)
    if given is None:
        if frozen:
            raise MefusionError(f"model.freeze={[*frozen]} would freeze random weights: give model.init_from too")
        return Origin()
    network, model = _make(settings, tasks, len(classes)), settings.model.name
    if hasattr(network, "fit"):
        raise MefusionError(f"model.init_from={given}: model={model} is fitted at once, and starts from nothing")
    held = {id(weight) for part in frozen_parts(network, frozen) for weight in part.parameters()}
    path = SHIPPED if given == SHIPPED.name else Path(given)
    bundle = _read_bundle(path, settings) if path.is_dir() else None
    weights = build_network(bundle, type(network)).state_dict() if bundle else _released(path, type(network))
    seen = seen_by(bundle.facts["data"]) if bundle else Seen([], [], known=False)
    _require_unseen(path, seen, tested=tested, validated=validated)
    heads = _heads(settings, tasks, len(classes), weights, same_classes=not bundle or bundle.classes == tuple(classes))
    own = network.state_dict()
    kept = [name for name in own if name not in heads]
    if differing := [name for name in kept if name not in weights or weights[name].shape != own[name].shape]:
        raise MefusionError(
            f"model.init_from={given} has the weights of another network than model={model}: {some(differing)} differ"
        )
    start = Start({name: weights[name] for name in kept}, frozen)
    _require_training(network, held, heads, frozen)
    digest = _digest(weights)
    facts = {
        "name": path.resolve().name,
        "digest": digest,
        **asdict(seen),
        "shared": sorted({*tested["dataset"]} & {*seen.datasets} - {*PEOPLELESS}),
        "anew": sorted(heads),
        "flow": _differing_flow(bundle, settings),
    }
    return Origin(start, digest, facts)


def _differing_flow(bundle: Bundle | None, settings: TrainSettings) -> list[str] | None:
    """How flow is measured for a bundle and for the study, if that differs."""
    if not bundle or bundle.preparation.flow == settings.flow:
        return None
    return [str(bundle.preparation.flow), str(settings.flow)]


def _make(settings: TrainSettings, tasks: Collection[str], classes: int) -> nn.Module:
    return make(
        "model.network",
        settings.model.network,
        nn.Module,
        num_classes=classes,
        tasks=list(tasks),
        clip_length=settings.clip_length,
    )


def _read_bundle(path: Path, settings: TrainSettings) -> Bundle:
    """A bundle whose network sees what the study's sees.

    Raises:
        MefusionError: the folder is no bundle, or its network is another one.
    """
    if not is_bundle(path):
        raise MefusionError(f"model.init_from={path} is no bundle: give a folder that mefusion-export has written")
    bundle, model = read_bundle(path), settings.model
    own = {name: value for name, value in model.network.items() if not name.startswith("_")}
    own |= {"clip_length": settings.clip_length}
    theirs = {name: value for name, value in bundle.arguments.items() if name not in OWN_TO_A_STUDY}
    pairs: list[tuple[str, Any, Any]] = [
        ("network", bundle.network, model.network["_target_"]),
        ("view", bundle.view, model.view),
    ]
    pairs += [(name, theirs.get(name), own.get(name)) for name in {**theirs, **own}]
    pairs += [(f"flow.{name}", getattr(bundle.flow, name), value) for name, value in vars(model.flow).items()]
    if differing := [f"{name}={first} and {second}" for name, first, second in pairs if first != second]:
        raise MefusionError(
            f"model.init_from={path} has another network than model={model.name}: {some(differing)}; give the "
            "model and the arguments of the bundle"
        )
    return bundle


def _released(path: Path, network: type[nn.Module]) -> Mapping[str, Tensor]:
    """The tensors of a checkpoint of a network's authors.

    Raises:
        MefusionError: it cannot be read, or the network has no authors' checkpoint.
    """
    if not path.is_file():
        raise MefusionError(f"model.init_from={path} is not there: give a bundle, or a checkpoint of the authors")
    if not hasattr(network, "load_released"):
        raise MefusionError(
            f"model.init_from={path}: {network.__name__} has no checkpoint of its authors; give a bundle's folder"
        )
    try:
        return network.load_released(path).state_dict()
    except Exception as error:  # torch raises many kinds for a file that is none
        raise MefusionError(f"model.init_from={path} cannot be read ({first_line(error)}): copy it again") from error


def _heads(
    settings: TrainSettings, tasks: Collection[str], count: int, weights: Mapping[str, Tensor], *, same_classes: bool
) -> set[str]:
    """Tensors that start anew: those of tasks that the weights lack, and of the classes if these are others."""
    whole = _make(settings, tasks, count).state_dict()
    core = _make(settings, ["recognition"], count).state_dict()
    heads = {name for name in whole if name not in core and name not in weights}
    more = _make(settings, ["recognition"], count + 1).state_dict()
    of_classes = {name for name, tensor in core.items() if tensor.shape != more[name].shape}
    fits = all(name in weights and weights[name].shape == core[name].shape for name in of_classes)
    return heads if same_classes and fits else heads | of_classes


def _require_training(network: nn.Module, held: Collection[int], heads: Collection[str], frozen: Sequence[str]) -> None:
    """Raise a MefusionError if frozen weights start at random, or if none is left to train; `held` are their ids."""
    given = f"model.freeze=[{','.join(frozen)}]"
    if anew := [name for name, weight in network.named_parameters() if id(weight) in held and name in heads]:
        raise MefusionError(
            f"{given} would freeze {some(anew)}, which start at random, since the classes or tasks are others than "
            "those of model.init_from: freeze other parts"
        )
    if all(id(weight) in held for weight in network.parameters() if weight.requires_grad):
        raise MefusionError(f"{given} leaves nothing of {type(network).__name__} to train: freeze fewer parts")


def _require_unseen(path: Path, seen: Seen, *, tested: pd.DataFrame, validated: pd.DataFrame) -> None:
    """Raise a MefusionError if weights, or what they began from, were trained on clips that a study may score."""
    uses = (
        (tested, "tests", "its scores would be no results", "protocol=all, which tests no one"),
        (validated, "may validate on", "they would choose its epoch and temperature", "rule=last or rule=average"),
    )
    for clips, use, reason, instead in uses:
        same = clips[clips[["content", PICTURES]].isin(seen.contents).any(axis=1)]
        if len(same):
            raise MefusionError(
                f"model.init_from={path} was trained on {len(same)} of the {len(clips)} clips that this study {use}, "
                f"of the subjects {some(sorted({*same['subject']}))}: {reason}; start from a bundle of other people, "
                f"or use {instead}"
            )


def _digest(weights: Mapping[str, Tensor]) -> str:
    content = hashlib.sha256()
    for name in sorted(weights):
        content.update(name.encode() + weights[name].detach().cpu().contiguous().numpy().tobytes())
    return content.hexdigest()[:16]
