"""TV-L1 in torch is OpenCV's, as near as OpenCV's is to itself."""

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import shift
from skimage import data

from mefusion.acceleration import tvl1
from mefusion.acceleration.tvl1 import require_device, tvl1_flows
from mefusion.clips.motion import tvl1_flow
from mefusion.common.errors import MefusionError
from mefusion.synthetic.scene import SyntheticClip, SyntheticSettings, make_clip

SIZE = 96


def small(picture):
    return cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def pairs():
    """Pictures [n, 96, 96] and what they become: a rendered clip, and photographs that are moved."""
    settings = SyntheticSettings(subjects=1, clips_per_class=1, frames=(16, 16))
    clip = make_clip(settings, SyntheticClip(0, 1, 0))
    rendered = [small(cv2.cvtColor(clip.frame(t), cv2.COLOR_RGB2GRAY)) for t in (0, 2, 8)]
    photographs = [small(getattr(data, name)()) for name in ("camera", "coins", "moon")]
    moved = [
        shift(photograph.astype(float), by, order=3, mode="nearest").clip(0, 255).round().astype(np.uint8)
        for photograph, by in zip(photographs, [(0.6, -0.4), (1.3, 0.7), (-2.1, 1.2)], strict=True)
    ]
    return np.stack([rendered[0], rendered[0], *photographs]), np.stack([*rendered[1:], *moved])


def distances(flows, others):
    """Mean end-point distance of each pair, px."""
    return np.linalg.norm(flows - others, axis=1).mean((1, 2))


def test_it_is_opencv_s_up_to_what_rounding_does(pairs):
    first, second = pairs
    expected = np.stack([tvl1_flow(*pair) for pair in zip(first, second, strict=True)])
    found = distances(tvl1_flows(first, second, device="cpu"), expected)
    assert found.mean() < 0.02
    # OpenCV's own, once each pixel changes by about a millionth of a grey level: an iteration more or less at the end.
    opencv = cv2.optflow.DualTVL1OpticalFlow_create()
    noise = 1e-6 * np.random.default_rng(0).standard_normal(first.shape)
    floats = zip(((first + noise) / 255).astype(np.float32), (second / 255).astype(np.float32), strict=True)
    changed = np.stack([opencv.calc(*pair, None).transpose(2, 0, 1) for pair in floats])
    assert found.mean() < 3 * distances(changed, expected).mean()


@pytest.mark.parametrize("settings", [(1, 1, 1, 1), (1, 1, 1, 30), (3, 1, 1, 10)])
def test_few_steps_are_exactly_opencv_s(pairs, settings, monkeypatch):
    first, second = (part[:1, :, :71] for part in pairs)
    opencv = cv2.optflow.DualTVL1OpticalFlow_create()
    setters = (opencv.setScalesNumber, opencv.setWarpingsNumber, opencv.setOuterIterations, opencv.setInnerIterations)
    for name, setter, value in zip(("SCALES", "WARPS", "OUTER", "INNER"), setters, settings, strict=True):
        setter(value)
        monkeypatch.setattr(tvl1, name, value)
    expected = opencv.calc(np.ascontiguousarray(first[0]), np.ascontiguousarray(second[0]), None).transpose(2, 0, 1)
    found = tvl1_flows(first, second, device="cpu")[0]
    assert np.linalg.norm(expected, axis=0).mean() > 1e-4
    np.testing.assert_allclose(found, expected, atol=3e-3)


def test_a_pair_s_flow_does_not_depend_on_those_beside_it(pairs, monkeypatch):
    first, second = (part[[4, 0, 4]] for part in pairs)  # of two kinds, which stop after different numbers of steps
    together = tvl1_flows(first, second, device="cpu")
    monkeypatch.setattr(tvl1, "PAIRS_OF_A_CPU", 1)
    assert distances(tvl1_flows(first, second, device="cpu"), together).max() < 0.02
    assert torch.get_num_threads() > 0


def test_a_still_picture_does_not_move_and_a_flat_one_gives_numbers(pairs):
    first = np.stack([pairs[0][0], np.full((SIZE, SIZE), 7, np.uint8)])[:, :40, :24]
    flows = tvl1_flows(first, first.copy(), device="cpu")
    assert flows.shape == (2, 2, 40, 24)
    assert flows.dtype == np.float32
    np.testing.assert_allclose(flows, 0, atol=1e-5)


def test_the_median_by_hand():
    u = torch.arange(50.0).reshape(1, 2, 5, 5)
    assert tvl1._median(u)[0, :, 2, 2].tolist() == [12, 37]
    # The corner sees itself nine times, of each neighbour at the edge three, and of the four beyond one.
    corner = sorted([0] * 9 + [1, 2, 5, 10] * 3 + [6, 7, 11, 12])[12]
    assert tvl1._median(u)[0, 0, 0, 0] == corner


@pytest.mark.parametrize("device", ["nothing", "cuda:99", ""])
def test_a_device_that_cannot_be_used_is_named(device):
    with pytest.raises(MefusionError, match=rf"flow_device={device} cannot be used \(.*\): give cuda where"):
        require_device(device)
