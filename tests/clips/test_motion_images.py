import numpy as np
import pytest

from mefusion.clips.motion import dynamic_image, optical_strain


@pytest.fixture
def random():
    return np.random.default_rng(0)


def loop_dynamic_image(frames):
    """Weight by weight and pixel by pixel, one clip [T, H, W]."""
    length, height, width = frames.shape
    weights = [sum((2 * k - length - 1) / k for k in range(t, length + 1)) for t in range(1, length + 1)]
    image = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            image[y, x] = sum(weight * float(frame[y, x]) for weight, frame in zip(weights, frames, strict=True))
    return (image - image.min()) / (image.max() - image.min())


@pytest.mark.parametrize("length", [2, 5, 8])
def test_dynamic_image_equals_its_loop(random, length):
    frames = random.integers(0, 256, (length, 6, 7), dtype=np.uint8)
    image = dynamic_image(frames)
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, loop_dynamic_image(frames), atol=1e-6)
    assert image.min() == 0
    assert image.max() == 1


def test_dynamic_image_weighs_eight_frames_as_published():
    # Each pixel is bright in one frame only, the last pixel in none.
    frames = np.zeros((8, 3, 3), np.uint8)
    for t in range(8):
        frames[t, t // 3, t % 3] = 1
    weights = np.array([-8.4607, -1.4607, 1.0393, 2.0393, 2.2893, 2.0893, 1.5893, 0.8750, 0])
    expected = (weights - weights.min()) / np.ptp(weights)
    np.testing.assert_allclose(dynamic_image(frames).ravel(), expected, atol=1e-4)


def test_dynamic_images_of_many_clips_each_have_their_own_range(random):
    frames = random.random((2, 3, 8, 5, 4)) * np.array([1, 255])[:, None, None, None, None]
    images = dynamic_image(frames)
    assert images.shape == (2, 3, 5, 4)
    for index in np.ndindex(2, 3):
        np.testing.assert_allclose(images[index], loop_dynamic_image(frames[index]), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_what_does_not_move_has_a_dynamic_image_of_zeros(random, dtype):
    face = (255 * random.random((6, 6))).astype(dtype)
    still = np.stack([face] * 8)
    brighter = still // 2 + np.arange(8, dtype=dtype)[:, None, None]
    one = still[:1]
    moving = random.random((8, 6, 6))
    for frames in (still, brighter, one):
        assert (dynamic_image(frames) == 0).all()
    together = dynamic_image(np.stack([still.astype(float), moving]))
    assert (together[0] == 0).all()
    np.testing.assert_allclose(together[1], dynamic_image(moving))


def test_strain_of_linear_flows_is_known():
    y, x = np.mgrid[:5, :7].astype(float)
    flows = {
        "translation": ([np.full_like(x, 3), np.full_like(x, -2)], 0),
        "stretch": ([0.1 * x, 0 * y], 0.1),
        "expansion": ([0.1 * x, 0.1 * y], 0.1 * np.sqrt(2)),
        "rotation": ([-0.1 * y, 0.1 * x], 0),
        "shear": ([0.1 * y, 0 * x], 0.05),
    }
    strains = optical_strain(np.stack([np.stack(flow) for flow, _ in flows.values()]))
    assert strains.shape == (len(flows), 5, 7)
    for strain, (_, expected) in zip(strains, flows.values(), strict=True):
        np.testing.assert_allclose(strain, expected, atol=1e-12)


def test_strain_equals_its_loop(random):
    flow = random.standard_normal((2, 6, 5)).astype(np.float32)
    strain = optical_strain(flow)
    assert strain.dtype == np.float32
    u, v = flow
    for y in range(1, 5):
        for x in range(1, 4):
            u_x, v_x = ((part[y, x + 1] - part[y, x - 1]) / 2 for part in (u, v))
            u_y, v_y = ((part[y + 1, x] - part[y - 1, x]) / 2 for part in (u, v))
            expected = np.sqrt(u_x**2 + v_y**2 + (u_y + v_x) ** 2 / 4)
            np.testing.assert_allclose(strain[y, x], expected, rtol=1e-5)
