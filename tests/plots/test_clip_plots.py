from itertools import pairwise

import numpy as np
import pytest
from fake_examples import example, texts

from mefusion import plots
from mefusion.common.errors import MefusionError

# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
BLINDNESS = {
    "none": np.eye(3),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}


def uniform_flow(x, y):
    return np.broadcast_to(np.array([x, y], dtype=float)[:, None, None], (2, 4, 4))


def test_flow_colours_mean_direction_and_magnitude():
    still, right, left, up, down = (
        plots.flow_to_rgb(uniform_flow(*vector), 2.0)[0, 0].astype(int)
        for vector in ((0, 0), (2, 0), (-2, 0), (0, -2), (0, 2))
    )
    assert still[0] == still[1] == still[2]
    assert right[0] > right[1] > right[2]  # orange
    assert left[2] > left[1] > left[0]  # blue
    assert up.sum() > still.sum() > down.sum()
    # Half the motion is half as far from grey; more than the scale is the full colour.
    half = plots.flow_to_rgb(uniform_flow(1, 0), 2.0)[0, 0].astype(int)
    np.testing.assert_allclose(half - still, (right - still) / 2, atol=1.5)
    np.testing.assert_array_equal(plots.flow_to_rgb(uniform_flow(50, 0), 2.0)[0, 0], right)


def test_flow_of_many_frames_and_of_bad_numbers():
    flow = np.zeros((5, 2, 6, 8), dtype=np.float16)
    flow[0, 0, 0, 0], flow[0, 0, 0, 1] = np.nan, np.inf
    colours = plots.flow_to_rgb(flow, 1.0)
    assert (colours.shape, colours.dtype) == ((5, 6, 8, 3), np.uint8)
    np.testing.assert_array_equal(colours[0, 0, 0], colours[0, 5, 5])  # no number is no motion
    np.testing.assert_array_equal(colours[0, 0, 1], plots.flow_to_rgb(uniform_flow(1, 0), 1.0)[0, 0])


@pytest.mark.parametrize("blindness", BLINDNESS)
def test_eight_directions_are_told_apart(blindness):
    """At least 15 CIELAB units between any two, and from no motion, to normal and to red-green blind eyes."""
    from skimage.color import rgb2lab

    angles = np.arange(8) * np.pi / 4
    vectors = [(0, 0), *zip(np.cos(angles), np.sin(angles), strict=True)]
    colours = np.array([plots.flow_to_rgb(uniform_flow(*vector), 1.0)[0, 0] for vector in vectors]) / 255
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ BLINDNESS[blindness].T, 0, 1)
    lab = rgb2lab(np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055))
    distance = np.linalg.norm(lab[:, None] - lab, axis=-1) + 1000 * np.eye(9)
    assert distance.min() > 15


def test_key_is_a_disc_of_the_same_colours():
    key = plots.flow_key(41)
    assert (key[0, 0] == 255).all()
    np.testing.assert_array_equal(key[20, 20], plots.flow_to_rgb(uniform_flow(0, 0), 1.0)[0, 0])
    assert key[20, 36, 0] > key[20, 36, 2]
    assert key[20, 4, 2] > key[20, 4, 0]


def test_contact_sheet_says_what_it_shows():
    clips = [example(), example(clip_id="s2_1", subject="s2", prediction="negative")]
    figure = plots.contact_sheet(clips, title="mol-fake")
    shown = texts(figure)
    assert "s1_0 (subject s1): label negative, predicted positive (wrong)" in shown
    assert "s2_1 (subject s2): label negative, predicted negative (correct)" in shown
    assert {"frame 1", "frame 4", "frames", "flow,\ntarget", "flow,\npredicted"} <= {*shown}
    assert {"target", "predicted", "mean\nmotion,\npx", "mol-fake"} <= {*shown}
    assert shown.count("motion\nrim: 3 px") == 2


def test_contact_sheet_puts_each_thing_in_its_place():
    clip = example(size=40)
    axes = plots.contact_sheet(clip).axes[0]
    mosaic = axes.images[0].get_array()
    step = 40 + 2  # tiles and the gap between them
    assert mosaic.shape == (3 * step - 2, 4 * step - 2, 3)
    np.testing.assert_array_equal(mosaic[:40, step : step + 40, 0], clip["frames"][1])
    # The flow from frame 3 to 4 is under frame 4, target above prediction, both on the target's scale (3 px).
    for row, key in ((1, "flow_target"), (2, "flow")):
        tile = mosaic[row * step : row * step + 40, 3 * step :]
        np.testing.assert_array_equal(tile, plots.flow_to_rgb(clip[key][2], 3.0))
    np.testing.assert_array_equal(mosaic[step : step + 40, :40], plots.flow_key(40))
    # Landmarks on frames 2 to 4, target before prediction.
    assert len(axes.lines) == 6
    for line, points, column in ((0, clip["landmarks_target"][0], 1), (5, clip["landmarks"][2], 3)):
        inside = points[((points >= 0) & (points <= 39)).all(axis=1)]  # those beyond the frame are not shown
        assert len(inside) > 0
        np.testing.assert_allclose(axes.lines[line].get_xydata(), inside + np.array([column * step, 0]), rtol=1e-6)
    assert axes.lines[0].get_marker() != axes.lines[5].get_marker()


