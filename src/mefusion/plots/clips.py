"""Figures of clips: the input of a model and its predictions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mefusion.common.errors import MefusionError
from mefusion.plots.style import COLUMN, ORANGE, PALETTE, SKY, legend_below, paper_style, shown_frames

# The colour of a motion vector (x to the right, y down) is linear in the vector: no motion is grey, and twice the
# motion is twice as far from grey. Left is blue and right is orange, down is dark and up is light: people with
# red-green blindness can see these two contrasts. The colours of all vectors up to length 1 are inside sRGB.
_NO_MOTION = np.array([0.55, 0.55, 0.55])
_ALONG_X = np.array([0.40, 0.08, -0.42])
_ALONG_Y = np.array([-0.02, -0.40, -0.16])

# Target and prediction differ in their markers, not only in colour.
_TARGET: dict[str, Any] = {
    "marker": "o",
    "markerfacecolor": "none",
    "markeredgecolor": ORANGE,
    "linestyle": "none",
}
_PREDICTED: dict[str, Any] = {"marker": "x", "markeredgecolor": SKY, "linestyle": "none"}

# Sizes of a contact sheet, inches: width of a tile, space left of the tiles, space above a clip's tiles, height of the
# motion curve below them, space above this curve, space at the top and bottom. Eight tiles are as wide as a page.
_TILE, _LEFT, _ABOVE, _MOTION, _SPACE, _EDGE = 0.77, 0.8, 0.42, 0.42, 0.1, 0.3
_LETTER = 0.062
"""Width of a letter of a clip's title, inches; used to make the figure wide enough for its titles."""

_SMALLEST_SCALE = 0.05
"""Smallest flow that gets the full colour, px: so that a clip without motion looks still."""


def flow_to_rgb(flow: np.ndarray, max_magnitude: float) -> np.ndarray:
    """Colour a flow field by direction and magnitude; `flow_key` draws the key to the colours.

    Args:
        flow: [..., 2, H, W] px, first x (to the right), then y (down).
        max_magnitude: length of the vectors that get the full colour, px; longer ones get the same colour.

    Returns:
        uint8 [..., H, W, 3]; no motion is mid-grey, right orange, left blue, up light, down dark.
    """
    vectors = np.nan_to_num(np.moveaxis(flow, -3, -1).astype(np.float32), posinf=1e6, neginf=-1e6)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    vectors = vectors / np.maximum(length, max_magnitude)
    colours = _NO_MOTION + vectors[..., :1] * _ALONG_X + vectors[..., 1:] * _ALONG_Y
    return np.round(255 * colours).astype(np.uint8)


def flow_key(size: int) -> np.ndarray:
    """The key to `flow_to_rgb`: the colour of each direction and magnitude, as a disc on white.

    Args:
        size: height and width, px.

    Returns:
        uint8 [size, size, 3]; the rim of the disc has the full colour.
    """
    y, x = 1.15 * np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    key = flow_to_rgb(np.stack([x, y]), max_magnitude=1.0)
    key[np.hypot(x, y) > 1] = 255
    return key


@paper_style()
def contact_sheet(examples: dict[str, Any] | Sequence[dict[str, Any]], columns: int = 8, title: str = "") -> Figure:
    """Show the input of a model and its predictions, one block for each clip.

    A block has rows of tiles: the frames with target and predicted landmarks, the target flow, the predicted flow, the
    flow from onset to apex, and the target and predicted dynamic image. The flow below frame t goes from the frame
    before it to frame t. Both flows of a clip have the same colour scale, which the key explains; that from onset to
    apex has its own. The curve at the bottom is the mean length of the flow vectors of each frame.

    Args:
        examples: one clip or several, as `mefusion.studies.examples.load_examples` gives them. All arrays except
            `frames` may be missing, and so may `prediction`. With `times` and `apex`, frames have their numbers in
            the prepared clip, and the one nearest the apex is shown, as "apex".
        columns: largest number of frames of a clip that are shown, evenly spaced.
        title: a line at the top.

    Returns:
        The figure.

    Raises:
        MefusionError: there is no clip.
    """
    clips = [examples] if isinstance(examples, dict) else list(examples)
    if not clips:
        raise MefusionError("There is no clip to show; give at least one example.")
    frames = [_shown(clip, columns) for clip in clips]
    heights = [_TILE * len(_rows_of(clip)) * np.divide(*clip["frames"].shape[1:]) for clip in clips]
    width = _LEFT + max(_TILE * max(map(len, frames)), _LETTER * max(len(_title(clip)) for clip in clips)) + 0.1
    top = _EDGE if title else 0.0
    curves = [_MOTION + _SPACE if {"flow", "flow_target"} & {*clip} else 0.0 for clip in clips]
    height = sum(heights) + sum(curves) + _ABOVE * len(clips) + top + _EDGE
    figure = Figure(figsize=(width, height))
    bottom = height - top
    for clip, chosen, tall, curve in zip(clips, frames, heights, curves, strict=True):
        bottom -= _ABOVE + tall
        place = (_LEFT / width, bottom / height, _TILE * len(chosen) / width, tall / height)
        tiles = figure.add_axes(place, anchor="NW")
        _draw_clip(tiles, clip, chosen)
        bottom -= curve
        if curve:
            place = (_LEFT / width, bottom / height, _TILE * len(chosen) / width, _MOTION / height)
            _draw_motion(figure.add_axes(place, sharex=tiles), clip, chosen)
    figure.suptitle(title, y=1 - 0.08 / height, va="top", parse_math=False)
    shown = {key for clip in clips for key in clip}
    if {"landmarks", "flow"} & shown:
        handles = [
            Line2D([], [], label=name, markersize=4, **style)
            for name, style in (("target", _TARGET), ("predicted", _PREDICTED))
        ]
        figure.legend(handles=handles, loc="lower center", ncols=2, frameon=False)
    return figure


