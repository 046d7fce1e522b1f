"""How well events are spotted in rendered recordings, whose truth is exact.

    OMP_NUM_THREADS=1 python experiments/benchmarks/spotting_accuracy.py [--development] [--subjects N] [ROW ...]

Prints a row for each kind of recording and each method: the motion of the landmark that moves most, px of the aligned
crop of 128 px; what disturbs; the frame rate; how many true micro- and macro-expressions there are; and F1 at IoU 0.5
of micro, macro and all, with the 95 % interval over subjects. Stretches that are marked as speech do not count.

Nothing was chosen on the subjects of this table: settings were chosen on those of `--development`, whose seed, faces
and events are others. Each recording is rendered, and its faces are followed, once for all methods.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import cv2
import numpy as np
import pandas as pd

from mefusion.clips.stream import Frame
from mefusion.evaluation.spotting import KINDS, expressions_of, score_spotting
from mefusion.faces.detectors import make_backend
from mefusion.faces.identity import People
from mefusion.faces.tracking import Face, FaceTracker
from mefusion.spotting.apex_score import PairCurve
from mefusion.spotting.curves import Begin
from mefusion.spotting.event_table import events_of
from mefusion.spotting.measuring import DisplacementCurve, measure
from mefusion.spotting.settings import Method, SpottingSettings, Thresholds
from mefusion.spotting.tables import frame_rows, motions_of
from mefusion.synthetic.recordings import Recording, RecordingSettings

REPORTED_SEED, DEVELOPMENT_SEED = 0, 100
SUBJECTS = 4
RECORDING: Mapping[str, Any] = {
    "seconds": 20, "width": 320, "height": 320, "micro_per_minute": 12, "macro_per_minute": 6, "speech_per_minute": 3,
}  # fmt: skip
QUIET: Mapping[str, Any] = {"blinks_per_minute": 0, "speech_per_minute": 0, "head_motion": 0}
OFF = {"blinks": "blinks_per_minute", "speech": "speech_per_minute", "head": "head_motion"}


def quiet_but(*disturbances: str) -> dict[str, Any]:
    """Settings of a recording with only these disturbances."""
    return {key: 0 for name, key in OFF.items() if name not in disturbances}


ROWS: Mapping[str, Mapping[str, Any]] = {
    **{f"{amplitude:g} px": {"amplitude": amplitude} for amplitude in (0.5, 1.0, 2.0, 4.0)},
    **{f"{amplitude:g} px, quiet": {"amplitude": amplitude, **QUIET} for amplitude in (0.5, 1.0, 2.0, 4.0)},
    **{f"2 px, {name}": {"amplitude": 2.0, **quiet_but(name)} for name in OFF},
    **{f"2 px, {fps} fps": {"amplitude": 2.0, "fps": fps} for fps in (25, 60, 100, 200)},
}
METHODS: Mapping[str, SpottingSettings] = {
    "displacement": SpottingSettings(),
    "published": SpottingSettings(thresholds=Thresholds(noise=0), shortest=0.4),
    "apex_score": SpottingSettings(method=Method.apex_score),
}


@dataclass
class Both:
    """The curves of both methods, measured in one pass."""

    person: int
    piece: int
    displacement: DisplacementCurve
    pairs: PairCurve

    @classmethod
    def begun(cls, frame: Frame, face: Face) -> "Both":
        """Curves that begin with a face in a frame."""
        return cls(face.person, face.piece, DisplacementCurve.begun(frame, face), PairCurve.begun(frame, face))

    def add(self, frame: Frame, face: Face) -> None:
        """Measure the face in the next frame."""
        self.displacement.add(frame, face)
        self.pairs.add(frame, face)


def frames_of(recording: Recording) -> Iterator[Frame]:
    """The rendered frames, as a video gives them."""
    for each in recording.frames():
        grey = cv2.cvtColor(each.image, cv2.COLOR_RGB2GRAY)
        yield Frame(each.number, each.time, {"rgb24": each.image, "gray": grey}.__getitem__)


def spot_rendered(recording: Recording, name: str) -> dict[str, pd.DataFrame]:
    """What each method spots: recording, onset, offset and kind."""
    backend = make_backend("dlib")
    assert backend is not None
    rate = SpottingSettings().rate
    segment = measure(frames_of(recording), FaceTracker(backend, People()), rate=rate, begin=cast(Begin, Both.begun))
    both: list[Any] = segment.curves
    found = {}
    for method, settings in METHODS.items():
        pairs = settings.method == Method.apex_score
        own = replace(segment, curves=[curve.pairs if pairs else curve.displacement for curve in both])
        motions = motions_of(own, settings)
        rows = frame_rows(own, motions, settings, begin=0, end=np.inf)
        intervals = {person: motion.intervals for person, motion in motions.items()}
        events = expressions_of(events_of(name, intervals, rows, settings))
        found[method] = events.rename(columns={"onset_frame": "onset", "offset_frame": "offset"})
    return found


def scores_of_row(options: Mapping[str, Any], *, seed: int, subjects: int) -> dict[str, dict[str, Any]]:
    """Scores of each method, see `mefusion.evaluation.spotting.score_spotting`."""
    spotted: dict[str, list[pd.DataFrame]] = {method: [] for method in METHODS}
    truth, recordings = [], []
    for subject in range(subjects):
        amplitude = options["amplitude"]
        settings = RecordingSettings(**{
            **RECORDING, **options, "macro_amplitude": amplitude, "seed": seed, "subject": subject,
        })  # fmt: skip
        recording, name = Recording(settings), f"subject {subject}"
        truth.append(recording.events.assign(recording=name))
        recordings.append({"recording": name, "dataset": "rendered", "subject": name})
        for method, events in spot_rendered(recording, name).items():
            spotted[method].append(events)
    return {
        method: score_spotting(
            pd.concat(events, ignore_index=True), pd.concat(truth, ignore_index=True), pd.DataFrame(recordings)
        )
        for method, events in spotted.items()
    }


def cell(scores: Mapping[str, Any]) -> str:
    """F1 of micro, macro and all, with their intervals."""
    texts = []
    for kind in KINDS:
        low, high = (scores[kind]["intervals"] or {"f1": (np.nan, np.nan)})["f1"]
        texts.append(f"{scores[kind]['f1']:.2f} ({low:.2f} to {high:.2f})")
    return " | ".join(texts)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", metavar="ROW", nargs="*", help=f"of {', '.join(ROWS)}; all by default")
    parser.add_argument("--development", action="store_true", help="the subjects on which settings were chosen")
    parser.add_argument("--subjects", type=int, default=SUBJECTS, help=f"default: {SUBJECTS}")
    arguments = parser.parse_args(argv)
    cv2.setNumThreads(1)
    seed = DEVELOPMENT_SEED if arguments.development else REPORTED_SEED
    print("recordings | micro, macro | method | F1 micro | F1 macro | F1 all", flush=True)
    for name in arguments.rows or ROWS:
        for method, scores in scores_of_row(ROWS[name], seed=seed, subjects=arguments.subjects).items():
            counts = f"{scores['micro']['true']}, {scores['macro']['true']}"
            print(f"{name} | {counts} | {method} | {cell(scores)}", flush=True)


if __name__ == "__main__":
    main()
