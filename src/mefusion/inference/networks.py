"""The network of a bundle: its class, checked arguments, and weights that fit."""

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.modules import module as hooks

import mefusion.models
from mefusion.common.errors import MefusionError, first_line
from mefusion.inference.bundle import DESCRIPTION, OWN_MODELS, WEIGHTS, Bundle, unusable
from mefusion.inference.plain import brief

MOST_PARTS = 20_000
"""Modules and parameters of a network; the largest of mefusion has a twentieth."""

_DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.bool: "BOOL",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8",
}  # fmt: skip
"""Names of types in a safetensors file."""

Layout = Mapping[str, tuple[list[int], str]]
"""Shape and type of each tensor, by name."""


def build_network(bundle: Bundle, network: type[nn.Module] | None = None) -> nn.Module:
    """Make the network of a bundle with its weights, on the CPU, in evaluation mode.

    The network is made without memory first, and compared with the header of the weights' file. So arguments that ask
    for more memory than the weights have are refused before they take it.

    Args:
        bundle: from `read_bundle`.
        network: the class of a network that is none of `mefusion.models`.

    Raises:
        MefusionError: the class is another one or has to be passed, it refuses the arguments, or the weights are not
            those of this network.
    """
    kind, path = _network_class(bundle, network), bundle.folder / WEIGHTS
    found = _layout_of_file(path)
    try:
        with torch.device("meta"), _few_parts():
            _require_same(path, _layout_of(kind(**bundle.arguments)), found)
    except MefusionError:
        raise
    except Exception as error:
        if network is None:  # an author's class may need real tensors
            raise _cannot_be_built(bundle, kind, error) from error
    try:
        made = kind(**bundle.arguments)
    except Exception as error:  # the class of an author can raise anything
        raise _cannot_be_built(bundle, kind, error) from error
    _require_same(path, _layout_of(made), found)
    made.load_state_dict(_load_weights(path))
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


@contextmanager
def _few_parts() -> Iterator[None]:
    """Stop the making of a network of more than `MOST_PARTS` modules and parameters."""
    counter = itertools.count()

    def count(*part: Any) -> None:
        if next(counter) > MOST_PARTS:
            raise ValueError(f"it has more than {MOST_PARTS} parts")

    with (
        hooks.register_module_parameter_registration_hook(count),
        hooks.register_module_module_registration_hook(count),
    ):
        yield


def _layout_of(network: nn.Module) -> Layout:
    return {
        name: ([*tensor.shape], _DTYPES.get(tensor.dtype, str(tensor.dtype)))
        for name, tensor in network.state_dict().items()
    }


def _layout_of_file(path: Path) -> Layout:
    try:
        with safe_open(path, framework="pt") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
            return {name: ([*part.get_shape()], part.get_dtype()) for name, part in parts.items()}
    except (OSError, SafetensorError, ValueError, OverflowError) as error:
        raise _unreadable(path, error) from error


def _require_same(path: Path, expected: Layout, found: Layout) -> None:
    differing = [name for name in {**expected, **found} if found.get(name) != expected.get(name)]
    if differing:
        raise MefusionError(
            f"{path} has the weights of another network ({len(differing)} tensors differ, such as "
            f"{brief(differing[0])}): export the bundle again"
        )


def _load_weights(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
    except (OSError, SafetensorError, ValueError) as error:
        raise _unreadable(path, error) from error
    for name, tensor in weights.items():
        if not bool(torch.isfinite(tensor).all()):
            raise MefusionError(f"{path} has values in {name} that are not finite: export the bundle again")
    return weights


def _unreadable(path: Path, error: Exception) -> MefusionError:
    return MefusionError(f"{path} cannot be read ({brief(first_line(error))}): export the bundle again")


def _cannot_be_built(bundle: Bundle, kind: type[nn.Module], error: Exception) -> MefusionError:
    return unusable(
        bundle.folder / DESCRIPTION, f"describes a {kind.__name__} that cannot be built ({first_line(error)})"
    )
