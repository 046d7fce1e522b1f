"""Say at once that a study is complete: notes, beside the prepared clips, of studies that were; does not import torch.

A study's name follows from its settings, its clips and its code, and to find it takes seconds of imports. A note holds
under a key: the digest of all that the answer was made from, which is the resolved configuration, the source code of
mefusion and of its plugins, the versions of packages, the prepared clips' index, and the size and time of their files.
It names the files of the result with their checksums. If anything is different, or is not certain, there is no note,
and the study is looked at as usual.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mefusion.clips.cache import recorded_source
from mefusion.common.errors import MefusionError
from mefusion.common.files import sha256, write_text
from mefusion.configuration.preparing import Preparation, plan_preparation, typed_settings
from mefusion.configuration.schema import TrainSettings
from mefusion.faces.detectors import backend_version
from mefusion.studies.provenance import versions
from mefusion.studies.references import REFERENCES

FOLDER = ".complete"
"""Folder of the notes, in the folder of prepared clips."""

_OURS = ("mefusion.", "lightning.")
"""Modules whose classes are known by their source, or by the version of their package."""


@dataclass(frozen=True)
class Note:
    """What is known of a complete study.

    Attributes:
        directory: of the study.
        files: its files that the answer depends on, each with its SHA-256.
        beside: the same of the summaries of simple models beside it, which the headline compares with.
        lines: what is printed.
        result: what a sweep is told.
    """

    directory: str
    files: Mapping[str, str]
    beside: Mapping[str, str]
    lines: Sequence[str]
    result: Mapping[str, Any]

    def holds(self) -> bool:
        """Whether the study's files, and the summaries beside it, are still these."""
        try:
            found = {name: sha256(Path(self.directory, name)) for name in self.files}
            return found == self.files and _summaries_beside(Path(self.directory)) == self.beside
        except OSError:
            return False


def note_path(config: DictConfig) -> Path | None:
    """Where the note of a study is, or would be; None if what its answer depends on is not certain.

    Args:
        config: of conf/train.yaml.
    """
    try:
        settings: TrainSettings = typed_settings(config)
        plain: Any = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
        if not _is_certain(settings, plain):
            return None
        preparation = plan_preparation(settings)
        recorded = recorded_source(preparation.cache, command="")
        if recorded is None or recorded != preparation.source.digest():
            return None
        parts = [json.dumps(plain, sort_keys=True), str(Path.cwd()), json.dumps(versions())]
        parts += [backend_version(preparation.settings.backend), *_digests_of_code(), *_digests_of_clips(preparation)]
    except (MefusionError, OSError):  # it will be told by what comes
        return None
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return Path(settings.cache_dir).absolute() / FOLDER / f"{key}.json"


def read_note(path: Path) -> Note | None:
    """Read the note of a study; None if there is none that holds."""
    try:
        note = Note(**json.loads(path.read_text(encoding="utf-8")))
        return note if note.holds() else None
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def write_note(
    path: Path, directory: Path, names: Sequence[str], lines: Sequence[str], result: Mapping[str, Any]
) -> None:
    """Note that a study is complete; where the folder cannot be written, there is no note.

    Args:
        path: see `note_path`.
        directory: of the study.
        names: the files of its result, relative to it.
        lines, result: see `Note`.
    """
    try:
        files = {name: sha256(directory / name) for name in names}
        beside = _summaries_beside(directory)
        write_text(path, json.dumps(asdict(Note(str(directory.absolute()), files, beside, lines, result))))
    except (MefusionError, OSError):
        return


def _summaries_beside(directory: Path) -> dict[str, str]:
    found = [path for name in REFERENCES for path in sorted(directory.parent.glob(f"{name}-*/summary.json"))]
    return {path.parent.name: sha256(path) for path in found if path.is_file()}


def _is_certain(settings: TrainSettings, plain: Mapping[str, Any]) -> bool:
    """Whether the answer depends on nothing but what the key and the note have.

    Code of the user's own is not in the key, nor are the weights that it starts from, nor those that it keeps in the
    note, which are large; W&B is told of each run.
    """
    asked = settings.again or settings.accept_code or settings.keep_weights or settings.protocol.name == "all"
    ours = all(str(target).startswith(_OURS) for target in _targets(plain))
    alone = settings.trainer.get("devices") == 1 and "LOCAL_RANK" not in os.environ
    return ours and not asked and alone and "wandb" not in settings.logger and settings.model.init_from is None


def _targets(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            if key == "_target_":
                yield part
            yield from _targets(part)
    elif isinstance(value, list):
        for part in value:
            yield from _targets(part)


def _digests_of_code() -> list[str]:
    package = Path(__file__).parents[1]
    files = [path for folder in (package, package.parent / "hydra_plugins") for path in sorted(folder.rglob("*.py"))]
    return [f"{path.relative_to(package.parent)} {sha256(path)}" for path in files]


def _digests_of_clips(preparation: Preparation) -> list[str]:
    names = ("index.parquet", "source.txt", "failures.csv")
    files = [preparation.cache / name for name in names]
    clips = [(path, path.stat()) for path in sorted(preparation.cache.rglob("*.safetensors"))]
    digests = [f"{path.name} {sha256(path) if path.is_file() else ''}" for path in files]
    return [*digests, *(f"{path} {found.st_size} {found.st_mtime_ns}" for path, found in clips)]
