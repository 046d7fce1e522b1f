"""Make the objects that a configuration names by `_target_`, once it is certain what they are; does not import torch.

Hydra calls whatever `_target_` names, also within an object's arguments. Here it has to be a class of the kind that is
needed, so that no configuration can call another function.
"""

import importlib
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf.errors import OmegaConfBaseException

from mefusion.common.errors import MefusionError, first_line

Kind = TypeVar("Kind")

_KEYWORDS = {"_recursive_": (True, False), "_convert_": ("none", "partial", "object", "all")}
"""Hydra's own keys beside `_target_`, with their values; `_partial_` and `_args_` make no object of a class."""

_PLAIN: Mapping[Any, tuple[str, tuple[type, ...]]] = {
    int: ("a whole number", (int,)),
    float: ("a number", (int, float)),
    bool: ("true or false", (bool,)),
    str: ("text", (str,)),
    Path: ("a path", (str,)),
    type(None): ("null", (type(None),)),
}
"""Types of arguments whose values can be checked: in words, and as what they come from a configuration."""


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
        raise MefusionError(f"{key} cannot be built: {first_line(error.__cause__ or error)}") from error
    except OmegaConfBaseException as error:
        raise MefusionError(f"{key} cannot be built: {first_line(error)}") from error


def check_target(
    key: str,
    options: Any,
    kind: type,
    *,
    parts: tuple[type, ...] = (),
    functions: tuple[Callable[..., Any], ...] = (),
) -> None:
    """Check what `_target_` names, here and within the arguments, and that it can have these arguments; see `make`.

    Raises:
        MefusionError: it names something else, cannot be imported, or an argument is unknown or of another type.
    """
    if not isinstance(options, Mapping) or "_target_" not in options:
        raise MefusionError(f"{key} names no class: give {key}._target_=CLASS, a class of {_name(kind)}")
    targets: list[tuple[str, Callable[..., Any], Mapping[str, Any]]] = []
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
        targets.append((place, found, node))
    for place, found, node in targets:  # once it is certain that all are allowed
        _check_arguments(place, found, node)


def modules_of_targets(settings: Any) -> list[str]:
    """Names of the modules that define what settings name by `_target_`, at any depth.

    Raises:
        MefusionError: one of these cannot be imported.
    """
    return [_import("_target_", node["_target_"]).__module__ for _, node in _nodes("", settings) if "_target_" in node]


def _check_arguments(place: str, target: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Check arguments in options against the signature of a class or function, as far as its types are plain ones.

    Without this, a wrong value is found where it is first used, by an error that does not name the setting.
    """
    try:
        parameters = inspect.signature(target).parameters
    except ValueError:  # a class written in C
        return
    try:
        hints = get_type_hints(target.__init__ if isinstance(target, type) else target)  # type: ignore[misc]
    except Exception:  # a type that is imported for type checkers only
        hints = {}
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for name, value in options.items():
        if name == "_target_" or name in _KEYWORDS:
            continue
        if name not in parameters:
            if open_ended:
                continue
            raise MefusionError(
                f"{place}.{name}: {options['_target_']} has no such argument: choose from {', '.join(parameters)}"
            )
        wanted = _alternatives(hints.get(name, Any))
        if wanted and value != parameters[name].default and not any(_fits(value, part) for part in wanted):
            words = [_in_words(part) for part in wanted if part is not int or float not in wanted]
            raise MefusionError(f"{place}.{name}={value}: give {' or '.join(words)}")


def _alternatives(hint: Any) -> list[Any]:
    """The plain types and literal values that a type consists of; none if there is anything else in it."""
    if get_origin(hint) in (Union, types.UnionType):
        parts = [_alternatives(part) for part in get_args(hint)]
        return [choice for part in parts for choice in part] if all(parts) else []
    return [hint] if hint in _PLAIN or get_origin(hint) is Literal else []


def _fits(value: Any, plain: Any) -> bool:
    if get_origin(plain) is Literal:
        return value in get_args(plain)
    return isinstance(value, _PLAIN[plain][1]) and (plain is bool or not isinstance(value, bool))


def _in_words(plain: Any) -> str:
    return ", ".join(map(str, get_args(plain))) if get_origin(plain) is Literal else _PLAIN[plain][0]


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
        raise MefusionError(f"{key}={path} cannot be imported ({type(error).__name__}: {first_line(error)})") from error


def _name(named: Any) -> str:
    return f"{named.__module__}.{named.__qualname__}"
