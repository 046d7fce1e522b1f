"""Example clips for pictures."""

from types import SimpleNamespace

import numpy as np
import pytest

from mefusion.clips.cache import save_arrays
from mefusion.training.examples import _apex_flow
from mefusion.windows.cutting import centre_crop


@pytest.mark.parametrize(
    ("canvas", "margin", "size", "pixel", "edge"), [(144, 0, 128, 1, 64), (72, 4, 64, 64 / 144, 32)]
)
def test_the_flow_from_onset_to_apex_lies_as_the_frames_do(tmp_path, canvas, margin, size, pixel, edge):
    # Prepared at 144 px: the right half of the face moves 2 px to the right and 1 px up.
    flow = np.zeros((2, 144, 144), dtype=np.float16)
    flow[:, :, 72:] = np.array([2, -1])[:, None, None]
    save_arrays(tmp_path / "clip.safetensors", {"onset_apex_flow": flow}, {})
    store = SimpleNamespace(
        files=[tmp_path / "clip.safetensors"],
        canvas=canvas,
        view=SimpleNamespace(margin=margin),
        centre=lambda size: centre_crop(canvas, size),
    )
    seen = _apex_flow(store, 0, size=size)
    assert seen.shape == (2, size, size)
    assert not seen[:, :, :edge].any()
    np.testing.assert_allclose(seen[:, 0, edge:], np.broadcast_to([[2 * pixel], [-pixel]], (2, size - edge)), rtol=1e-6)
