import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mefusion.acceleration import use_cpu_layers, use_plain_layers
from mefusion.acceleration.streams import JoinedSTSTNet, drop
from mefusion.models import STSTNet


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def pair(dropout: float = 0.0, tasks: tuple[str, ...] = ("recognition",)) -> tuple[STSTNet, STSTNet]:
    """The published network with batch norms that are not at their initial values, and the same for a CPU."""
    plain = STSTNet(3, tasks=tasks)
    for part in plain.modules():
        if isinstance(part, nn.Dropout):
            part.p = dropout
        if isinstance(part, nn.BatchNorm2d):
            part.weight.data.normal_()  # also below 0
            part.bias.data.normal_()
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 1.5)
    return plain, use_cpu_layers(copy.deepcopy(plain))


def train(network: nn.Module, images: Tensor, steps: int) -> list[float]:
    optimizer, losses = torch.optim.Adam(network.parameters(), lr=1e-2), []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(images).logits, torch.arange(len(images)) % 3)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("count", [1, 7, 220])  # many, since errors of statistics grow with the positions
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_joined_streams_give_the_outputs_gradients_and_buffers_of_the_three(training, dtype, count):
    plain, joined = (network.train(training).to(dtype) for network in pair())
    images, direction = torch.randn(count, 3, 28, 28, dtype=dtype), torch.randn(count, 3, dtype=dtype)
    given, expected = joined(images).logits, plain(images).logits
    torch.testing.assert_close(given, expected, atol=1e-6, rtol=1e-5)
    for logits in (given, expected):
        (logits * direction).mean().backward()
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(joined.get_parameter(name).grad, parameter.grad, atol=1e-6, rtol=1e-4, msg=name)
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(joined.get_buffer(name), buffer, atol=1e-6, rtol=1e-5, msg=name)


def test_action_units_are_those_of_the_three_streams():
    plain, joined = (network.eval() for network in pair(tasks=("recognition", "action_units")))
    images = torch.randn(4, 3, 28, 28)
    torch.testing.assert_close(joined(images).action_units, plain(images).action_units, atol=1e-6, rtol=1e-5)
    assert plain(images).action_units.shape == (4, 12)


@pytest.mark.parametrize("frozen", [[0], [1], [0, 1, 2]])
def test_frozen_streams_stay_as_they_are_in_training(frozen):
    plain, joined = (network.train() for network in pair())
    for network in (plain, joined):
        for number in frozen:
            network.streams[number].eval()
    images = torch.randn(5, 3, 28, 28)
    torch.testing.assert_close(joined(images).logits, plain(images).logits, atol=1e-6, rtol=1e-5)
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(joined.get_buffer(name), buffer, atol=1e-6, rtol=1e-5, msg=name)


def test_weights_of_either_fit_the_other():
    plain, joined = pair()
    images = torch.randn(6, 3, 28, 28)
    assert train(joined, images, 4) == pytest.approx(train(plain, images, 4), rel=1e-4)
    assert list(joined.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(joined.state_dict())
    torch.testing.assert_close(joined.eval()(images).logits, plain.eval()(images).logits, atol=1e-6, rtol=1e-5)


def test_twice_is_once_and_can_be_undone():
    _, joined = pair()
    assert type(use_cpu_layers(joined)) is JoinedSTSTNet
    assert type(use_plain_layers(joined)) is STSTNet


def test_dropout_is_that_of_the_layers_and_off_in_evaluation():
    _, joined = pair(dropout=0.5)
    images = torch.randn(2, 3, 28, 28)
    assert not torch.equal(joined.train()(images).logits, joined(images).logits)
    assert torch.equal(joined.eval()(images).logits, joined(images).logits)


@pytest.mark.parametrize("probability", [0.0, 0.2, 0.5])
def test_dropped_values_are_zero_and_the_others_grow_so_that_the_mean_stays(probability):
    dropped = drop(torch.ones(200_000), probability)
    assert set(dropped.unique().tolist()) <= {0.0, float(torch.tensor(1.0) / (1 - probability))}
    assert (dropped == 0).float().mean() == pytest.approx(probability, abs=0.01)


def test_runs_under_autocast_and_refuses_images_of_another_size():
    plain, joined = pair()
    images = torch.randn(4, 3, 28, 28)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(joined.eval()(images).logits, plain.eval()(images).logits, atol=0.1, rtol=0.1)
    with pytest.raises(ValueError, match="images of shape"):
        joined(torch.randn(2, 3, 27, 28))
