"""Make the objects that the settings of `mefusion-prepare` and `mefusion-check` describe; does not import torch."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from mefusion.configuration.schema import PrepareSettings
from mefusion.datasets.reading.source import Source
from mefusion.preparation.clips import cache_folder
from mefusion.preparation.settings import PreparationSettings


@dataclass(frozen=True)
class Preparation:
    """Which clips are prepared, how, and into which folder.

    Attributes:
        options: the typed settings of the configuration.
        source: of the clips.
        settings: how the clips are prepared.
        cache: folder of the prepared clips.
    """

    options: PrepareSettings
    source: Source
    settings: PreparationSettings
    cache: Path


def resolve_preparation(config: DictConfig) -> Preparation:
    """Resolve a configuration of conf/prepare.yaml or conf/check.yaml.

    Raises:
        MefusionError: a value is not allowed.
    """
    options: Any = OmegaConf.to_object(config)
    return plan_preparation(options)


def plan_preparation(options: PrepareSettings) -> Preparation:
    """Make the source, settings and cache folder from typed options.

    Raises:
        MefusionError: a value is not allowed.
    """
    source: Source = instantiate(options.data)
    faces = options.faces
    settings = PreparationSettings(
        backend=faces.backend or source.faces,
        faces=replace(faces, folder=str(Path(faces.folder).resolve()) if faces.folder else None),
        clip_length=options.clip_length,
        short_clips=options.short_clips,
        missing_apex=options.missing_apex,
    )
    cache = cache_folder(Path(options.cache_dir), settings, data=source.name, source=source.identity())
    return Preparation(options, source, settings, cache)
