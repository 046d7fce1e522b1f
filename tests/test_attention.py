import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from test_plots import example, texts
from torch import nn

from mefusion.errors import MefusionError
from mefusion.plots.attention import attention_figure, attention_maps


class Looks(nn.Module):
    """Class 0 looks at the first frame's left half, class 1 at one pixel of the second, three times as hard."""

    def forward(self, frames):
        left, pixel = frames[:, 0, 0, :, :4].sum((1, 2)), frames[:, 1, 0, 2, 6]
        return SimpleNamespace(logits=torch.stack([left, 3 * pixel], dim=1))


def test_maps_show_what_each_class_looks_at():
    pytest.importorskip("captum")
    inputs = torch.randn(2, 2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    state = torch.random.get_rng_state()
    maps = attention_maps(Looks(), inputs, torch.tensor([0, 1]), samples=3)
    expected = np.zeros((2, 2, 8, 8))
    expected[0, 0, :, :4], expected[1, 1, 2, 6] = 1, 3
    np.testing.assert_allclose(maps, expected, atol=1e-6)
    assert torch.equal(torch.random.get_rng_state(), state)  # a study's draws stay what they were


def test_figure_has_frames_and_maps():
    clip = example(size=16)
    maps = np.random.default_rng(0).random(clip["frames"].shape)
    figure = attention_figure(clip, maps)
    assert isinstance(figure, Figure)
    assert {"frame 1", "frame 4", "much"} <= {*texts(figure)}
    np.testing.assert_array_equal(figure.axes[4].images[1].get_array(), maps[0])
    with pytest.raises(ValueError, match="not that of the frames"):
        attention_figure(clip, maps[:, :8])


def test_missing_captum_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(MefusionError, match="need the package captum"):
        attention_maps(Looks(), torch.zeros(1, 2, 1, 8, 8), torch.tensor([0]))
