import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.flop_counter import FlopCounterMode

from mefusion.acceleration.layers import (
    PLAIN,
    ChannelSubsetConv2d,
    FlowConv2d,
    SmallMapConvTranspose2d,
    WinogradConv2d,
    use_cpu_layers,
    use_plain_layers,
)
from mefusion.acceleration.winograd import WinogradConv3x3
from mefusion.models import FDP, MOL, SSSNet

# Small networks with a few layers of as many channels as Winograd's algorithm needs.
SMALL_MOL = {"image_size": 64, "width": 1 / 16, "flow_width": 1 / 4, "correlation_radius": 4}
SMALL_FDP = {"image_size": 32, "lra_blocks": (1, 1, 1, 1), "head_size": 8, "segnet_width": 1 / 4}
NETWORKS = {
    "mol": lambda: MOL(3, **SMALL_MOL),
    "mol_released": lambda: MOL(3, **SMALL_MOL, variant="released"),
    "fdp": lambda: FDP(3, **SMALL_FDP, width=1 / 8),
    "fdp_released": lambda: FDP(3, **SMALL_FDP, width=1 / 4, variant="released"),
}
CLASSES = {
    "mol": {WinogradConv2d, ChannelSubsetConv2d, FlowConv2d, SmallMapConvTranspose2d},
    "mol_released": {WinogradConv2d, ChannelSubsetConv2d, FlowConv2d, SmallMapConvTranspose2d},
    "fdp": {WinogradConv2d},
    "fdp_released": {WinogradConv2d},
}
every_network = pytest.mark.parametrize("name", NETWORKS)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def make(name: str) -> nn.Module:
    """A plain network in evaluation mode, in double precision, whose maps are not flat.

    On flat maps, and in single precision, rounding may choose another maximum or another neighbour.
    """
    network = NETWORKS[name]()
    for part in network.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.reset_parameters()
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(std=0.5)
            part.running_var.uniform_(0.5, 1.5)
    return network.double().eval()


def pair(name: str) -> tuple[nn.Module, nn.Module]:
    """A plain network and one for a CPU with the same weights."""
    plain = make(name)
    return plain, use_cpu_layers(copy.deepcopy(plain))


def clips(network: nn.Module, count: int = 2) -> Tensor:
    return torch.randn(count, *network.frame_shape, dtype=torch.double)


def outputs(network: nn.Module, frames: Tensor) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in vars(network(frames)).items() if tensor is not None}


def loss_of(network: nn.Module, frames: Tensor) -> Tensor:
    return sum(tensor.float().square().mean() for tensor in outputs(network, frames).values())


