"""Optical flow."""

import cv2
import numpy as np


def tvl1_flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Dual TV-L1 optical flow with OpenCV's defaults (Zach, Pock and Bischof 2007).

    Args:
        first, second: [H, W] uint8 grey.

    Returns:
        [2, H, W] float32 px: for every pixel of `first`, how far right and how far down it has gone in `second`.
    """
    flow = cv2.optflow.DualTVL1OpticalFlow_create().calc(first, second, None)  # type: ignore[attr-defined]
    return flow.transpose(2, 0, 1)
