"""Segments without videos, for tests of labelling."""

from pathlib import Path

import numpy as np

from mefusion.annotation.extraction.segments import Segment
from mefusion.annotation.labelling.settings import ApiSettings, LabelSettings, VocabularySettings

LABELS = {"neutral": "nothing", "surprise": "a start", "joy": "gladness", "anger": "wrath"}


class FakeContents:
    """Two small pictures and half a second of sound, other ones for each segment."""

    def __init__(self):
        self.asked = []

    def pictures(self, segment):
        self.asked.append(segment.name)
        rng = np.random.default_rng(abs(hash(segment.start)) % 2**32)
        return [rng.integers(255, size=(24, 32, 3), dtype=np.uint8) for _ in range(2)]

    def sound(self, segment):
        return np.sin(np.arange(8000) * segment.start / 100).astype(np.float32)


def fake_segments(count, transcript="hello", videos=2):
    return [
        Segment(
            f"v{n % videos}-{n:03d}", f"v{n % videos}", Path(f"v{n % videos}.mp4"), n + 1.0, n + 3.5, 1, "p", transcript
        )
        for n in range(count)
    ]


def label_settings(base_url, *, runs=1, dry_run=False, budget=None, **api):
    changes = {"backoff_s": 0.01, "timeout_s": 20.0} | api
    more = {} if budget is None else {"budget": budget}
    return LabelSettings(
        api=ApiSettings(base_url=base_url, model="asked", **changes),
        vocabulary=VocabularySettings("own", dict(LABELS)),
        runs=runs,
        dry_run=dry_run,
        **more,
    )
