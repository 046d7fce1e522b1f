"""What optical flow and heads do to the motion of an expression."""

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

from mefusion.clips.motion import optical_strain

GRID = 56  # px; the lengths below are for a picture of this side
GAIN, GAIN_LENGTH = (0.3, 0.9), 4.5  # standard deviation of its logarithm, from clip to clip; px
NOISE = ((2.5, 0.025), (6.0, 0.06), (16.0, 0.06))  # length in px, and standard deviation
NOISE_SPREAD = 0.6  # log-normal, from clip to clip
REST = 0.06  # standard deviation of the affine motion that alignment leaves of the head's
MEDIAN, MEDIAN_SHARE = 5, 0.7
BLUR = (0.6, 1.5)  # px


def measured(flow: np.ndarray, rng: np.random.Generator, *, level: float) -> np.ndarray:
    """Make exact flow look like measured flow, on a face whose head has moved a little.

    Where skin has no texture, optical flow sees less of its motion: a gain that varies over the face. Flow adds smooth
    errors and blur, and some pipelines a median filter.

    Args:
        flow: [n, 2, S, S] px, of which the expression's largest motion is about 1.
        rng: source of all random choices.
        level: how much of it; 0 changes nothing.

    Returns:
        [n, 2, S, S] float32.
    """
    if not level:
        return flow
    count, size = len(flow), flow.shape[-1]
    scale = size / GRID
    strength = min(level, 1) * rng.uniform(*GAIN, (count, 1, 1, 1)).astype(np.float32)
    gain = np.exp(strength * smooth_noise(rng, (count, 1, size, size), GAIN_LENGTH * scale))
    spread = level * np.exp(rng.normal(0, NOISE_SPREAD, (count, 1, 1, 1))).astype(np.float32)
    noise = sum(std * smooth_noise(rng, flow.shape, length * scale) for length, std in NOISE)
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    planes = np.stack([np.ones((size, size), np.float32), *np.meshgrid(axis, axis)])
    rest = rng.normal(0, REST * level, (count, 2, 3)).astype(np.float32)
    noisy = flow * gain + spread * noise + np.einsum("ncp,phw->nchw", rest, planes)
    filtered, sigmas = rng.random(count) < MEDIAN_SHARE, scale * rng.uniform(*BLUR, count)
    for clip, median, sigma in zip(noisy, filtered, sigmas, strict=True):
        for number, channel in enumerate(clip):
            clip[number] = cv2.GaussianBlur(cv2.medianBlur(channel, MEDIAN) if median else channel, (0, 0), sigma)
    return noisy


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], length: float) -> np.ndarray:
    """Gaussian fields of mean 0 and standard deviation 1, smooth over `length` px, float32."""
    white = rng.standard_normal(shape, dtype=np.float32)
    # Smoothing of sigma s leaves 1 / (2 s sqrt(pi)) of white noise's standard deviation.
    return (
        2
        * length
        * np.sqrt(np.pi, dtype=np.float32)
        * gaussian_filter(white, (*[0] * (len(shape) - 2), length, length), mode="wrap", truncate=3)
    )


def as_images(flow: np.ndarray, *, size: int) -> np.ndarray:
    """Flow images, as they are passed around: each channel of each image is stretched to 0..255.

    Args:
        flow: [n, 2, S, S] px.
        size: side of the images, px.

    Returns:
        [n, size, size, 3] uint8: flow to the right, flow downwards, strain.
    """
    channels = np.concatenate([flow, optical_strain(flow)[:, None]], axis=1)
    if size != flow.shape[-1]:
        channels = np.stack(
            [cv2.resize(clip.transpose(1, 2, 0), (size, size), interpolation=cv2.INTER_AREA) for clip in channels]
        ).transpose(0, 3, 1, 2)
    low, high = (edge(channels, axis=(2, 3), keepdims=True) for edge in (np.min, np.max))
    stretched = 255 * (channels - low) / np.maximum(high - low, 1e-9)
    return np.rint(stretched).astype(np.uint8).transpose(0, 2, 3, 1)
