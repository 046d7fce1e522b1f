"""Example clips as a fold leaves them, and what is written in a figure."""

import json

import numpy as np
from safetensors.numpy import save_file


def example(length=4, size=32, flow=True, landmarks=True, **entries):
    """A clip in which the left half moves right by t px from frame t."""
    generator = np.random.default_rng(0)
    clip = {"clip_id": "s1_0", "subject": "s1", "label": "negative", "prediction": "positive"}
    clip["frames"] = generator.integers(0, 256, (length, size, size), dtype=np.uint8)
    if flow:
        target = np.zeros((length - 1, 2, size, size), dtype=np.float16)
        target[:, 0, :, : size // 2] = np.arange(1, length)[:, None, None]
        clip |= {"flow_target": target, "flow": target / 2}
    if landmarks:
        points = generator.uniform(0, size, (length - 1, 68, 2)).astype(np.float32)
        clip |= {"landmarks_target": points, "landmarks": points + 1}
    return clip | entries


def save_examples(path, clips):
    """Write clips as a fold does."""
    described = {key: {name: clip[name] for name in ("label", "prediction", "subject")} for key, clip in clips.items()}
    arrays = {
        f"{key}|{name}": value
        for key, clip in clips.items()
        for name, value in clip.items()
        if isinstance(value, np.ndarray)
    }
    save_file(arrays, path, metadata={key: json.dumps(value) for key, value in described.items()})


def texts(figure):
    """All that is written in a figure."""
    figure.draw_without_rendering()
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    found += [axes.get_title(loc=loc) for axes in figure.axes for loc in ("left", "center")]
    found += [text for axes in figure.axes for text in (axes.get_xlabel(), axes.get_ylabel())]
    found += [label.get_text() for axes in figure.axes for label in (*axes.get_xticklabels(), *axes.get_yticklabels())]
    found += [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return [*found, figure.get_suptitle()]
