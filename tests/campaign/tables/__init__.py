"""The bad inputs: one file for each kind, one line for each case."""

from collections.abc import Mapping, Sequence

from ..cases import Case
from . import caches, checkpoints, downloads, environments, landmarks, manifests, media, overrides, studies

TABLES: Mapping[str, Sequence[Case]] = {
    module.__name__.rpartition(".")[2]: module.CASES
    for module in (manifests, media, landmarks, downloads, overrides, caches, checkpoints, studies, environments)
}
