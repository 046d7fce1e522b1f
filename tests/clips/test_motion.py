from types import ModuleType

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from mefusion.clips.motion import dis_flow, farneback_flow, tvl1_flow
from mefusion.common.errors import MefusionError


@pytest.fixture(scope="module")
def texture():
    """Smooth random texture over all grey values, [96, 96]."""
    noise = gaussian_filter(np.random.default_rng(0).standard_normal((96, 96)), 2.5)
    return 255 * (noise - noise.min()) / (noise.max() - noise.min())


def test_tvl1_comes_from_opencv_contrib():
    # Installing opencv-python beside opencv-contrib takes it away.
    assert hasattr(cv2.optflow, "DualTVL1OpticalFlow_create")


CURE = "pip install --force-reinstall --no-deps opencv-contrib-python-headless"


@pytest.mark.parametrize("left", ["no module", "an empty module"])
def test_where_it_was_overwritten_the_cure_is_named(monkeypatch, left):
    monkeypatch.setattr(cv2, "optflow", ModuleType("optflow"))
    if left == "no module":
        monkeypatch.delattr(cv2, "optflow")
    grey = np.zeros((8, 8), np.uint8)
    with pytest.raises(MefusionError, match=f"OpenCV lacks TV-L1.* {CURE}$"):
        tvl1_flow(grey, grey)


@pytest.mark.parametrize("flow_of", [tvl1_flow, dis_flow, farneback_flow])
@pytest.mark.parametrize(("right", "down"), [(0.6, -0.4), (-1.3, 0.7)])
def test_flow_recovers_a_known_subpixel_shift(texture, flow_of, right, down):
    moved = shift(texture, (down, right), order=5, mode="nearest")
    flow = flow_of(texture.round().astype(np.uint8), moved.clip(0, 255).round().astype(np.uint8))
    assert flow.shape == (2, 96, 96)
    assert flow.dtype == np.float32
    inner = flow[:, 12:-12, 12:-12]
    error = np.linalg.norm(inner - np.array([right, down])[:, None, None], axis=0)
    assert error.mean() < 0.1
    np.testing.assert_allclose(inner.mean((1, 2)), (right, down), atol=0.05)


@pytest.mark.parametrize("flow_of", [tvl1_flow, dis_flow, farneback_flow])
def test_no_motion_gives_no_flow(texture, flow_of):
    picture = texture.astype(np.uint8)
    # Farneback's method takes what lies beyond the right and lower edge for black, and so moves what is near them.
    seen = slice(0, 40 if flow_of is farneback_flow else None)
    tolerance = 1e-2 if flow_of is farneback_flow else 1e-4
    np.testing.assert_allclose(flow_of(picture, picture)[:, seen, seen], 0, atol=tolerance)
