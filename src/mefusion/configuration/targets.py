"""Targets that are known of whole clips, from the clip table."""

from collections.abc import Collection

import numpy as np
import pandas as pd

from mefusion.common.errors import MefusionError
from mefusion.common.units import UNIT_TASK, UNKNOWN
from mefusion.datasets.units import unit_labels


def clip_targets(tasks: Collection[str], clips: pd.DataFrame, *, data: str) -> dict[str, np.ndarray]:
    """What tasks learn of whole clips, see `mefusion.windows.store.ClipStore`.

    Args:
        tasks: names of the tasks that are on.
        clips: rows of the cache's index.
        data: name of the source, for the message.

    Raises:
        MefusionError: the task of action units is on, and no clip is coded.
    """
    if UNIT_TASK not in tasks:
        return {}
    labels = unit_labels(clips["action_units"])
    if (labels == UNKNOWN).all():
        raise MefusionError(
            f"no clip of data={data} has a coding of action units to learn from: give tasks.{UNIT_TASK}.weight=0"
        )
    return {UNIT_TASK: labels}
