"""Labels of action units from the codings of a clip table."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from mefusion.common.units import ABSENT, PRESENT, UNITS, UNKNOWN
from mefusion.datasets.reading.facs import parse


def unit_labels(codings: Iterable[object]) -> np.ndarray:
    """Label each clip with the units of `UNITS`; side and intensity do not count, a trace (A) is present.

    Args:
        codings: the column `action_units` of a clip table.

    Returns:
        [clips, units] float32: `PRESENT` or `ABSENT`; `UNKNOWN` are all units of a clip without a coding, and those of
        which the coder was not sure (`R6?`, or alternatives such as `14A or 17A`).
    """
    return np.array([_labels(coding) for coding in codings], np.float32).reshape(-1, len(UNITS))


def _labels(coding: object) -> list[int]:
    units = () if pd.isna(coding) else parse(str(coding))[0]
    if not units:
        return [UNKNOWN] * len(UNITS)
    sure = {unit.number for unit in units if unit.certain}
    unsure = {unit.number for unit in units} - sure
    return [PRESENT if unit in sure else UNKNOWN if unit in unsure else ABSENT for unit in UNITS]
