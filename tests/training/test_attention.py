from types import SimpleNamespace

import numpy as np
import torch
from fake_examples import example, texts
from matplotlib.figure import Figure
from torch import nn

from mefusion.plots import attention_figure
from mefusion.training.examples import attention_maps


class Looks(nn.Module):
    """Class 0 looks at the first frame's left half, class 1 at one pixel of the second, three times as hard."""

    def forward(self, frames):
        left, pixel = frames[:, 0, 0, :, :4].sum((1, 2)), frames[:, 1, 0, 2, 6]
        return SimpleNamespace(logits=torch.stack([left, 3 * pixel], dim=1))


def test_maps_show_what_each_class_looks_at():
    inputs = torch.randn(2, 2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    state = torch.random.get_rng_state()
    maps = attention_maps(Looks(), inputs, torch.tensor([0, 1]), samples=3)
    expected = np.zeros((2, 2, 8, 8))
    expected[0, 0, :, :4], expected[1, 1, 2, 6] = 1, 1  # each clip has a scale of its own
    np.testing.assert_allclose(maps, expected, atol=1e-6)
    assert torch.equal(torch.random.get_rng_state(), state)  # a study's draws stay what they were


def test_a_network_that_looks_nowhere_has_an_empty_map():
    def blind(frames):
        return SimpleNamespace(logits=0 * Looks()(frames).logits)

    network = nn.Module()
    network.forward = blind
    assert not attention_maps(network, torch.ones(1, 2, 1, 8, 8), torch.tensor([0]), samples=1).any()


def test_figure_has_frames_and_maps():
    maps = np.random.default_rng(0).random((2, 4, 16, 16))
    clips = [example(size=16, attention=own, clip_id=name) for name, own in zip("ab", maps, strict=True)]
    figure = attention_figure(clips)
    assert isinstance(figure, Figure)
    assert {"frame 1", "frame 4", "much"} <= {*texts(figure)}
    titles = [block.get_suptitle() for block in figure.subfigs]
    assert titles == [f"{name}: label negative, predicted positive" for name in "ab"]
    images = [axes.images for axes in figure.axes if axes.images]
    for row, own in ((1, maps[0]), (3, maps[1])):
        frame, shown = images[4 * row + 2]
        np.testing.assert_array_equal(frame.get_array(), clips[0]["frames"][2])
        np.testing.assert_array_equal(shown.get_array(), own[2])
        assert shown.get_clim() == (0, np.percentile(own, 99.5))
