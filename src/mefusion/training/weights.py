"""The weights of a network that was trained on all subjects, in a file that needs neither checkpoint nor cache."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from mefusion.common.errors import MefusionError, first_line
from mefusion.common.files import is_irregular, replacing
from mefusion.windows.datamodule import Statistics

_NETWORK = "network."
_STATISTICS = ("mean", "std", "class_counts")
_FACTS = "facts"


@dataclass(frozen=True)
class TrainedWeights:
    """What `save_weights` keeps.

    Attributes:
        network: the network's state, by name.
        statistics: of the training subjects; without their mean shape, which is part of the network's state.
        facts: of the training: study, seed, rule, epoch, and how many clips of how many subjects.
    """

    network: Mapping[str, Tensor]
    statistics: Statistics
    facts: Mapping[str, Any]


def save_weights(path: Path, network: nn.Module, statistics: Statistics, facts: Mapping[str, Any]) -> None:
    """Write a network's weights with its normalisation, completely or not at all; see `TrainedWeights`."""
    # Copies, since a network may have one tensor under two names, which safetensors refuses.
    tensors = {_NETWORK + name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    tensors |= {name: getattr(statistics, name) for name in _STATISTICS}
    whole = save({name: plain_copy(tensor) for name, tensor in tensors.items()}, {_FACTS: json.dumps(facts)})
    with replacing(path) as temporary:
        temporary.write_bytes(whole)


def plain_copy(tensor: Tensor) -> Tensor:
    """A copy of a tensor with memory of its own, in the usual order."""
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def load_weights(path: Path) -> TrainedWeights:
    """Read what `save_weights` wrote.

    Raises:
        MefusionError: the file is missing or damaged.
    """
    try:
        if is_irregular(path):
            raise OSError("no regular file")
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
            facts = json.loads((file.metadata() or {})[_FACTS])
        statistics = Statistics(**{name: tensors.pop(name) for name in _STATISTICS})
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise MefusionError(
            f"{path} cannot be read ({first_line(error)}): delete {path.parent} and run mefusion-train again"
        ) from error
    network = {name.removeprefix(_NETWORK): tensor for name, tensor in tensors.items()}
    return TrainedWeights(network, statistics, facts)
