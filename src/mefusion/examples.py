"""Example clips of a fold: what the network sees, predicts and looks at, for pictures."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from mefusion.data.cache import save_arrays
from mefusion.data.datamodule import FoldData
from mefusion.models.module import MERModule
from mefusion.plots.attention import attention_maps

HALF = ("flow", "dynamic_image", "attention")
"""Arrays that are kept as float16."""


@torch.no_grad()
def predict_examples(module: MERModule, data: FoldData) -> list[dict[str, Any]]:
    """One window a class of a fold's test clips, as `plots.load_examples` gives them, without attention.

    Args:
        module: is left in the mode that it was in.
        data: of the fold.

    Returns:
        None where the network sees no frames, since a picture shows them.
    """
    raw = data.examples()
    if raw.inputs.dim() != 5:
        return []
    training = module.training
    output = module.eval()(data.normalise(raw).inputs.to(module.device))
    module.train(training)
    answers = output.logits.argmax(1).tolist()
    examples = []
    for row, clip in enumerate(raw.clip.tolist()):
        facts = data.store.index.loc[clip]
        example = {name: str(facts[name]) for name in ("clip_id", "subject", "label")}
        example["prediction"] = data.store.classes[answers[row]]
        arrays = {"frames": raw.inputs[row, :, 0].numpy()}
        for name in ("flow", "landmarks", "dynamic_image"):
            if name in module.tasks:
                arrays[name] = getattr(output, name)[row].float().cpu().numpy()
                arrays[f"{name}_target"] = getattr(raw, name)[row].numpy()
        if "rank" in module.tasks:
            arrays["rank_scores"] = output.rank_scores[row].float().cpu().numpy()
        examples.append(example | arrays)
    return examples


def save_examples(path: Path, module: MERModule, data: FoldData, table: pd.DataFrame) -> None:
    """Keep a fold's examples for the report's pictures, with attention where the network learns; none, no file.

    Args:
        path: the file.
        module: as it predicted the table.
        data: of the fold.
        table: the fold's predictions, whose answers are shown: those of all of a clip's windows.
    """
    examples = predict_examples(module, data)
    if not examples:
        return
    if any(parameter.requires_grad for parameter in module.parameters()):
        add_attention(examples, module, data)
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


def add_attention(examples: list[dict[str, Any]], module: MERModule, data: FoldData) -> None:
    """Give each example of `predict_examples` where the network looked for what it answered, `attention` [T, H, W]."""
    inputs = data.normalise(data.examples()).inputs.to(module.device)
    answers = [data.store.classes.index(example["prediction"]) for example in examples]
    maps = attention_maps(module, inputs, torch.tensor(answers, device=module.device))
    for example, attention in zip(examples, maps, strict=True):
        example["attention"] = attention
