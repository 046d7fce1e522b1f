"""Where a network looks: the gradient of its answer by the frames."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure, SubFigure

from mefusion.plots.style import PAGE, paper_style, shown_frames

if TYPE_CHECKING:
    from torch import Tensor, nn

_PERCENTILE = 99.5


def attention_maps(network: "nn.Module", inputs: "Tensor", classes: "Tensor", samples: int = 8) -> np.ndarray:
    """How much each pixel of each frame bears on the network's answer.

    The absolute gradient of a class's score by the input, averaged over noisy copies (SmoothGrad, Smilkov et al. 2017,
    as in captum), which serves networks of any kind; it shows what the answer is sensitive to, not why.

    Args:
        network: its output has `logits` [B, C]; it is put in evaluation mode.
        inputs: [B, T, 1, H, W] normalised frames.
        classes: [B] number of the class to explain, such as the predicted one.
        samples: noisy copies.

    Returns:
        float32 [B, T, H, W], the largest of each clip being 1, and none below 0.
    """
    import torch
    from captum.attr import NoiseTunnel, Saliency

    network.eval()
    tunnel = NoiseTunnel(Saliency(lambda frames: network(frames).logits))
    with torch.random.fork_rng(devices=[inputs.device] if inputs.is_cuda else []):
        torch.manual_seed(0)
        maps = tunnel.attribute(
            inputs.detach().clone(),
            nt_type="smoothgrad",
            nt_samples=samples,
            nt_samples_batch_size=1,
            stdevs=0.1 * float(inputs.std()),
            target=classes,
        )
    maps = maps.detach()[:, :, 0].float()
    largest = maps.amax(dim=(1, 2, 3), keepdim=True)
    return (maps / largest.clamp_min(torch.finfo(maps.dtype).tiny)).cpu().numpy()


@paper_style()
def attention_figure(examples: Sequence[dict[str, Any]], columns: int = 8) -> Figure:
    """Draw clips' frames and, below them, where the network looks.

    Args:
        examples: clips as `load_examples` gives them, with `attention`.
        columns: at most so many frames are shown, evenly spaced.

    Returns:
        The figure; all maps of a clip have one scale, which ends where all but the highest 0.5 % do.
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
