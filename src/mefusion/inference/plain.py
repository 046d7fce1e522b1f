"""Plain data of a JSON file as typed values: nothing is believed of a file that comes from elsewhere."""

import math
import types
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

LONGEST_NAME = 200


def typed(kind: Any, value: Any, place: str) -> Any:
    """A plain value as one of a type.

    Args:
        kind: a dataclass, an enumeration, `str`, `int`, `float`, `list[...]`, `dict[str, ...]` or a union of them. Of a
            dataclass, each field has to be there.
        value: from a JSON file.
        place: where it is, for messages, as `data.fps`.

    Raises:
        ValueError: the value is not of the type, or a number is not finite.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if is_dataclass(kind) and isinstance(value, dict):
        return _dataclass(kind, value, place)
    if origin in (Union, types.UnionType):
        one = next(part for part in inner if part is not type(None))
        return None if value is None and type(None) in inner else typed(one, value, place)
    if origin is list and isinstance(value, list):
        return [typed(inner[0], item, place) for item in value]
    if origin is dict and isinstance(value, dict):
        return {key: typed(inner[1], item, place) for key, item in value.items()}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    if kind is float and type(value) in (int, float) and abs(value) < 2**53 and math.isfinite(value):
        return float(value)
    if kind in (str, int) and type(value) is kind:
        return value
    raise ValueError(f"{place} is {brief(repr(value))}, not {getattr(kind, '__name__', kind)}")


def _dataclass(kind: Any, value: dict[str, Any], place: str) -> Any:
    hints = get_type_hints(kind)
    if missing := [field.name for field in fields(kind) if field.name not in value]:
        raise ValueError(f"{place}.{missing[0]} is missing")
    return kind(**{name: typed(hint, value[name], f"{place}.{name}") for name, hint in hints.items()})


def check_names(names: list[str], place: str) -> None:
    """Check names that are printed: to a terminal, into tables and pages.

    Raises:
        ValueError: one is empty, longer than `LONGEST_NAME`, has a character that is not printable, or is there twice.
    """
    for name in names:
        if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
            raise ValueError(f"{place}: {brief(repr(name))} is no name")
    if not names or len({*names}) < len(names):
        raise ValueError(f"{place} must be different names")


def brief(text: str, longest: int = 200) -> str:
    """A text for a message: shortened, and without characters that would change the terminal."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in text[:longest])
    return plain + ("..." if len(text) > longest else "")
