"""Read the checkpoints that the authors published, and convert the names and shapes of their tensors to ours."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch
from einops import rearrange
from safetensors.torch import load_file
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def read_tensors(state_dict_or_path: Mapping[str, Tensor] | str | Path) -> Mapping[str, Tensor]:
    """Read a state dict from a ``.safetensors`` or ``torch.save`` file, without running code; or return a given one.

    Raises:
        ValueError: The file does not contain a state dict.
    """
    if isinstance(state_dict_or_path, Mapping):
        return state_dict_or_path
    path = Path(state_dict_or_path)
    if path.suffix == ".safetensors":
        return load_file(path)
    content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, Mapping):
        raise ValueError(
            f"{path} contains a {type(content).__name__}, not a state dict (a mapping of names to tensors)"
        )
    return content


@dataclass(frozen=True)
class Checkpoint:
    """Names and shapes of the tensors in the authors' state dicts of a network."""

    network: str
    """Name of the network, for messages."""

    classifier: str
    """The authors' name of the classifier's last matrix, ``[classes, units]``."""

    names: Mapping[str, str]
    """The authors' name -> our name, of modules and tensors; within these modules, all names are the same."""

    axes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Our name -> our axes and the authors' axes in einops notation, of tensors whose shapes differ."""

    def load(self, state_dict_or_path: Mapping[str, Tensor] | str | Path, build: Callable[[int], Network]) -> Network:
        """Build a ``released`` network with the checkpoint's number of classes, and load the checkpoint's tensors.

        Raises:
            ValueError: Tensors are missing, not expected or of a wrong shape; the message names them.
        """
        tensors = read_tensors(state_dict_or_path)
        model = build(self.count_classes(tensors))
        model.load_state_dict(self.from_released(tensors, model))
        return model

    def count_classes(self, tensors: Mapping[str, Tensor]) -> int:
        """Number of classes of the authors' classifier.

        Raises:
            ValueError: The classifier is missing, or is not a matrix.
        """
        weight = tensors.get(self.classifier)
        if weight is None or weight.ndim != 2:
            raise ValueError(
                f"not a checkpoint of the authors' {self.network}: {self.classifier} is missing or not [classes, units]"
            )
        return weight.shape[0]

    def to_released(self, model: nn.Module) -> dict[str, Tensor]:
        """The tensors of a ``released`` network (any width, all tasks) under the authors' names and shapes."""
        tensors = {}
        for name, tensor in model.state_dict().items():
            ours, theirs = self.axes.get(name, ("...", "..."))
            tensors[self._their_name(name)] = rearrange(tensor, f"{ours} -> {theirs}")
        return tensors

    def from_released(self, tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
        """The authors' tensors as a state dict of a ``released`` network.

        Raises:
            ValueError: Tensors are missing, not expected or of a wrong shape; the message names them.
        """
        expected = {name: tensor.shape for name, tensor in self.to_released(model).items()}
        given = {name: tensor.shape for name, tensor in tensors.items()}
        common = expected.keys() & given.keys()
        faults = {
            "missing": sorted(expected.keys() - given.keys()),
            "not expected": sorted(given.keys() - expected.keys()),
            "wrong shape": [
                f"{name} {list(given[name])} instead of {list(expected[name])}"
                for name in sorted(common)
                if given[name] != expected[name]
            ],
        }
        if any(faults.values()):
            named = "; ".join(f"{fault}: {', '.join(names)}" for fault, names in faults.items() if names)
            raise ValueError(f"not a checkpoint of the authors' {self.network}: {named}")
        state = {}
        for name in model.state_dict():
            ours, theirs = self.axes.get(name, ("...", "..."))
            state[name] = rearrange(tensors[self._their_name(name)], f"{theirs} -> {ours}")
        return state

    def _their_name(self, name: str) -> str:
        theirs, ours = next(row for row in self.names.items() if name == row[1] or name.startswith(row[1] + "."))
        return theirs + name.removeprefix(ours)
