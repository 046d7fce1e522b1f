"""Optical flow and images of motion."""

import cv2
import numpy as np

from mefusion.common import opencv
from mefusion.common.errors import MefusionError

ROUNDING = 1e-6  # a dynamic image whose range is below this share of the largest change shows rounding errors only


def require_tvl1() -> None:
    """Check that this OpenCV has TV-L1, which the package opencv-contrib-python-headless brings.

    Raises:
        MefusionError: another package of OpenCV has overwritten it.
    """
    # What is left of a package that was overwritten or removed may be an empty module.
    if not hasattr(getattr(cv2, "optflow", None), "DualTVL1OpticalFlow_create"):
        raise MefusionError(f"OpenCV lacks TV-L1, with which optical flow is computed: {opencv.CURE}")


def tvl1_flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Dual TV-L1 optical flow with OpenCV's defaults (Zach, Pock and Bischof 2007).

    Args:
        first, second: [H, W] uint8 grey.

    Returns:
        [2, H, W] float32 px: for each pixel of `first`, how far it moves to the right and down until `second`.

    Raises:
        MefusionError: see `require_tvl1`.
    """
    require_tvl1()
    flow = cv2.optflow.DualTVL1OpticalFlow_create().calc(first, second, None)  # type: ignore[attr-defined]
    return flow.transpose(2, 0, 1)


def dis_flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Optical flow by dense inverse search (Kroeger et al. 2016), for motion of a pixel or two; see `tvl1_flow`.

    It goes on to the pixels themselves, where OpenCV's presets stop at a half or a quarter of the size. What departs
    from the preset was chosen on rendered clips with data.seed=1, which no table of the documentation uses.
    """
    method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # type: ignore[attr-defined]
    method.setFinestScale(0)
    method.setPatchStride(4)  # patches of 8 px
    method.setVariationalRefinementIterations(10)
    method.setVariationalRefinementAlpha(40)
    return method.calc(first, second, None).transpose(2, 0, 1)


def farneback_flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Optical flow by polynomial expansion (Farneback 2003), with the values of OpenCV's examples; see `tvl1_flow`."""
    flow = cv2.calcOpticalFlowFarneback(
        first, second, None, pyr_scale=0.5, levels=3, winsize=15, iterations=3, poly_n=5, poly_sigma=1.1, flags=0
    )
    return flow.transpose(2, 0, 1)


def rank_pooling_weights(length: int) -> np.ndarray:
    """Weights of the frames in a dynamic image, a_t = sum_{k=t..T} (2k - T - 1) / k: [T] float64, whose sum is 0."""
    k = np.arange(1, length + 1)
    return np.cumsum(((2 * k - length - 1) / k)[::-1])[::-1].copy()


def dynamic_image(frames: np.ndarray) -> np.ndarray:
    """Dynamic image: one image of how a clip changes, by approximate rank pooling of its frames (Bilen et al. 2016).

    d = sum_t a_t I_t with the a_t of `rank_pooling_weights`; then each image is scaled to 0..1.

    Args:
        frames: [..., T, H, W] grey, in any range.

    Returns:
        [..., H, W] float32, 0..1; zeros if nothing changes, or all pixels change equally.
    """
    weights = rank_pooling_weights(frames.shape[-3])
    # The weights sum to 0, so subtracting the first frame changes nothing, but a still clip then gives exactly 0.
    changes = frames.astype(np.float64) - frames[..., :1, :, :]
    image = np.einsum("t,...thw->...hw", weights, changes)
    image -= image.min(axis=(-2, -1), keepdims=True)
    span = image.max(axis=(-2, -1), keepdims=True)
    visible = span > ROUNDING * np.abs(changes).max(axis=(-3, -2, -1), initial=0)[..., None, None]
    return np.divide(image, span, out=np.zeros_like(image), where=visible).astype(np.float32)


def optical_strain(flow: np.ndarray) -> np.ndarray:
    """Magnitude of the strain of a flow: sqrt(u_x^2 + v_y^2 + (u_y + v_x)^2 / 4), as STSTNet (arXiv 1902.03634) has it.

    Args:
        flow: [..., 2, H, W] px, horizontal u and vertical v; H and W at least 2.

    Returns:
        [..., H, W], px of flow per px.
    """
    u, v = flow[..., 0, :, :], flow[..., 1, :, :]
    u_y, u_x = np.gradient(u, axis=(-2, -1))
    v_y, v_x = np.gradient(v, axis=(-2, -1))
    return np.sqrt(u_x**2 + v_y**2 + (u_y + v_x) ** 2 / 4)


def flow_image(flow: np.ndarray, *, size: int) -> np.ndarray:
    """Horizontal flow, vertical flow and optical strain as three channels, averaged by area to `size` px.

    Args:
        flow: [2, H, W] px, H and W at least 2.
        size: side of the image, px.

    Returns:
        [3, size, size] float32; the flow is still in px of the picture that it was computed on.
    """
    flow = flow.astype(np.float32)
    channels = np.stack([*flow, optical_strain(flow)], axis=-1)
    return cv2.resize(channels, (size, size), interpolation=cv2.INTER_AREA).transpose(2, 0, 1)
