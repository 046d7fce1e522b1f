"""The bad inputs: one file for each kind, one line for each case."""

from collections.abc import Mapping, Sequence

from ..cases import Case
from . import (
    bundles,
    caches,
    checkpoints,
    downloads,
    environments,
    landmarks,
    manifests,
    media,
    overrides,
    recordings,
    studies,
)

MODULES = (
    manifests,
    media,
    landmarks,
    downloads,
    overrides,
    caches,
    checkpoints,
    studies,
    environments,
    recordings,
    bundles,
)

TABLES: Mapping[str, Sequence[Case]] = {module.__name__.rpartition(".")[2]: module.CASES for module in MODULES}
