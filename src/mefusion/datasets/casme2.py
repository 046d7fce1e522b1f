"""CASME II (Yan et al., PLoS ONE 2014)."""

import re

from mefusion.datasets.reading.counts import Counts
from mefusion.datasets.reading.official import OfficialSource


class Casme2Source(OfficialSource):
    """CASME II: 255 clips of 26 subjects; frames as in `sub01/EP02_01f/img46.jpg`, `raw` or `cropped`."""

    dataset = "casme2"
    fps = 200
    subject_name = "sub{:02d}"
    subject_folder = re.compile(r"sub\d+", re.IGNORECASE)
    kinds = {"cropped": "crop", "raw": "raw"}
    tables = ("CASME2-coding-20190701.xlsx", "CASME2-coding-20140508.xlsx")
    columns = {
        "Subject": "subject",
        "Filename": "clip",
        "OnsetFrame": "onset",
        "ApexFrame": "apex",
        "OffsetFrame": "offset",
        "Action Units": "action_units",
        "Estimated Emotion": "emotion",
    }
    # `three` as in the Micro-Expression Grand Challenge 2019 (See, Yap, Li, Hong and Wang, FG 2019).
    counts = {
        "three": Counts(24, {"negative": 88, "positive": 32, "surprise": 25}),
        "three_wide": Counts(25, {"negative": 99, "positive": 32, "surprise": 25}),
        "five": Counts(26, {"others": 99, "disgust": 63, "happiness": 32, "repression": 27, "surprise": 25}),
        "seven": Counts(
            26,
            {"others": 99, "disgust": 63, "happiness": 32, "repression": 27, "surprise": 25, "sadness": 7, "fear": 2},
        ),
    }
