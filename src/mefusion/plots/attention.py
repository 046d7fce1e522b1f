"""Where a network looks: the gradient of its output with respect to the frames."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure, SubFigure

from mefusion.plots.style import PAGE, paper_style, shown_frames

_PERCENTILE = 99.5


@paper_style()
def attention_figure(examples: Sequence[dict[str, Any]], columns: int = 8) -> Figure:
    """Draw the frames of clips and, below each frame, where the network looks.

    Args:
        examples: clips as `mefusion.studies.examples.load_examples` gives them, with `attention`.
        columns: largest number of frames that are shown, evenly spaced.

    Returns:
        The figure; all maps of a clip have one colour scale, which ends at the 99.5th percentile of their values.
    """
    chosen = shown_frames(len(examples[0]["frames"]), columns)
    tile = PAGE / 8.6
    size = (tile * (len(chosen) + 0.6), (2 * tile + 0.5) * len(examples))
    figure = Figure(figsize=size, layout="constrained")
    for example, block in zip(examples, np.ravel(figure.subfigures(len(examples), squeeze=False)), strict=True):
        _draw_clip(block, example, chosen)
    return figure


def _draw_clip(block: SubFigure, example: dict[str, Any], chosen: Sequence[int]) -> None:
    title = f"{example['clip_id']}: label {example['label']}, predicted {example['prediction']}"
    block.suptitle(title, x=0.01, ha="left", parse_math=False)
    limit = float(np.percentile(example["attention"], _PERCENTILE)) or 1.0
    panels = block.subplots(2, len(chosen), squeeze=False)
    for axes, frame in zip(panels.T, chosen, strict=True):
        for panel in axes:
            panel.imshow(example["frames"][frame], cmap="gray", vmin=0, vmax=255)
            panel.set_axis_off()
        image = axes[1].imshow(example["attention"][frame], cmap="inferno", vmin=0, vmax=limit, alpha=0.75)
        axes[0].set_title(f"frame {frame + 1}", fontsize=7)
    bar = block.colorbar(image, ax=panels[1].tolist(), shrink=0.9, pad=0.01)
    bar.set_ticks([0, limit], labels=["none", "much"])
