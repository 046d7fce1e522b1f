"""Example clips of a fold: what the network sees, predicts and looks at, for pictures."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from mefusion.data.cache import save_arrays
from mefusion.data.datamodule import FoldData
from mefusion.models.module import MERModule

HALF = ("flow", "dynamic_image", "attention")
"""Arrays that are kept as float16."""


@torch.no_grad()
def predict_examples(module: MERModule, data: FoldData, *, attention: bool = False) -> list[dict[str, Any]]:
    """One window a class of a fold's test clips, as `plots.load_examples` gives them.

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
        for name in ("flow", "landmarks", "dynamic_image"):
            if name in module.tasks:
                arrays[name] = getattr(output, name)[row].float().cpu().numpy()
                arrays[f"{name}_target"] = getattr(raw, name)[row].numpy()
        if "rank" in module.tasks:
            arrays["rank_scores"] = output.rank_scores[row].float().cpu().numpy()
        if maps is not None:
            arrays["attention"] = maps[row]
        examples.append(example | arrays)
    return examples


def save_examples(path: Path, module: MERModule, data: FoldData, table: pd.DataFrame) -> None:
    """Keep a fold's examples for the report's pictures; no file where there are none.

    Args:
        path: the file.
        module: as it predicted the table.
        data: of the fold.
        table: the fold's predictions, whose answers are shown: those of all of a clip's windows.
    """
    examples = predict_examples(module, data, attention=True)
    if not examples:
        return
    arrays: dict[str, np.ndarray] = {}
    metadata: dict[str, str] = {}
    answers = table.set_index(["subject", "clip_id"])["prediction"]
    for example in examples:
        clip_id, subject = example["clip_id"], example["subject"]
        key = clip_id if clip_id not in metadata else f"{subject} {clip_id}"  # clips of two subjects may share an id
        for name, array in example.items():
            if isinstance(array, np.ndarray):
                half = name.removesuffix("_target") in HALF
                arrays[f"{key}|{name}"] = array.astype(np.float16) if half else array
        answer = {"label": example["label"], "prediction": answers[subject, clip_id], "subject": subject}
        metadata[key] = json.dumps(answer)
    save_arrays(path, arrays, metadata)


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
