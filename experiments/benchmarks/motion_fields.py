"""Rendered motion compared with the motion that preparation measures in rendered pictures of the same expressions.

    python experiments/benchmarks/motion_fields.py [clips, 90 unless given] [--size 28 or 56, 28 unless given]

Both show the same faces and the same displacements, in the same crop, as flow images of 28 px or larger. One is the
generator's field, with its model of what optical flow does. The other is measured as `mefusion-prepare` measures it:
rendered frames, dlib's landmarks, alignment, TV-L1 from onset to apex. No real picture and no label is used.
"""

import argparse
from collections.abc import Mapping

import cv2
import numpy as np

from mefusion.clips.motion import flow_image
from mefusion.faces.alignment import alignment_matrix, eye_centres, transform
from mefusion.faces.detectors import DlibFaces
from mefusion.preparation.clips import prepare_frames
from mefusion.preparation.settings import PreparationSettings
from mefusion.synthetic.mixtures import MIXTURES, draw_expression
from mefusion.synthetic.motion.faces import MOUTH, FramedFace, Framing
from mefusion.synthetic.motion.generate import PORTRAIT_SIZE, add_nuisances
from mefusion.synthetic.motion.nuisances import GRID
from mefusion.synthetic.portraits import ASTRONAUT, load_portraits
from mefusion.synthetic.render import Subject, act

FRAMES, AMPLITUDE = 16, 2.5
CLIPS_OF_SUBJECT = 9
BANDS = {"1 to 2": (1, 2), "3 to 5": (3, 5), "6 to 9": (6, 9), "10 to 13": (10, 13), "14 to 27": (14, 27)}


def framing_of(landmarks: np.ndarray) -> Framing:
    """Where preparation's alignment puts a face."""
    aligned = transform(landmarks, alignment_matrix(landmarks, size=1000)) / 1000
    left, right = eye_centres(aligned)
    middle = (left + right) / 2
    return Framing(
        eyes=middle[1], mouth=aligned[MOUTH].mean(0)[1], interocular=right[0] - left[0], shift=middle[0] - 0.5
    )


def standardised(flow: np.ndarray, size: int) -> np.ndarray:
    """Flow [2, S, S] as [2, size, size], about its median and over its standard deviation."""
    channels = cv2.resize(flow.transpose(1, 2, 0).astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    rest = channels - np.median(channels, axis=(0, 1))
    return (rest / np.maximum(rest.std(axis=(0, 1)), 1e-6)).transpose(2, 0, 1)


def made_fields(count: int, size: int) -> Mapping[str, np.ndarray]:
    """Fields [n, 2, size, size] of the same motions: exact, generated, measured."""
    portrait, backend, settings = (
        load_portraits(None, PORTRAIT_SIZE, built_in=ASTRONAUT)[0],
        DlibFaces(),
        PreparationSettings(),
    )
    rng, emotions = np.random.default_rng(0), list(MIXTURES["three"].values())
    fields: dict[str, list[np.ndarray]] = {"exact": [], "generated": [], "measured": []}
    for start in range(0, count, CLIPS_OF_SUBJECT):
        subject = Subject(portrait, seed=start)
        face = FramedFace(subject.landmarks, framing_of(subject.landmarks), portrait_size=PORTRAIT_SIZE, size=GRID)
        numbers = range(start, min(start + CLIPS_OF_SUBJECT, count))
        shown = [draw_expression(emotions[number % 3], rng) for number in numbers]
        exact = face.flow(np.stack([expression.motion for expression in shown]))
        noisy = add_nuisances(exact, [face] * len(exact), rng, noise=1.0)
        fields["exact"] += [standardised(flow, size) for flow in exact]
        fields["generated"] += [standardised(flow, size) for flow in noisy]
        for number, expression in zip(numbers, shown, strict=True):
            clip = act(subject, expression, frames=FRAMES, amplitude=AMPLITUDE, seed=number)
            frames = [clip.frame(t) for t in range(len(clip))]
            arrays, _ = prepare_frames(frames, backend, settings, apex=clip.apex, flows=("onset_apex_flow",))
            measured = flow_image(arrays["onset_apex_flow"], size=size)[:2]
            fields["measured"].append(standardised(measured, size))
    return {name: np.stack(each) for name, each in fields.items()}


def bands_of(size: int) -> Mapping[str, tuple[int, int]]:
    """The bands that an image of this size can show."""
    return {name: band for name, band in BANDS.items() if band[1] < size / 2}


def spectrum(fields: np.ndarray) -> list[float]:
    """Share of the power in bands of spatial frequency, cycles per image, mean of both channels."""
    size = fields.shape[-1]
    window = np.hanning(size)[:, None] * np.hanning(size)
    power = (np.abs(np.fft.fft2(fields * window)) ** 2).mean(axis=(0, 1))
    cycles = np.fft.fftfreq(size) * size
    radius = np.rint(np.hypot(*np.meshgrid(cycles, cycles)))
    inside = [power[(radius >= low) & (radius <= high)].sum() for low, high in bands_of(size).values()]
    return [float(each) for each in np.array(inside) / sum(inside)]


def orientations(fields: np.ndarray) -> list[float]:
    """Share of the motion to the right, down, to the left and up."""
    angle, length = np.arctan2(fields[:, 1], fields[:, 0]), np.hypot(fields[:, 0], fields[:, 1])
    quarter = np.rint(angle / (np.pi / 2)).astype(int) % 4
    share = np.bincount(quarter.ravel(), weights=length.ravel(), minlength=4)
    return [float(each) for each in share / share.sum()]


def facts(fields: np.ndarray, exact: np.ndarray) -> dict[str, float]:
    """What fields [n, 2, size, size] look like, and how far they agree with the exact ones."""
    length = np.abs(fields)
    agreement = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(fields, exact, strict=True)]
    sides = zip(("right", "bottom", "left", "top"), orientations(fields), strict=True)
    return {
        "correlation with the exact motion": float(np.mean(agreement)),
        "median of the motion / its sd": float(np.median(length, axis=(2, 3)).mean()),
        "largest motion / its sd": float(length.max(axis=(2, 3)).mean()),
        "kurtosis": float((fields**4).mean(axis=(2, 3)).mean()),
        **{f"motion to the {side}": share for side, share in sides},
        **{
            f"power at {band} cycles": share
            for band, share in zip(bands_of(fields.shape[-1]), spectrum(fields), strict=True)
        },
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="?", type=int, default=90)
    parser.add_argument("--size", type=int, choices=(28, GRID), default=28)
    options = parser.parse_args()
    fields = made_fields(options.clips, options.size)
    columns = {name: facts(each, fields["exact"]) for name, each in fields.items()}
    print(f"{options.clips} clips".ljust(36) + "".join(f"{name:>12}" for name in columns))
    for fact in columns["exact"]:
        print(f"{fact:36}" + "".join(f"{column[fact]:12.3f}" for column in columns.values()))


if __name__ == "__main__":
    main()
