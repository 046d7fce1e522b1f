"""Make the objects that the settings of `mefusion-prepare` and `mefusion-check` describe; does not import torch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mefusion.common.errors import MefusionError
from mefusion.common.files import resolved
from mefusion.common.mappings import flatten
from mefusion.configuration.objects import make
from mefusion.configuration.schema import PrepareSettings
from mefusion.datasets.reading.source import Source
from mefusion.preparation.identity import cache_folder
from mefusion.preparation.settings import PreparationSettings

RECORDINGS = "mefusion.datasets.recordings."
"""The module of the sources of recordings, which are not cut into clips."""


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
    return plan_preparation(typed_settings(config))


def typed_settings(config: DictConfig) -> Any:
    """The typed settings of a command's configuration.

    Raises:
        MefusionError: a value is not allowed, a setting does not exist, or a number is not finite or has more than 64
            bits.
    """
    settings, plain = OmegaConf.to_object(config), OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    _require_usable_numbers(plain)  # type: ignore[arg-type]
    _require_known("", settings)
    return settings


def _require_known(prefix: str, settings: Any) -> None:
    """Check that typed settings have nothing beside their fields: `+key=value` adds any key to them."""
    if isinstance(settings, dict):
        for name, part in settings.items():
            _require_known(f"{prefix}{name}.", part)
    elif is_dataclass(settings):
        known = [field.name for field in fields(settings)]
        for name, part in vars(settings).items():
            if name not in known:
                raise MefusionError(f"there is no setting called {prefix}{name}: choose from {', '.join(known)}")
            _require_known(f"{prefix}{name}.", part)


def _require_usable_numbers(plain: Mapping[str, Any]) -> None:
    for key, value in flatten(plain).items():
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, float) and not math.isfinite(number):
                raise MefusionError(f"{key}={value}: give a finite number")
            if isinstance(number, int) and abs(number) >= 2**63:
                raise MefusionError(f"{key}={value}: give a number of at most 18 digits")


def require_folder_name(key: str, value: Any) -> None:
    """Check a name that folders are named by.

    Raises:
        MefusionError: it cannot name a folder, or would name one elsewhere.
    """
    if not isinstance(value, str) or value in ("", "..") or value != Path(value).name or "\0" in value:
        raise MefusionError(f"{key}={value}: give a name without slashes, since folders are named by it")


def plan_preparation(options: PrepareSettings) -> Preparation:
    """Make the source, settings and cache folder from typed options.

    Raises:
        MefusionError: a value is not allowed.
    """
    if str(options.data.get("_target_")).startswith(RECORDINGS):
        raise MefusionError(f"data={options.data.get('name')} has recordings, which are for mefusion-spot: name clips")
    source: Source = make("data", options.data, Source)  # type: ignore[type-abstract]
    require_folder_name("data.name", source.name)
    faces = options.faces
    if faces.folder and (faces.backend or source.faces) != "precomputed":
        raise MefusionError(f"faces.folder={faces.folder} is read with faces=precomputed alone: give both, or neither")
    settings = PreparationSettings(
        backend=faces.backend or source.faces,
        faces=replace(faces, folder=str(resolved(Path(faces.folder))) if faces.folder else None),
        clip_length=options.clip_length,
        short_clips=options.short_clips,
        missing_apex=options.missing_apex,
        flow=options.flow,
    )
    cache = cache_folder(Path(options.cache_dir), settings, data=source.name, source=source.identity())
    return Preparation(options, source, settings, cache)
