"""Export a bundle's network with torch.export and to ONNX, for batches of any size, and check what came out."""

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mefusion.acceleration import use_plain_layers
from mefusion.common.errors import MefusionError
from mefusion.common.units import UNIT_TASK
from mefusion.inference.bundle import ONNX, Bundle, input_maker
from mefusion.windows.flow import Normalisation
from mefusion.windows.store import normalised
from mefusion.windows.views import View

OPSET = 20
INPUT = "inputs"
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
CHECKED_BATCHES = (1, 3, 8)  # besides that of the example
COMPARED = ("logits", UNIT_TASK)  # those outputs that are answers
TOLERANCE = 1e-4  # of the logits


_FLOW_VALUES = {
    Normalisation.pixels: "the flow from onset to apex and its strain",
    Normalisation.stretched: "the flow from onset to apex and its strain, each channel of an image stretched to its "
    "range: flow -0.5 to 0.5, strain 0 to 1",
    Normalisation.standardised: "the flow from onset to apex less its median, over its standard deviation, and its "
    "strain over its standard deviation, each image by itself",
}


class Deployed(nn.Module):
    """A network with its normalisation before it; gives all outputs that are on, the logits first.

    Args:
        network: in evaluation mode.
        bundle: of the network.
        scale: of the bundle's view.
    """

    def __init__(self, network: nn.Module, bundle: Bundle, *, scale: float):
        super().__init__()
        self.network, self.scale = network, scale
        for name, values in (("mean", bundle.mean), ("std", bundle.std)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32)[:, None, None])
        self.mean: Tensor
        self.std: Tensor

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Outputs for `[batch, ...]` float32: grey levels 0..255, or flow in px."""
        return tuple(self.outputs(inputs).values())

    def outputs(self, inputs: Tensor) -> dict[str, Tensor]:
        """The same by name."""
        found = vars(self.network(normalised(inputs, scale=self.scale, mean=self.mean, std=self.std)))
        named = {name: value for name, value in found.items() if isinstance(value, Tensor)}
        return {"logits": named.pop("logits"), **named}


def require_onnx() -> None:
    """Check that the packages for ONNX are installed.

    Raises:
        MefusionError: one is not.
    """
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise MefusionError(f"--onnx needs the package {missing[0]}: pip install 'mefusion[onnx]'")


def deployed(network: nn.Module, bundle: Bundle) -> tuple[Deployed, Tensor]:
    """The network as it is exported, and an example of its inputs: a batch of two windows."""
    view = input_maker(bundle).make_view()
    model = Deployed(use_plain_layers(network), bundle, scale=view.scale).eval()
    return model.requires_grad_(False), _example(bundle, view)  # gradients make an export a sixth slower


def export_program(model: Deployed, example: Tensor) -> torch.export.ExportedProgram:
    """Export a network by torch.export, for batches of any size."""
    return torch.export.export(model, (example,), dynamic_shapes={"inputs": {0: torch.export.Dim("batch")}})


def write_onnx(network: nn.Module, bundle: Bundle, path: Path) -> dict[str, Any]:
    """Write a network as ONNX, and compare it with the original.

    Args:
        network: of the bundle, on the CPU; its layers become PyTorch's own.
        bundle: what the network is and needs.
        path: of the file.

    Returns:
        How to use the file, for `bundle.json`.

    Raises:
        MefusionError: a package is missing, the network cannot be exported, or the exported one gives other answers.
    """
    require_onnx()
    model, example = deployed(network, bundle)
    with torch.inference_mode():
        outputs = model.outputs(example)
    try:
        with _quiet():
            program = torch.onnx.export(
                export_program(model, example),
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[*outputs],
                verbose=False,
            )
            assert program is not None
            program.save(path, external_data=False)
    except Exception as error:  # the exporter raises errors of many kinds
        reason = " ".join(str(error).split())[:200]
        raise MefusionError(f"{bundle.network} cannot be exported to ONNX ({reason}): leave out --onnx") from error
    _compare(model, example, path)
    return _how_to_use(bundle, example, outputs)


def _compare(model: Deployed, example: Tensor, path: Path) -> None:
    """Raise a MefusionError if the written network gives other answers, also in batches of other sizes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for count in (len(example), *CHECKED_BATCHES):
        inputs = example.repeat(count, *[1] * (example.dim() - 1))[:count]
        with torch.inference_mode():
            outputs = model.outputs(inputs)
        for name in [name for name in COMPARED if name in outputs]:
            expected = outputs[name]
            found = torch.from_numpy(session.run([name], {INPUT: inputs.numpy()})[0])
            if found.shape != expected.shape or float((found - expected).abs().max()) > TOLERANCE:
                raise MefusionError(
                    f"the ONNX file gives other answers in a batch of {count} than the network: leave out --onnx"
                )


def _example(bundle: Bundle, view: View) -> Tensor:
    window = input_maker(bundle).example()
    return torch.from_numpy(view.collate([window, window])["inputs"]).float()


def _how_to_use(bundle: Bundle, example: Tensor, outputs: dict[str, Tensor]) -> dict[str, Any]:
    frames = example.dim() == 5
    mirror = " and their mirror images (columns reversed, flow to the right negated)" if bundle.flow.mirror_test else ""
    return {
        "file": ONNX,
        "opset": OPSET,
        "input": {
            "name": INPUT,
            "dtype": "float32",
            "shape": ["batch", *example.shape[1:]],
            "axes": "window, frame in the order of time, channel, row, column"
            if frames
            else "window, channel (flow to the right px, flow downwards px, optical strain), row, column",
            "values": "grey levels 0 to 255 of the aligned face" if frames else _FLOW_VALUES[bundle.flow.normalisation],
        },
        "normalisation": "inside the model: (inputs * scale - mean) / std; do not normalise before",
        "outputs": {name: ["batch", *value.shape[1:]] for name, value in outputs.items()},
        "probabilities": f"softmax of the logits; mean over a clip's windows{mirror}; then p^(1/temperature) / sum",
    } | (
        {UNIT_TASK: f"sigmoid of each unit's logit, in the order of bundle.json; mean over a clip's windows{mirror}"}
        if bundle.units
        else {}
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's messages on packages that are not installed and on shapes."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
