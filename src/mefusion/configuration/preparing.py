"""From the settings of `mefusion-prepare` and `mefusion-check` to the objects that they describe; without torch."""

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
    """Which clips are prepared, how, and where to.

    Attributes:
        options: as the configuration has them.
        source: of the clips.
        settings: how they are prepared.
        cache: folder of what is prepared.
    """

    options: PrepareSettings
    source: Source
    settings: PreparationSettings
    cache: Path


def resolve_preparation(config: DictConfig) -> Preparation:
    """All that a configuration of conf/prepare.yaml or conf/check.yaml describes.

    Raises:
        MefusionError: a value is none of those there are.
    """
    options: Any = OmegaConf.to_object(config)
    return plan_preparation(options)


def plan_preparation(options: PrepareSettings) -> Preparation:
    """Source, settings and cache folder of typed options.

    Raises:
        MefusionError: a value is none of those there are.
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
