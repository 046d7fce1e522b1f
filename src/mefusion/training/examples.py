"""Example clips for pictures: what the network sees and predicts, and which pixels decide."""

from pathlib import Path
from typing import Any

import cv2
import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from matplotlib.image import imread
from torch import Tensor, nn

from mefusion.clips.cache import load_arrays
from mefusion.common.errors import MefusionError
from mefusion.common.files import replacing
from mefusion.plots import contact_sheet
from mefusion.training.module import MERModule
from mefusion.windows.datamodule import FoldData
from mefusion.windows.store import ClipStore


@torch.no_grad()
def predict_examples(module: MERModule, data: FoldData, *, attention: bool = False) -> list[dict[str, Any]]:
    """Predict one window of a test clip of each class.

    Args:
        module: the network with its tasks; its mode (training or evaluation) does not change.
        data: of the fold.
        attention: whether to compute attention maps too, if the network learns; this takes longer.

    Returns:
        One dict for each clip, as in `mefusion.studies.examples.load_examples`; none if the network sees no frames,
        or the fold tests no one.
    """
    if not len(data.test_clips) or (raw := data.examples()).inputs.dim() != 5:
        return []
    training, inputs = module.training, data.normalise(raw).inputs.to(module.device)
    output = module.eval()(inputs)
    answers = output.logits.argmax(1)
    maps = attention_maps(module, inputs, answers) if attention and module.learns else None
    module.train(training)
    examples = []
    for row, clip in enumerate(raw.clip.tolist()):
        facts = data.store.index.loc[clip]
        example = {name: str(facts[name]) for name in ("clip_id", "subject", "label")}
        example["prediction"] = data.store.classes[int(answers[row])]
        frames = raw.inputs[row, :, 0].numpy()
        length = int(facts["n_frames"])
        times = np.arange(length)[data.store.spans[clip][0].times(len(frames))]
        arrays = {"frames": frames, "times": times, "apex": np.array([int(facts["apex_place"])])}
        arrays["apex_flow"] = _apex_flow(data.store, clip, size=frames.shape[-1])
        for name in (name for task in module.tasks.values() for name in task.pictures):
            arrays[name] = getattr(output, name)[row].float().cpu().numpy()
            if name in raw.targets:
                arrays[f"{name}_target"] = raw.targets[name][row].numpy()
        if maps is not None:
            arrays["attention"] = maps[row]
        examples.append(example | arrays)
    return examples


def _apex_flow(store: ClipStore, clip: int, *, size: int) -> np.ndarray:
    """Flow of a clip from onset to apex, as preparation measured it, in the place and the pixels of its frames.

    Returns:
        float32 [2, size, size] px of the frames.
    """
    flow = load_arrays(store.files[clip], ("onset_apex_flow",))["onset_apex_flow"].astype(np.float32)
    side = store.canvas - 2 * store.view.margin  # of the whole face in the pixels of the frames
    scaled = cv2.resize(flow.transpose(1, 2, 0), (side, side), interpolation=cv2.INTER_AREA) * (side / flow.shape[-1])
    padded = np.pad(scaled, [(store.view.margin,) * 2] * 2 + [(0, 0)], mode="edge")
    return store.centre(size)(padded.transpose(2, 0, 1))


def attention_maps(network: nn.Module, inputs: Tensor, classes: Tensor, samples: int = 8) -> np.ndarray:
    """How strongly each pixel of each frame changes the network's answer.

    This is the absolute gradient of a class's score with respect to the input, averaged over noisy copies (SmoothGrad,
    Smilkov et al. 2017, as in captum). It works for any network. It shows what changes the answer, not why.

    Args:
        network: its output has `logits` [B, C]; it is put in evaluation mode.
        inputs: [B, T, 1, H, W] normalised frames.
        classes: [B] number of the class to explain, such as the predicted one.
        samples: number of noisy copies.

    Returns:
        float32 [B, T, H, W] in 0..1; the largest value of each clip is 1.
    """
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


class ShowExamples(L.Callback):
    """Draws the predictions for some test clips beside their targets; saves the pictures and logs them.

    Args:
        folder: the fold's; the pictures are saved there as `examples/epoch<n>.png`.
        every: number of epochs from one picture to the next.

    Raises:
        MefusionError: `every` is below 1.
    """

    def __init__(self, folder: str | Path, *, every: int):
        if every < 1:
            raise MefusionError(f"callbacks.examples.every={every}: give a number of epochs from 1 up")
        self.folder, self.every = Path(folder), every

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Called by Lightning."""
        epoch = trainer.current_epoch + 1
        if epoch % self.every or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, MERModule)
        examples = predict_examples(pl_module, trainer.datamodule)  # type: ignore[attr-defined]
        if not examples:
            return
        picture = self.folder / "examples" / f"epoch{epoch:04d}.png"
        figure = contact_sheet(examples, title=f"{self.folder.name} after epoch {epoch}")
        with replacing(picture) as temporary:
            figure.savefig(temporary, format="png", dpi=100)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("examples", [str(picture)], step=trainer.global_step)
            elif isinstance(logger, TensorBoardLogger):
                pixels = imread(picture)
                logger.experiment.add_image("examples", pixels, trainer.global_step, dataformats="HWC")
