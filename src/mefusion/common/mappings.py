"""Nested settings and results as flat ones."""

from collections.abc import Mapping
from typing import Any


def flatten(values: Mapping[str, Any], separator: str = ".", prefix: str = "") -> dict[str, Any]:
    """The values of nested mappings by their paths: `{"model": {"name": "mol"}}` gives `{"model.name": "mol"}`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        path = f"{prefix}{name}"
        found |= flatten(value, separator, path + separator) if isinstance(value, Mapping) else {path: value}
    return found
