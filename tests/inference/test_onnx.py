"""Networks that are exported by torch.export and to ONNX answer as before, in batches of any size."""

import copy
import json

import numpy as np
import pytest
import torch
from composed import settings_of
from trained import train_study

from mefusion.acceleration import use_cpu_layers
from mefusion.configuration.building import make_network
from mefusion.configuration.cli import configuration_folder
from mefusion.configuration.composition import resolve_tasks
from mefusion.datasets.schemes import Scheme
from mefusion.inference.bundle import Bundle
from mefusion.inference.export import export_study
from mefusion.inference.onnx import deployed, export_program, write_onnx
from mefusion.preparation.settings import PreparationSettings

onnxruntime = pytest.importorskip("onnxruntime")

MODELS = sorted(path.stem for path in (configuration_folder("conf") / "model").glob("*.yaml"))
SMALLER = {
    "mol": ["model.network.width=.25", "model.network.image_size=64"],
    "mol_released": ["model.network.width=.25", "model.network.image_size=64"],
    "mol_tiny": ["model.network.image_size=64"],
    "fdp": ["model.network.width=.125", "model.network.image_size=32", "+model.network.lra_blocks=[1,1,1,1]"],
    "fdp_released": ["model.network.width=.125", "model.network.image_size=32", "+model.network.lra_blocks=[1,1,1,1]"],
    "fdp_tiny": ["model.network.image_size=32"],
}
QUICK = {"flow_cnn", "hoof_svm", "linear_flow", "majority", "off_apexnet", "sssnet", "ststnet"}
MODELS_MARKED = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]


def trained_network(model):
    """A network after three steps of training, on a CPU's layers, and a bundle that describes it."""
    settings = settings_of(f"model={model}", *SMALLER.get(model, []))
    torch.manual_seed(0)
    network = make_network(settings, resolve_tasks(settings), num_classes=3)
    size, frames = settings.model.image_size, settings.model.view != "flow_image"
    if hasattr(network, "fit"):
        network.fit(torch.randn(9, 3, size, size), torch.arange(9) % 3, torch.ones(9))
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learning, lr=1e-3) if learning else None
    for _ in range(3 if optimizer else 0):
        optimizer.zero_grad()
        output = network(torch.randn(4, *((8, 1, size, size) if frames else (3, size, size))))
        sum((value - 1).square().mean() for value in vars(output).values() if value is not None).backward()
        optimizer.step()
    bundle = Bundle(
        folder=None, facts={}, network=type(network).__name__, arguments={}, classes=("a", "b", "c"),
        view=settings.model.view, image_size=size, windows=settings.model.training.windows,
        preparation=PreparationSettings(), mean=(0.4,) if frames else (0.1, 0.2, 0.3),
        std=(0.2,) if frames else (1.0, 2.0, 0.5), temperature=1.0, labels=Scheme(), flow=settings.model.flow,
    )  # fmt: skip
    return network.eval(), bundle


def batches(example):
    """Inputs in the range of the example, in batches of several sizes."""
    random, shape = np.random.default_rng(1), example.shape[1:]
    for count in (1, 2, 3, 8):
        if len(shape) == 4:
            yield torch.from_numpy(random.integers(0, 256, (count, *shape)).astype(np.float32))
        else:
            yield torch.from_numpy(random.standard_normal((count, *shape)).astype(np.float32))


def assert_same(opened, inputs, found):
    """Outputs are the same within 1e-4, in any batch; the dynamic image is, but for what rounding does to it.

    SegNet puts maxima back where they were. Where two values of a window are the same but for rounding, another program
    finds the other one. So do the same layers in double precision.
    """
    with torch.inference_mode():
        expected, exact = opened.outputs(inputs), copy.deepcopy(opened).double().outputs(inputs)
    for name, value in expected.items():
        off = np.abs(found[name] - value.numpy())
        rounding = np.abs(exact[name].numpy() - value.numpy()).mean()
        assert off.mean() < 1e-4 + 2 * rounding if name == "dynamic_image" else off.max() < 1e-4, name


@pytest.mark.parametrize("model", MODELS_MARKED)
def test_onnx_answers_as_torch_in_batches_of_any_size(model, tmp_path):
    network, bundle = trained_network(model)
    told = write_onnx(network, bundle, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    assert [entry.name for entry in session.get_inputs()] == [told["input"]["name"]]
    assert [entry.name for entry in session.get_outputs()] == [*told["outputs"]]
    opened, example = deployed(network, bundle)
    assert told["input"]["shape"] == ["batch", *example.shape[1:]]
    use_cpu_layers(network)  # as it is used
    for inputs in batches(example):
        found = dict(zip(told["outputs"], session.run(None, {"inputs": inputs.numpy()}), strict=True))
        assert {name: value.shape[0] for name, value in found.items()} == dict.fromkeys(found, len(inputs))
        assert {name: ["batch", *value.shape[1:]] for name, value in found.items()} == told["outputs"]
        assert_same(opened, inputs, found)


# `write_onnx` exports every model in this way too.
@pytest.mark.parametrize("model", ["ststnet", "majority", pytest.param("mol_tiny", marks=pytest.mark.slow)])
def test_torch_export_keeps_the_batch_open(model):
    network, bundle = trained_network(model)
    opened, example = deployed(network, bundle)
    program = export_program(opened, example).module()
    for inputs in batches(example):
        with torch.inference_mode():
            expected, found = opened(inputs), program(inputs)
        for first, second in zip(expected, found, strict=True):
            torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-4)


def test_a_bundle_says_how_to_feed_its_onnx_file(tiny, tmp_path):
    study = train_study(tmp_path, tiny, "protocol=all", "model=ststnet")
    folder = export_study(study, to=tmp_path / "bundle", onnx=True)
    told = json.loads((folder / "bundle.json").read_text())
    assert told["onnx"]["input"] == {
        "name": "inputs",
        "dtype": "float32",
        "shape": ["batch", 3, 28, 28],
        "axes": "window, channel (flow to the right px, flow downwards px, optical strain), row, column",
        "values": "the flow from onset to apex and its strain",
    }
    assert told["onnx"]["outputs"] == {"logits": ["batch", 3]}
    assert "action_units" not in told["onnx"]
    assert {*told["files"]} == {"model.safetensors", "model.onnx"}
    assert "`model.onnx` (opset 20) takes `inputs` batch x 3 x 28 x 28 float32" in (folder / "README.md").read_text()