@paper_style()
def rank_scores_figure(examples: Sequence[dict[str, Any]], title: str = "") -> Figure:
    """Draw the rank scores of clips over time; if a clip is ranked correctly, they rise from frame to frame.

    Args:
        examples: clips as `mefusion.studies.examples.load_examples` gives them; those without `rank_scores` are
            skipped.
        title: a line above it.

    Returns:
        The figure, with a thin line for each clip, coloured by label, and the median of each label. The score of the
        first frame is subtracted from each clip's scores, since only their order counts.

    Raises:
        MefusionError: no clip has rank scores.
    """
    ranked = [clip for clip in examples if "rank_scores" in clip]
    if not ranked:
        raise MefusionError("There are no rank scores to show; give clips of a study with the task rank.")
    labels = sorted({clip["label"] for clip in ranked})
    figure = Figure(figsize=(COLUMN, 2.8), layout="constrained")
    axes = figure.subplots()
    for label, colour in zip(labels, PALETTE * len(labels), strict=False):
        lines = [clip["rank_scores"] - clip["rank_scores"][0] for clip in ranked if clip["label"] == label]
        for line in lines:
            axes.plot(np.arange(len(line)) + 1, line, color=colour, linewidth=0.5, alpha=0.35)
        median = pd.DataFrame(lines).median()  # clips may differ in their number of frames
        axes.plot(median.index + 1, median, "o-", markersize=2.5, color=colour, label=label)
    legend_below(figure, *axes.get_legend_handles_labels())
    axes.set(xlabel="frame of the window", ylabel="rank score minus that of frame 1")
    axes.grid(visible=True)
    axes.set_title(title, parse_math=False)
    return figure


def _rows_of(clip: dict[str, Any]) -> dict[str, str]:
    names = {
        "frames": "frames",
        "flow_target": "flow,\ntarget",
        "flow": "flow,\npredicted",
        "apex_flow": "flow, onset\nto apex",
    }
    rows = {key: name for key, name in names.items() if key in clip}
    images = [name for key, name in (("dynamic_image_target", "target"), ("dynamic_image", "predicted")) if key in clip]
    if images:
        rows["dynamic_image"] = "dynamic\nimage:\n" + ",\n".join(images)
    return rows


