"""Blinks and speech, from landmarks."""

import numpy as np
from scipy.ndimage import binary_dilation, percentile_filter
from scipy.signal import butter, find_peaks, sosfiltfilt

from mefusion.faces.alignment import eye_centres

CLOSED = 0.72  # share of the open eye's aspect ratio below which an eye is closing
AROUND = 4.0  # s, in which the eye's usual opening is looked for
OPEN = 75  # percentile of the aspect ratio that is the open eye's
MARGIN = 0.07  # s before and after a blink that belong to it


def eye_aspect(landmarks: np.ndarray) -> float:
    """Eye aspect ratio: height by width of the eyes, mean of both (Soukupova and Cech 2016).

    Args:
        landmarks: [68, 2] px.
    """

    def one(eye: np.ndarray) -> float:
        height = np.linalg.norm(eye[1] - eye[5]) + np.linalg.norm(eye[2] - eye[4])
        return float(height) / (2 * max(float(np.linalg.norm(eye[0] - eye[3])), 1e-6))

    return (one(landmarks[36:42]) + one(landmarks[42:48])) / 2


def mouth_opening(landmarks: np.ndarray) -> float:
    """Distance of the inner lips, % of the inter-ocular distance, for landmarks [68, 2] px."""
    left, right = eye_centres(landmarks)
    return float(100 * np.linalg.norm(landmarks[62] - landmarks[66]) / np.linalg.norm(right - left))


def blinks(aspect: np.ndarray, rate: float) -> np.ndarray:
    """Which moments belong to a blink: the aspect ratio is well below what it is usually in the seconds around.

    Args:
        aspect: [n] eye aspect ratio at equal distances in time, NaN where it is not known.
        rate: values in a second.

    Returns:
        [n] bool.
    """
    known = np.isfinite(aspect)
    if not known.any():
        return np.zeros(len(aspect), bool)
    times = np.arange(len(aspect))
    filled = np.interp(times, times[known], aspect[known])
    usual = percentile_filter(filled, OPEN, size=max(int(AROUND * rate), 1), mode="nearest")
    closed = known & (filled < CLOSED * usual)
    margin = round(MARGIN * rate)
    return binary_dilation(closed, iterations=margin) if margin else closed


SPEECH_BAND = 8.0  # Hz; the mouth of a speaker opens and closes 3 to 6 times a second
SPEECH_SWING = 1.5  # % of the inter-ocular distance; smaller changes of direction do not count
SPEECH_NOISE = 4.0  # times the noise of the opening; nor do those that are smaller than this
SPEECH_TURNS = 4  # changes of direction in a row that make speech: a mouth that opens twice and closes twice
SPEECH_PAUSE = 0.4  # s; longest time between two of them
SPEECH_MARGIN = 0.15  # s before the first and after the last one that belong to it


def speech_spans(opening: np.ndarray, rate: float) -> list[tuple[float, float]]:
    """From when to when a mouth speaks: it changes between opening and closing again and again.

    Args:
        opening: [n] of the mouth at equal distances in time, % of the inter-ocular distance.
        rate: values in a second.

    Returns:
        Begin and end of each stretch, s from the first value.
    """
    if len(opening) < rate / 4:
        return []
    smooth = opening
    if rate > 2 * SPEECH_BAND:
        sections = butter(2, SPEECH_BAND, fs=rate, output="sos")
        smooth = sosfiltfilt(sections, opening, padlen=min(len(opening) - 1, round(rate / 2)))
    swing = max(SPEECH_SWING, SPEECH_NOISE * 1.4826 * float(np.median(np.abs(opening - smooth))))
    turns = np.sort(np.concatenate([find_peaks(sign * smooth, prominence=swing)[0] for sign in (1, -1)])) / rate
    runs = np.split(turns, np.flatnonzero(np.diff(turns) > SPEECH_PAUSE) + 1)
    return [(float(run[0]) - SPEECH_MARGIN, float(run[-1]) + SPEECH_MARGIN) for run in runs if len(run) >= SPEECH_TURNS]
