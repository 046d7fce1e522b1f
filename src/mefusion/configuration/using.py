"""What a study that trains on all subjects records of its clips, so that its network can be used without them."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from mefusion.clips.cache import PICTURES, load_arrays
from mefusion.clips.video import IMAGES
from mefusion.configuration.preparing import Preparation
from mefusion.evaluation.predictions import sample_list_hash
from mefusion.preparation.quality import eye_distance


def facts_for_use(preparation: Preparation, index: pd.DataFrame) -> dict[str, Any]:
    """Facts of `study.json` that `mefusion-export` needs, and no score.

    Args:
        preparation: of the study's clips.
        index: the labelled clips, rows of the cache's index.

    Returns:
        `preparation`, the settings by which the clips were prepared; `trained_on`: number of clips and subjects of each
        dataset, smallest and largest frame rate (frames/s) and distance of the eye centres (px of the recording), None
        where it is not known; whether the clips are flow images; hashes of the list of clips, and of what each shows,
        with and without landmarks from files.

    Raises:
        MefusionError: a prepared clip is damaged.
    """
    settings = asdict(preparation.settings)
    settings["faces"]["folder"] = None  # a path of this machine, and of no use elsewhere
    kept = [load_arrays(preparation.cache / file, ("landmarks", "matrices")) for file in index["file"]]
    by_dataset = {str(name): part for name, part in index.groupby("dataset")}
    return {
        "preparation": settings,
        "trained_on": {
            "clips": len(index),
            "subjects": int(index["subject"].nunique()),
            "datasets": {
                name: {"clips": len(part), "subjects": int(part["subject"].nunique())}
                for name, part in by_dataset.items()
            },
            "fps": _range(index["fps"].dropna().tolist()),
            "eye_distance": _range([value for arrays in kept if (value := eye_distance(arrays)) is not None]),
            "flow_images": any(Path(path).suffix.lower() in IMAGES for path in index["path"]),
            "sample_list_hash": sample_list_hash(index),
            "contents": sorted({*index["content"], *index[PICTURES]}),
        },
    }


def _range(values: Sequence[float]) -> list[float] | None:
    return [round(float(min(values)), 1), round(float(max(values)), 1)] if values else None
