"""SAMM (Davison, Lansley, Costen, Tan and Yap, IEEE Transactions on Affective Computing 2018)."""

import re

from mefusion.datasets.reading.counts import Counts
from mefusion.datasets.reading.official import OfficialSource

_THREE = Counts(28, {"negative": 92, "positive": 26, "surprise": 15})


class SammSource(OfficialSource):
    """SAMM: 159 clips of 29 subjects; frames as in `006/006_1_2/006_05562.jpg`."""

    dataset = "samm"
    fps = 200
    subject_name = "{:03d}"
    subject_folder = re.compile(r"\d{3}")
    kinds = {"raw": "samm"}
    tables = ("SAMM_Micro_FACS_Codes_v2.xlsx",)
    columns = {
        "Subject": "subject",
        "Filename": "clip",
        "Onset Frame": "onset",
        "Apex Frame": "apex",
        "Offset Frame": "offset",
        "Action Units": "action_units",
        "Estimated Emotion": "emotion",
        "Objective Classes": "objective_class",
    }
    counts = {
        "three": _THREE,
        "three_wide": _THREE,
        "five": Counts(27, {"anger": 57, "others": 26, "happiness": 26, "surprise": 15, "contempt": 12}),
    }
