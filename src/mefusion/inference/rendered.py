"""Networks that were trained on rendered motion: what makes them usable on recordings."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mefusion.common.errors import MefusionError
from mefusion.preparation.settings import PreparationSettings
from mefusion.synthetic.motion.settings import CANVAS, RANGES, MotionSettings
from mefusion.windows.flow import Normalisation

SOURCE = "mefusion.datasets.synthetic_motion.SyntheticMotionSource"

LEAST_MOTION = 0.25
"""px of the aligned picture: sensor noise of a standard deviation of 4 grey levels gives less than .2."""


def recording_settings(directory: Path, facts: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """How recordings are prepared for a network, and the least motion that it names: entries of `bundle.json`.

    A network of pictures sees recordings as its own clips were prepared. One of rendered motion sees the flow from
    onset to apex as `mefusion-prepare` measures it by default, or by the study's own `flow`, if the rendered faces are
    where those of aligned pictures are. It never saw how large a motion is, since each image is normalised by itself,
    so it has to be told where nothing moves.

    Args:
        directory: of the study, for messages.
        facts: of its `study.json`.
        config: of its `config.yaml`.

    Returns:
        `preparation` and `least_motion`.

    Raises:
        MefusionError: the network was trained on flow images that cannot be made from a recording.
    """
    if not facts["trained_on"].get("flow_images"):
        return {"preparation": facts["preparation"], "least_motion": 0.0}
    if config["data"].get("_target_") != SOURCE:
        raise MefusionError(
            f"{directory} was trained on ready-made flow images, of which it is not known how to make them from a "
            "recording: train on the frames themselves, or on data=synthetic_motion"
        )
    options = {name: value for name, value in config["data"].items() if name not in ("_target_", "name", "root")}
    if not MotionSettings(**options).shows_canvas:
        wanted = ", ".join(f"data.{name} with {CANVAS[name]:g} in it" for name in RANGES)
        raise MefusionError(
            f"{directory} was trained on rendered faces that are elsewhere in the picture than those of prepared "
            f"recordings: train with {wanted}"
        )
    if config["model"].get("flow", {}).get("normalisation", Normalisation.pixels) == Normalisation.pixels:
        raise MefusionError(
            f"{directory} was trained on rendered motion, which has no unit, with model.flow.normalisation=pixels: "
            "train with model.flow.normalisation=standardised, as model=flow_cnn does"
        )
    flow = {"flow": facts["preparation"]["flow"]} if "flow" in facts["preparation"] else {}  # older ones knew one
    return {
        "preparation": {**asdict(PreparationSettings(clip_length=config["clip_length"])), **flow},
        "least_motion": LEAST_MOTION,
    }
