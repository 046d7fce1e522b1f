"""Make the objects that a configuration names by `_target_`, once it is certain what they are; does not import torch.

Hydra calls whatever `_target_` names, also within an object's arguments. Here it has to be a class of the kind that is
needed, so that no configuration can call another function.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf.errors import OmegaConfBaseException

from mefusion.common.errors import MefusionError

Kind = TypeVar("Kind")

_KEYWORDS = {"_recursive_": (True, False), "_convert_": ("none", "partial", "object", "all")}
"""Hydra's own keys beside `_target_`, with their values; `_partial_` and `_args_` make no object of a class."""


def make(
    key: str,
    options: Any,
    kind: type[Kind],
    *,
    parts: tuple[type, ...] = (),
    functions: tuple[Callable[..., Kind], ...] = (),
    **arguments: Any,
) -> Kind:
    """Make the object that options describe.

    Args:
        key: of the options in the configuration, for messages.
        options: `_target_` and arguments.
        kind: the class that the object must be of.
        parts: further classes that objects within its arguments may be of.
        functions: functions of ours that may stand in place of a class.
        arguments: further arguments.

    Raises:
        MefusionError: `_target_` is something else, or the object cannot be made.
    """
    check_target(key, options, kind, parts=parts, functions=functions)
    try:
        return instantiate(options, **arguments)
    except InstantiationException as error:
        if isinstance(error.__cause__, MefusionError):
            raise error.__cause__ from error
        raise MefusionError(f"{key} cannot be built: {_first_line(error.__cause__ or error)}") from error
    except OmegaConfBaseException as error:
        raise MefusionError(f"{key} cannot be built: {_first_line(error)}") from error


def check_target(
    key: str,
    options: Any,
    kind: type,
    *,
    parts: tuple[type, ...] = (),
    functions: tuple[Callable[..., Any], ...] = (),
) -> None:
    """Check what `_target_` names, here and within the arguments; see `make`.

    Raises:
        MefusionError: it names something else, or cannot be imported.
    """
    if not isinstance(options, Mapping) or "_target_" not in options:
        raise MefusionError(f"{key} names no class: give {key}._target_=CLASS, a class of {_name(kind)}")
    for place, node in _nodes(key, options):
        if "_target_" not in node:
            continue
        inner = place != key
        target, kinds = node["_target_"], (kind, *parts) if inner else (kind,)
        found = _import(f"{place}._target_", target)
        if found not in functions and not (isinstance(found, type) and issubclass(found, kinds)):
            allowed = " or ".join(map(_name, (*kinds, *functions)))
            raise MefusionError(f"{place}._target_={target} is not allowed here: name a class of {allowed}")
        for name, value in node.items():
            if name in ("_partial_", "_args_"):
                raise MefusionError(f"{place}.{name} is not allowed: give each argument by its name")
            if name in _KEYWORDS and value not in _KEYWORDS[name]:
                allowed = ", ".join(str(choice).lower() for choice in _KEYWORDS[name])
                raise MefusionError(f"{place}.{name}={value}: choose from {allowed}")


def _nodes(key: str, value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """All mappings in settings, with their keys."""
    if isinstance(value, Mapping):
        yield key, value
        for name, part in value.items():
            yield from _nodes(f"{key}.{name}", part)
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from _nodes(f"{key}[{number}]", part)


def _import(key: str, path: Any) -> Any:
    if not isinstance(path, str):
        raise MefusionError(f"{key}={path}: give the name of a class, as package.module.Class")
    try:
        module, _, name = path.rpartition(".")
        return getattr(importlib.import_module(module), name)
    except Exception as error:  # a module of the user's own can raise anything
        raise MefusionError(
            f"{key}={path} cannot be imported ({type(error).__name__}: {_first_line(error)})"
        ) from error


def _name(named: Any) -> str:
    return f"{named.__module__}.{named.__qualname__}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
