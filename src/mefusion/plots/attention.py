"""Where a network looks: the gradient of its answer by the frames."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from mefusion.errors import MefusionError
from mefusion.plots.style import PAGE, paper_style

if TYPE_CHECKING:
    from torch import Tensor, nn

_PERCENTILE = 99.5


def attention_maps(network: "nn.Module", inputs: "Tensor", classes: "Tensor", samples: int = 16) -> np.ndarray:
    """How much each pixel of each frame bears on the network's answer.

    The absolute gradient of a class's score by the input, averaged over noisy copies (SmoothGrad, Smilkov et al. 2017,
    as in captum), which serves networks of any kind; it shows what the answer is sensitive to, not why.

    Args:
        network: its output has `logits` [B, C]; it is put in evaluation mode.
        inputs: [B, T, 1, H, W] normalised frames.
        classes: [B] number of the class to explain, such as the predicted one.
        samples: noisy copies.

    Returns:
        float32 [B, T, H, W], 0 and up.

    Raises:
        MefusionError: captum is not installed.
    """
    import torch

    try:
        from captum.attr import NoiseTunnel, Saliency
    except ImportError as error:
        raise MefusionError("maps of attention need the package captum: pip install --no-deps captum") from error

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
    return maps.detach()[:, :, 0].float().cpu().numpy()


@paper_style()
def attention_figure(example: dict[str, Any], maps: np.ndarray, columns: int = 8) -> Figure:
    """Draw a clip's frames and, below them, where the network looks.

    Args:
        example: a clip as `load_examples` gives it: `frames` uint8 [T, H, W], `clip_id`, `label`, `prediction`.
        maps: [T, H, W], from `attention_maps`.
        columns: at most so many frames are shown, evenly spaced.

    Returns:
        The figure; all maps of the clip have one scale.

    Raises:
        ValueError: frames and maps differ in shape.
    """
    frames = example["frames"]
    if frames.shape != maps.shape:
        raise ValueError(f"maps have the shape {maps.shape}, not that of the frames, {frames.shape}")
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(columns, len(frames))).round().astype(int))
    tile = PAGE / 8.6
    figure = Figure(figsize=(tile * (len(chosen) + 0.6), 2 * tile + 0.75), layout="compressed")
    panels = figure.subplots(2, len(chosen), squeeze=False)
    limit = float(np.percentile(maps, _PERCENTILE)) or 1.0
    for axes, frame in zip(panels.T, chosen, strict=True):
        for panel in axes:
            panel.imshow(frames[frame], cmap="gray", vmin=0, vmax=255)
            panel.set_axis_off()
        image = axes[1].imshow(maps[frame], cmap="inferno", vmin=0, vmax=limit, alpha=0.75)
        axes[0].set_title(f"frame {frame + 1}", fontsize=7)
    bar = figure.colorbar(image, ax=panels[1].tolist(), shrink=0.9, pad=0.01)
    bar.set_ticks([0, limit], labels=["none", "much"])
    title = f"{example['clip_id']}: label {example['label']}, predicted {example['prediction']}"
    figure.suptitle(title, parse_math=False)
    return figure