def test_flow_from_onset_to_apex_has_a_row_and_a_scale_of_its_own():
    flow = np.zeros((2, 40, 40), dtype=np.float16)
    flow[1, 20:] = -5
    figure = plots.contact_sheet(example(size=40, landmarks=False, apex_flow=flow))
    mosaic = figure.axes[0].images[0].get_array()
    row = mosaic[3 * 42 :]  # below the frames and both flows
    np.testing.assert_array_equal(row[:, :40], plots.flow_key(40))
    np.testing.assert_array_equal(row[:, 42:82], plots.flow_to_rgb(flow, 5.0))
    assert (row[:, 84:] == 255).all()
    assert {"flow, onset\nto apex", "motion\nrim: 5 px", "motion\nrim: 3 px"} <= {*texts(figure)}


@pytest.mark.parametrize("clips", [1, 6])
def test_nothing_of_a_contact_sheet_is_cut_off_or_covered(clips):
    figure = plots.contact_sheet([example()] * clips, title="mol-fake")
    width, height = figure.get_size_inches()
    box = figure.get_tightbbox()
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= width
    assert box.y1 <= height
    blocks = [axes.get_tightbbox() for axes in figure.axes]
    assert all(lower.y1 <= upper.y0 for upper, lower in pairwise(blocks))


def test_the_frame_nearest_the_apex_is_shown_and_named():
    # Every second frame of a prepared clip; the apex, its 14th, is nearest the window's 7th, which is the 13th.
    clip = example(length=16, times=np.arange(0, 32, 2), apex=np.array([13]))
    names = [text for text in texts(plots.contact_sheet(clip, columns=4)) if text.startswith(("frame ", "apex "))]
    assert names == ["frame 1", "apex 13", "frame 21", "frame 31"]
    outside = plots.contact_sheet(clip | {"apex": np.array([40])}, columns=4)
    assert not [text for text in texts(outside) if text.startswith("apex")]


def test_contact_sheet_of_recognition_only_and_of_many_frames():
    figure = plots.contact_sheet(example(length=30, flow=False, landmarks=False), columns=8)
    assert figure.axes[0].images[0].get_array().shape == (32, 8 * 34 - 2, 3)
    assert [text for text in texts(figure) if text.startswith("frame ")][::7] == ["frame 1", "frame 30"]
    assert not figure.legends


def test_curve_of_motion_is_the_mean_magnitude_under_each_frame():
    tiles, motion = plots.contact_sheet(example(size=40)).axes
    # The left half moves by t px from frame t, so the mean is t / 2; the prediction is half of it.
    target, predicted = motion.lines
    np.testing.assert_allclose(target.get_ydata(), [0.5, 1, 1.5])
    np.testing.assert_allclose(predicted.get_ydata(), [0.25, 0.5, 0.75])
    np.testing.assert_allclose(target.get_xdata(), tiles.get_xticks()[1:])


def test_clip_without_prediction_and_dynamic_image_beside_the_key():
    clip = example(size=40, dynamic_image_target=np.full((40, 40), 0.5))
    for key in ("prediction", "flow", "landmarks"):
        del clip[key]
    figure = plots.contact_sheet(clip)
    shown = texts(figure)
    assert "s1_0 (subject s1): label negative" in shown
    assert "dynamic\nimage:\ntarget" in shown
    assert not figure.legends
    row = figure.axes[0].images[0].get_array()[2 * 42 :]
    assert (row[:40, :40] == 255).all()  # room for what the key says
    assert (row[:40, 42 : 42 + 40] == 128).all()


def test_still_clip_is_shown_as_still():
    clip = example(landmarks=False)
    clip["flow_target"] = np.zeros_like(clip["flow"])
    assert "motion\nrim: 0.05 px" in texts(plots.contact_sheet(clip))


def test_title_of_a_long_clip_is_seen_whole():
    figure = plots.contact_sheet(example(clip_id="casme2/sub01/EP02_01f", subject="casme2/sub01", label="repression"))
    figure.draw_without_rendering()
    assert figure.get_tightbbox().x1 <= figure.get_figwidth()


def test_contact_sheet_of_nothing():
    with pytest.raises(MefusionError, match="no clip to show"):
        plots.contact_sheet([])


def test_rank_scores_begin_at_zero_and_are_coloured_by_label():
    clips = [
        example(rank_scores=np.array([3, 4, 6, 5], dtype=np.float32)),
        example(rank_scores=np.array([0, 3, 5, 4], dtype=np.float32)),
        example(rank_scores=np.array([-1, 0, 1, 2], dtype=np.float32), label="surprise"),
        example(),
    ]
    figure = plots.rank_scores_figure(clips)
    lines = figure.axes[0].lines
    rows = [[0, 1, 3, 2], [0, 3, 5, 4], [0, 2, 4, 3], [0, 1, 2, 3], [0, 1, 2, 3]]  # a label's clips and their median
    np.testing.assert_array_equal([line.get_ydata() for line in lines], rows)
    assert lines[2].get_linewidth() > lines[0].get_linewidth()
    assert lines[2].get_color() == lines[0].get_color() != lines[4].get_color()
    figure.draw_without_rendering()
    (legend,) = figure.legends  # below the lines, not on them
    assert [text.get_text() for text in legend.get_texts()] == ["negative", "surprise"]
    assert legend.get_window_extent().y1 < figure.axes[0].get_window_extent().y0
    with pytest.raises(MefusionError, match="no rank scores"):
        plots.rank_scores_figure([example()])