def _draw_clip(axes: Axes, clip: dict[str, Any], chosen: list[int]) -> None:
    # All tiles are drawn as one image, since axes for each tile would take seconds to draw.
    names = _rows_of(clip)
    height, width = clip["frames"].shape[1:]
    gap = _gap(clip)
    scale = _flow_scale(clip)
    place = {frame: column for column, frame in enumerate(chosen)}
    down = {key: row * (height + gap) for row, key in enumerate(names)}
    right = {frame: column * (width + gap) for column, frame in enumerate(chosen)}
    shape = (len(names) * (height + gap) - gap, len(chosen) * (width + gap) - gap, 3)
    mosaic = np.full(shape, 255, dtype=np.uint8)
    for key, y in down.items():
        for frame, x in right.items():
            mosaic[y : y + height, x : x + width] = _tile(clip, key, frame, place[frame], scale)
    axes.imshow(mosaic, interpolation="antialiased")
    _draw_landmarks(axes, clip, right)
    if "flow" in names or "flow_target" in names:
        axes.text(width / 2, 2 * (height + gap), _key_text(scale), ha="center", va="top", fontsize=7)
    if "apex_flow" in names:
        place_of_text = (2 * (width + gap), down["apex_flow"] + height / 2)
        axes.text(*place_of_text, _key_text(_vector_scale(clip["apex_flow"])), ha="left", va="center", fontsize=7)
    axes.set_xticks([x + width / 2 for x in right.values()], [_frame_name(clip, frame) for frame in chosen])
    axes.set_yticks([y + height / 2 for y in down.values()], list(names.values()))
    axes.tick_params(length=0, pad=2, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.set_title(_title(clip), loc="left", pad=4, parse_math=False)


def _key_text(scale: float) -> str:
    return f"motion\nrim: {scale:.2g} px"


def _shown(clip: dict[str, Any], columns: int) -> list[int]:
    """The frames that are shown; that at the apex takes the place of the one next to it."""
    chosen, apex = shown_frames(len(clip["frames"]), columns), _apex(clip)
    if apex is None or apex in chosen or len(chosen) < 3:
        return chosen
    nearest = min(chosen[1:-1], key=lambda frame: abs(frame - apex))
    return sorted({*chosen} - {nearest} | {apex})


def _apex(clip: dict[str, Any]) -> int | None:
    """Index of the window's frame next to the apex; None if it is unknown, or not within the window."""
    if "times" not in clip or "apex" not in clip or not clip["times"][0] <= clip["apex"] <= clip["times"][-1]:
        return None
    return int(np.abs(clip["times"] - clip["apex"]).argmin())


def _frame_name(clip: dict[str, Any], frame: int) -> str:
    number = (clip["times"][frame] if "times" in clip else frame) + 1
    return f"apex {number}" if frame == _apex(clip) else f"frame {number}"


def _title(clip: dict[str, Any]) -> str:
    title = f"{clip['clip_id']} (subject {clip['subject']}): label {clip['label']}"
    if "prediction" not in clip:
        return title
    verdict = "correct" if clip["label"] == clip["prediction"] else "wrong"
    return f"{title}, predicted {clip['prediction']} ({verdict})"


def _draw_motion(axes: Axes, clip: dict[str, Any], chosen: list[int]) -> None:
    shown = [(column, frame) for column, frame in enumerate(chosen) if frame > 0]
    width = clip["frames"].shape[2]
    places = [column * (width + _gap(clip)) + width / 2 for column, _ in shown]
    for key, style in (("flow_target", _TARGET), ("flow", _PREDICTED)):
        if key in clip:
            length = np.linalg.norm(clip[key].astype(np.float32), axis=1).mean(axis=(1, 2))
            line = style | {"linestyle": "-", "color": style["markeredgecolor"], "markersize": 3}
            axes.plot(places, length[[frame - 1 for _, frame in shown]], clip_on=False, **line)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("mean\nmotion,\npx", rotation=0, ha="right", va="center", fontsize=7)
    axes.tick_params(labelbottom=False, bottom=False)
    axes.spines["bottom"].set_color("#BBBBBB")


def _gap(clip: dict[str, Any]) -> int:
    return max(2, clip["frames"].shape[2] // 40)


def _flow_scale(clip: dict[str, Any]) -> float:
    flow = clip.get("flow_target", clip.get("flow"))
    return _SMALLEST_SCALE if flow is None else _vector_scale(flow)


def _vector_scale(flow: np.ndarray) -> float:
    """Length of the vectors of [..., 2, H, W] that get the full colour, px."""
    length = np.linalg.norm(flow.astype(np.float32), axis=-3)
    if not np.isfinite(length).any():
        return _SMALLEST_SCALE
    # A percentile, not the maximum: otherwise a few wrongly matched vectors would make all others look grey.
    return max(float(np.percentile(length[np.isfinite(length)], 99.5)), _SMALLEST_SCALE)


def _tile(clip: dict[str, Any], key: str, frame: int, column: int, scale: float) -> np.ndarray:
    height, width = clip["frames"].shape[1:]
    if key == "frames":
        return _grey(clip["frames"][frame])
    if key == "dynamic_image":  # one for each clip: in the first tiles the target, then the prediction
        images = [clip[name] for name in ("dynamic_image_target", "dynamic_image") if name in clip]
        number = column - bool({"flow", "flow_target"} & {*clip})  # the first tile is for the text of the key
        shown = images[number] if 0 <= number < len(images) else np.ones((height, width))
        return _grey(np.rint(255 * shown).astype(np.uint8))
    if key == "apex_flow":  # one for each clip: the key, then the flow
        if column == 1:
            return flow_to_rgb(clip[key], _vector_scale(clip[key]))
        return _key_tile(height, width) if column == 0 else np.full((height, width, 3), 255, dtype=np.uint8)
    if frame > 0:
        return flow_to_rgb(clip[key][frame - 1], scale)
    # The first frame has no flow. In the first row of flow, its tile shows the key.
    if key == ("flow_target" if "flow_target" in clip else "flow"):
        return _key_tile(height, width)
    return np.full((height, width, 3), 255, dtype=np.uint8)


def _key_tile(height: int, width: int) -> np.ndarray:
    tile = np.full((height, width, 3), 255, dtype=np.uint8)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    tile[top : top + side, left : left + side] = flow_key(side)
    return tile


def _grey(picture: np.ndarray) -> np.ndarray:
    return np.repeat(picture[..., None], 3, axis=-1)


def _draw_landmarks(axes: Axes, clip: dict[str, Any], right: dict[int, int]) -> None:
    for key, style, size in (("landmarks_target", _TARGET, 1.7), ("landmarks", _PREDICTED, 1.5)):
        for frame, x in right.items():
            if key in clip and frame > 0:
                points = clip[key][frame - 1]
                inside = ((points >= 0) & (points <= np.array(clip["frames"].shape[:0:-1]) - 1)).all(axis=1)
                points = points[inside] + np.array([x, 0])  # a chin below the crop must not be drawn on the tile below
                axes.plot(*points.T, markersize=size, markeredgewidth=0.4, **style)
