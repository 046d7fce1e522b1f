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
SPEECH_TURNS = 4.0  # changes of direction in a second from which on a mouth seems to speak


def turns_per_second(opening: np.ndarray, rate: float) -> float:
    """How often a mouth changes between opening and closing, in a second.

    Args:
        opening: [n] of the mouth at equal distances in time, % of the inter-ocular distance.
        rate: values in a second.
    """
    if len(opening) < rate / 4:
        return 0.0
    smooth = opening
    if rate > 2 * SPEECH_BAND:
        sections = butter(2, SPEECH_BAND, fs=rate, output="sos")
        smooth = sosfiltfilt(sections, opening, padlen=min(len(opening) - 1, round(rate / 2)))
    peaks = sum(len(find_peaks(sign * smooth, prominence=SPEECH_SWING)[0]) for sign in (1, -1))
    return peaks * rate / len(opening)