def train(network: nn.Module, steps: int = 3) -> list[float]:
    """Losses of some steps."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    frames, losses = clips(network), []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(network, frames)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


# Winograd's algorithm.


@pytest.mark.parametrize("size", [2, 4, 8, 12])
def test_winograd_equals_the_convolution(size):
    x, weight = torch.randn(3, 5, size, size), torch.randn(4, 5, 3, 3)
    y = WinogradConv3x3.apply(x, weight)
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, F.conv2d(x, weight, padding=1), atol=1e-4, rtol=1e-4)
    double = WinogradConv3x3.apply(x.double(), weight.double())
    torch.testing.assert_close(double, F.conv2d(x.double(), weight.double(), padding=1), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("size", [2, 4, 8])
def test_gradients_of_winograd(size):
    x = torch.randn(1, 2, size, size, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(WinogradConv3x3.apply, (x, weight))


@torch.no_grad()
@pytest.mark.parametrize(("size", "samples"), [(2, 1), (4, 64), (8, 16)])
def test_winograd_conv_gives_the_same_either_way(size, samples, monkeypatch):
    conv = WinogradConv2d(128, 128, 3, padding=1)
    x = torch.randn(samples, 128, size, size)
    y = conv(x)
    torch.testing.assert_close(y, F.conv2d(x, conv.weight, conv.bias, padding=1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(torch.compile(conv, backend="eager", fullgraph=True)(x), y)
    monkeypatch.setattr(WinogradConv3x3, "apply", None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert conv(x).dtype == torch.bfloat16
    with pytest.raises(TypeError, match="not callable"):
        conv(x)


# The other layers.


def assert_same_with_gradients(layer: nn.Module, library, x: Tensor) -> None:
    x.requires_grad_()
    expected = library(x, layer.weight)
    torch.testing.assert_close(layer(x), expected)
    direction = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, (x, layer.weight), direction)
    torch.testing.assert_close(torch.autograd.grad(layer(x), (x, layer.weight), direction), wanted)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (3, 5)])
def test_small_map_conv_transpose_equals_the_librarys(height, width):
    layer = SmallMapConvTranspose2d(5, 3, 4, stride=2, padding=1, bias=False).double()
    x = torch.randn(2, 5, height, width, dtype=torch.double)
    assert_same_with_gradients(layer, lambda x, w: F.conv_transpose2d(x, w, stride=2, padding=1), x)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (3, 5)])
def test_flow_conv_equals_the_librarys(height, width):
    layer = FlowConv2d(5, 2, 3, padding=1, bias=False).double()
    x = torch.randn(2, 5, height, width, dtype=torch.double)
    assert_same_with_gradients(layer, lambda x, w: F.conv2d(x, w, padding=1), x)


def test_a_convolution_of_some_inputs_takes_the_others_as_zero():
    given = torch.tensor([0, 2, 3])
    x = torch.zeros(2, 5, 4, 4).index_copy(1, given, torch.randn(2, 3, 4, 4))
    layer = ChannelSubsetConv2d(5, 6, 3, padding=1, bias=False)
    layer.register_buffer("channels", given, persistent=False)
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight, padding=1))
    layer(x).sum().backward()
    assert layer.weight.grad[:, given].all()
    assert not layer.weight.grad[:, [1, 4]].any()  # as if the zeros had been passed


@pytest.mark.parametrize(("radius", "size", "maps"), [(10, 16, 225), (2, 16, 25), (5, 8, 49)])
def test_correlation_maps_that_are_zero_for_all_images_are_left_out(radius, size, maps):
    network = use_cpu_layers(MOL(3, tasks=("flow",), image_size=8 * size, width=1 / 16, correlation_radius=radius))
    layer, correlation = network.flow_net.conv3_1[0], network.flow_net.correlation
    every, others = (2 * radius + 1) ** 2, layer.in_channels - (2 * radius + 1) ** 2
    a, b = torch.randn(2, 1, 3, size, size)
    seen = correlation(a, b).abs().amax(dim=(0, 2, 3)) > 0
    assert seen.sum() == maps
    if maps == every:
        assert type(layer) is nn.Conv2d
    else:
        before = network.flow_net.conv_redir[0].out_channels
        after = others - before
        wanted = F.pad(seen, (before, after), value=True).nonzero().flatten()
        assert layer.channels.tolist() == wanted.tolist()


# Networks.


@every_network
def test_layers_change_their_class_and_nothing_else(name):
    network = make(name)
    assert not {type(module) for module in network.modules()} & set(PLAIN)
    parameters, state = list(network.named_parameters()), copy.deepcopy(network.state_dict())
    random = torch.get_rng_state()
    assert use_cpu_layers(network) is network
    assert {type(module) for module in network.modules()} & set(PLAIN) == CLASSES[name]
    assert torch.equal(torch.get_rng_state(), random)
    for (old_name, old), (new_name, new) in zip(parameters, network.named_parameters(), strict=True):
        assert old_name == new_name
        assert old is new
    assert list(network.state_dict()) == list(state)
    for key, tensor in network.state_dict().items():
        assert torch.equal(tensor, state[key]), key


@every_network
def test_twice_is_once_and_can_be_undone(name):
    plain, network = pair(name)
    classes, buffers = [type(module) for module in network.modules()], list(network.named_buffers())
    use_cpu_layers(network)
    assert [type(module) for module in network.modules()] == classes
    assert [key for key, _ in network.named_buffers()] == [key for key, _ in buffers]
    use_plain_layers(network)
    assert [type(module) for module in network.modules()] == [type(module) for module in plain.modules()]
    assert [key for key, _ in network.named_buffers()] == [key for key, _ in plain.named_buffers()]
    frames = clips(plain)
    for key, tensor in outputs(plain, frames).items():
        assert torch.equal(outputs(network, frames)[key], tensor), key


@pytest.mark.parametrize("name", ["fdp", "fdp_released"])
def test_fdp_lies_channels_last_where_it_runs_on_a_cpu(name):
    for one, memory_format in zip(pair(name), (torch.contiguous_format, torch.channels_last), strict=True):
        weights = [module.weight for module in one.modules() if isinstance(module, nn.Conv2d)]
        assert all(weight.is_contiguous(memory_format=memory_format) for weight in weights)


def test_other_networks_stay_as_they_are():
    network = SSSNet(3)
    classes = [type(module) for module in network.modules()]
    assert [type(module) for module in use_cpu_layers(network).modules()] == classes


@every_network
def test_outputs_and_gradients_are_those_of_the_plain_network(name):
    plain, network = pair(name)
    frames = clips(plain, 10)  # enough positions for Winograd's algorithm on maps of 4x4
    for key, expected in outputs(plain, frames).items():
        torch.testing.assert_close(outputs(network, frames)[key], expected, msg=key)
    for one in (plain, network):
        torch.manual_seed(1)  # dropout and drop path
        loss_of(one.train(), frames).backward()
    for (key, expected), given in zip(plain.named_parameters(), network.parameters(), strict=True):
        if expected.requires_grad:
            torch.testing.assert_close(given.grad, expected.grad, msg=key)


@every_network
def test_training_gives_the_losses_of_the_plain_network(name):
    losses = []
    for network in pair(name):
        torch.manual_seed(1)
        losses.append(train(network.train()))
    assert losses[1] == pytest.approx(losses[0])


@every_network
def test_state_dicts_are_exchangeable(name):
    _, network = pair(name)
    train(network)
    plain, other = make(name), use_cpu_layers(make(name))
    plain.load_state_dict(network.state_dict())
    other.load_state_dict(plain.state_dict())
    frames = clips(network)
    expected = outputs(network, frames)
    for key, tensor in outputs(other, frames).items():
        assert torch.equal(tensor, expected[key]), key
    for key, tensor in outputs(plain, frames).items():
        torch.testing.assert_close(tensor, expected[key], msg=key)


@every_network
def test_copies_and_averages_compute_alike_and_are_apart(name):
    _, network = pair(name)
    average, copied = AveragedModel(network), copy.deepcopy(network)
    assert {type(module) for module in average.modules()} >= CLASSES[name]
    frames = clips(network)
    before = outputs(network, frames)
    train(network)
    average.update_parameters(network)
    assert not torch.equal(outputs(network, frames)["logits"], before["logits"])
    for key, tensor in before.items():
        assert torch.equal(outputs(copied, frames)[key], tensor), key
    for key, tensor in outputs(network, frames).items():
        assert torch.equal(outputs(average.module, frames)[key], tensor), key


@every_network
def test_runs_under_autocast(name):
    plain, network = (network.float() for network in pair(name))
    frames = clips(plain).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected, given = (outputs(one, frames) for one in (plain, network))
        loss_of(network, frames).backward()
    for key, tensor in expected.items():
        assert given[key].dtype == tensor.dtype
        assert F.l1_loss(given[key].float(), tensor.float()) < 0.05 * tensor.float().abs().mean() + 0.02, key
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


class Outputs(nn.Module):
    """A network whose outputs are a dictionary, which can be exported."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        return outputs(self.network, frames)


