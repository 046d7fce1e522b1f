"""What a network sees, predicts and looks at, of a few test clips."""

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from matplotlib.image import imread
from torch import Tensor, nn

from mefusion.common.errors import MefusionError
from mefusion.common.files import replacing
from mefusion.plots import contact_sheet
from mefusion.training.module import MERModule
from mefusion.windows.datamodule import FoldData


@torch.no_grad()
def predict_examples(module: MERModule, data: FoldData, *, attention: bool = False) -> list[dict[str, Any]]:
    """One window a class of a fold's test clips, as `mefusion.studies.examples.load_examples` gives them.

    Args:
        module: is left in the mode that it was in.
        data: of the fold.
        attention: whether to tell where the network looks, as long as it learns: the gradients take a while.

    Returns:
        Nothing where the network sees no frames, since a picture shows them.
    """
    raw = data.examples()
    if raw.inputs.dim() != 5:
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
        arrays = {"frames": raw.inputs[row, :, 0].numpy()}
        for name in (name for task in module.tasks.values() for name in task.pictures):
            arrays[name] = getattr(output, name)[row].float().cpu().numpy()
            if name in raw.targets:
                arrays[f"{name}_target"] = raw.targets[name][row].numpy()
        if maps is not None:
            arrays["attention"] = maps[row]
        examples.append(example | arrays)
    return examples


def attention_maps(network: nn.Module, inputs: Tensor, classes: Tensor, samples: int = 8) -> np.ndarray:
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
    """Draws what the network predicts for some test clips beside their targets, into pictures and the loggers.

    Args:
        folder: the fold's; receives `examples/epoch<n>.png`.
        every: epochs from one picture to the next.

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
