"""The authors' published MOL checkpoints: their names and shapes against ours."""

from collections.abc import Mapping
from pathlib import Path

import torch
from einops import rearrange
from safetensors.torch import load_file
from torch import Tensor, nn

# Each half's first convolution and embedding bear the number 1, its second ones 2.
_FCC = {
    "meta_kernel_1_H": "halves.0.conv_1.weight",
    "meta_1_H_bias": "halves.0.conv_1.bias",
    "meta_pe_1_H": "halves.0.position_1",
    "meta_kernel_2_W": "halves.0.conv_2.weight",
    "meta_2_W_bias": "halves.0.conv_2.bias",
    "meta_pe_2_W": "halves.0.position_2",
    "pre_Norm_1": "halves.0.norm",
    "meta_kernel_1_W": "halves.1.conv_1.weight",
    "meta_1_W_bias": "halves.1.conv_1.bias",
    "meta_pe_1_W": "halves.1.position_1",
    "meta_kernel_2_H": "halves.1.conv_2.weight",
    "meta_2_H_bias": "halves.1.conv_2.bias",
    "meta_pe_2_H": "halves.1.position_2",
    "pre_Norm_2": "halves.1.norm",
    "ffn": "ffn",
}
_CCC = {"conv1": "node", "conv2": "edge"}
_ENCODER = "conv1 conv2 conv3 conv_redir conv3_1 conv4 conv4_1 conv5 conv5_1 conv6 conv6_1 predict_flow6"
_FLOW = {name: name for name in _ENCODER.split()}
for _i, _level in enumerate(range(5, -1, -1)):
    _FLOW[f"deconv{_level}"] = f"decoder.{_i}.deconv"
    _FLOW[f"predict_flow{_level}"] = f"decoder.{_i}.predict"
    _FLOW[f"upsampled_flow{_level + 1}_to_{_level}"] = f"decoder.{_i}.upsample"

NAMES = {
    "conv_stack.conv_stack": "stem",
    **{f"FCC_{i + 1}.{theirs}": f"f5c.{i}.fcc.{ours}" for i in (0, 1) for theirs, ours in _FCC.items()},
    **{f"CCC_{i + 1}.{theirs}": f"f5c.{i}.ccc.{ours}" for i in (0, 1) for theirs, ours in _CCC.items()},
    **{f"flownet.{theirs}": f"flow_net.{ours}" for theirs, ours in _FLOW.items()},
    "mer_3dcnn.conv3d": "recognition.conv",
    "mer_3dcnn.fc1": "recognition.fc1",
    "mer_3dcnn.fc2": "recognition.fc2",
    "ldm_predictor.convldm": "landmarks.conv",
    "ldm_predictor.fc1": "landmarks.fc1",
    "ldm_predictor.fc2": "landmarks.fc2",
}
"""The authors' modules and tensors, and ours; what a module holds bears the same names in both."""

_CLASSIFIER = "mer_3dcnn.fc2.weight"


def read_tensors(state_dict_or_path: Mapping[str, Tensor] | str | Path) -> Mapping[str, Tensor]:
    """A state dict as it is, or from a ``.safetensors`` or ``torch.save`` file, read without running code."""
    if isinstance(state_dict_or_path, Mapping):
        return state_dict_or_path
    path = Path(state_dict_or_path)
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def count_classes(tensors: Mapping[str, Tensor]) -> int:
    """The number of classes of the authors' classifier.

    Raises:
        ValueError: The classifier is missing or no matrix.
    """
    weight = tensors.get(_CLASSIFIER)
    if weight is None or weight.ndim != 2:
        raise ValueError(f"no checkpoint of the authors' MOL: {_CLASSIFIER} is missing or not [classes, units]")
    return weight.shape[0]


def to_released(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a ``released`` MOL (any width, all tasks) under the authors' names and shapes."""
    return {_their_name(name): _their_shape(name, tensor) for name, tensor in model.state_dict().items()}


def from_released(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The authors' tensors as a state dict of a ``released`` MOL.

    Raises:
        ValueError: Tensors are missing, surplus or misshapen; the message names them.
    """
    expected = {name: tensor.shape for name, tensor in to_released(model).items()}
    given = {name: tensor.shape for name, tensor in tensors.items()}
    common = expected.keys() & given.keys()
    faults = {
        "missing": sorted(expected.keys() - given.keys()),
        "surplus": sorted(given.keys() - expected.keys()),
        "misshapen": [
            f"{name} {list(given[name])} for {list(expected[name])}"
            for name in sorted(common)
            if given[name] != expected[name]
        ],
    }
    if any(faults.values()):
        named = "; ".join(f"{fault}: {', '.join(names)}" for fault, names in faults.items() if names)
        raise ValueError(f"no checkpoint of the authors' MOL: {named}")
    return {name: tensors[_their_name(name)].reshape(tensor.shape) for name, tensor in model.state_dict().items()}


def _their_name(name: str) -> str:
    theirs, ours = next(row for row in NAMES.items() if name == row[1] or name.startswith(row[1] + "."))
    return theirs + name.removeprefix(ours)


def _their_shape(name: str, tensor: Tensor) -> Tensor:
    """CCC's linear maps are convolutions over a single channel there."""
    return rearrange(tensor, "o i -> o 1 i") if ".ccc." in name and tensor.ndim == 2 else tensor