@torch.no_grad()
@pytest.mark.parametrize("convert", [use_plain_layers, use_cpu_layers])
@pytest.mark.parametrize("name", ["mol", "fdp"])
def test_exports_with_a_batch_of_any_size(name, convert):
    network = convert(make(name))
    with torch.enable_grad():
        train(network)
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(Outputs(network), (clips(network, 2),), dynamic_shapes=({0: batch},)).module()
    for count in (1, 10):
        frames = clips(network, count)
        given = exported(frames)
        for key, expected in outputs(network, frames).items():
            torch.testing.assert_close(given[key], expected, msg=key)


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (WinogradConv2d(128, 128, 3, padding=1), torch.empty(1, 128, 2, 2)),
        (FlowConv2d(8, 2, 3, padding=1, bias=False), torch.empty(1, 8, 4, 4)),
        (SmallMapConvTranspose2d(8, 4, 4, stride=2, padding=1, bias=False), torch.empty(1, 8, 2, 2)),
        (ChannelSubsetConv2d(8, 4, 3, padding=1, bias=False), torch.empty(1, 8, 4, 4)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_layers_are_plain_on_another_device(layer, x):
    layer.register_buffer("channels", torch.arange(4), persistent=False)

    def operations(layer: nn.Module, x: Tensor) -> set[str]:
        with FlopCounterMode(display=False) as counter:
            layer(x)
        return {str(operation) for operation in counter.get_flop_counts()["Global"]}

    assert operations(layer.to("meta"), x.to("meta")) == {"aten.convolution"}
