"""Where prepared clips lie, which follows from all that their arrays depend on; imports none of what prepares them."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from mefusion.clips.cache import settings_hash
from mefusion.clips.table import folder_name
from mefusion.faces.detectors import backend_version
from mefusion.preparation.settings import FlowMethod, PreparationSettings

PREPARATION = 2  # raise it when a change of the code makes the same settings give other arrays


def cache_folder(cache_dir: Path, settings: PreparationSettings, *, data: str, source: Mapping[str, object]) -> Path:
    """Cache folder of a source's prepared clips: `<cache>/<data>/<hash of source and preparation settings>`."""
    faces = asdict(settings.faces)
    # The names and structure that the first caches had, so that the hashes of existing caches stay the same.
    recorded = asdict(settings) | {name: faces[name] for name in ("enlarge", "alignment", "max_missing")}
    if settings.flow == FlowMethod.tvl1:
        del recorded["flow"]
    recorded |= {"faces": recorded.pop("backend"), "landmark_folder": faces["folder"], "version": PREPARATION}
    facts = {"preparation": recorded, "source": source, "backend": backend_version(settings.backend)}
    return cache_dir / folder_name(data) / settings_hash(facts)
