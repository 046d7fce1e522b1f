import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mefusion.models import FlowCNN, OFFApexNet, SSSNet, STSTNet

SIZES = {STSTNet: 28, OFFApexNet: 28, SSSNet: 64}
every_network = pytest.mark.parametrize("network", SIZES, ids=lambda network: network.__name__)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def images_for(network: type[nn.Module], count: int = 2) -> Tensor:
    return torch.randn(count, 3, SIZES[network], SIZES[network])


def settle(module: nn.Module) -> nn.Module:
    """Give batch norm values whose absence a test would see; eval mode."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.weight.data, part.running_var):
                tensor.uniform_(0.5, 1.5)
            for tensor in (part.bias.data, part.running_mean):
                tensor.normal_(std=0.5)
    return module.eval()


def layer_shapes(model: nn.Module, images: Tensor) -> list[tuple[str, list[int]]]:
    """Name and output shape, less the batch, of the layers in the order they run."""
    shapes: list[tuple[str, list[int]]] = []
    for layer in model.modules():
        if not list(layer.children()):
            layer.register_forward_hook(lambda m, _, y: shapes.append((type(m).__name__, list(y.shape[1:]))))
    model(images)
    return shapes


def stream_shapes(maps: int) -> list[tuple[str, list[int]]]:
    return [
        ("Conv2d", [maps, 30, 30]),
        ("ReLU", [maps, 30, 30]),
        ("BatchNorm2d", [maps, 30, 30]),
        ("MaxPool2d", [maps, 10, 10]),
        ("Dropout", [maps, 10, 10]),
    ]


SHAPES = {
    STSTNet: [
        *stream_shapes(3),
        *stream_shapes(5),
        *stream_shapes(8),
        ("AvgPool2d", [16, 5, 5]),
        ("Flatten", [400]),
        ("Linear", [5]),
    ],
    OFFApexNet: [
        ("Conv2d", [6, 28, 28]),
        ("ReLU", [6, 28, 28]),
        ("MaxPool2d", [6, 14, 14]),
        ("Conv2d", [16, 14, 14]),
        ("ReLU", [16, 14, 14]),
        ("MaxPool2d", [16, 7, 7]),
        ("Flatten", [784]),
        ("Dropout", [784]),
        ("Linear", [1024]),
        ("ReLU", [1024]),
        ("Dropout", [1024]),
        ("Linear", [5]),
    ],
    SSSNet: [
        ("Conv2d", [32, 60, 60]),
        ("ReLU", [32, 60, 60]),
        ("MaxPool2d", [32, 20, 20]),
        ("BatchNorm2d", [32, 20, 20]),
        ("Dropout2d", [32, 20, 20]),
        ("Conv2d", [64, 18, 18]),
        ("ReLU", [64, 18, 18]),
        ("MaxPool2d", [64, 9, 9]),
        ("BatchNorm2d", [64, 9, 9]),
        ("Dropout2d", [64, 9, 9]),
        ("Flatten", [5184]),
        ("Linear", [256]),
        ("ReLU", [256]),
        ("Dropout", [256]),
        ("Linear", [5]),
    ],
}


@every_network
def test_layers_are_the_published_ones(network):
    assert layer_shapes(network(5), images_for(network)) == SHAPES[network]


@pytest.mark.parametrize(
    ("network", "count"),
    [
        # Convolutions (3x3 x 3 + 1) x (3 + 5 + 8) = 448, batch norms 2 x 16 = 32, classifier 400 x 3 + 3 = 1,203.
        (STSTNet, 1_683),
        # Convolutions (3x3 x 2 + 1) x 6 = 114 and (3x3 x 6 + 1) x 16 = 880; classifier 784 x 1024 + 1024 = 803,840
        # and 1024 x 3 + 3 = 3,075.
        (OFFApexNet, 807_909),
        # Convolutions (5x5 x 3 + 1) x 32 = 2,432 and (3x3 x 32 + 1) x 64 = 18,496; batch norms 2 x 32 = 64 and
        # 2 x 64 = 128; classifier 5184 x 256 + 256 = 1,327,360 and 256 x 3 + 3 = 771.
        (SSSNet, 1_349_251),
    ],
)
def test_parameter_counts(network, count):
    assert sum(parameter.numel() for parameter in network(3).parameters()) == count


@every_network
def test_dropout_is_a_half(network):
    assert {p.p for p in network(3).modules() if isinstance(p, nn.Dropout | nn.Dropout2d)} == {0.5}


@every_network
@pytest.mark.parametrize("excess", [-7, -1, 3])
def test_other_image_sizes_fit_the_classifier(network, excess):
    size = SIZES[network] + excess
    assert network(4, image_size=size)(torch.randn(2, 3, size, size)).logits.shape == (2, 4)


@pytest.mark.parametrize(("network", "smallest"), [(STSTNet, 2), (OFFApexNet, 4), (SSSNet, 16)])
def test_smallest_image_size(network, smallest):
    assert network(4, image_size=smallest)(torch.randn(2, 3, smallest, smallest)).logits.shape == (2, 4)
    with pytest.raises(ValueError, match=f"image_size = {smallest - 1} .*allowed: {smallest} or more"):
        network(4, image_size=smallest - 1)


@every_network
@torch.no_grad()
def test_only_offapexnet_ignores_the_strain(network):
    model, images = settle(network(3)), images_for(network)
    before = model(images).logits
    for channel in range(3):
        changed = images.clone()
        changed[:, channel] = torch.randn_like(changed[:, channel])
        ignored = network is OFFApexNet and channel == 2
        assert torch.equal(model(changed).logits, before) == ignored


@every_network
@torch.no_grad()
def test_a_clip_is_independent_of_its_batch(network):
    model, images = settle(network(3)), images_for(network, 3)
    torch.testing.assert_close(model(images).logits[1:2], model(images[1:2]).logits)


@every_network
def test_learns_eight_images_by_heart(network):
    model = network(3)
    for part in model.modules():
        if isinstance(part, nn.Dropout | nn.Dropout2d):
            part.p = 0.0
    images, labels = images_for(network, 8), torch.arange(8) % 3
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(30):
        optimizer.zero_grad()
        F.cross_entropy(model(images).logits, labels).backward()
        optimizer.step()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert (model(images).logits.argmax(dim=1) == labels).all()


@every_network
def test_clip_length_changes_nothing(network):
    short, long = (network(3, tasks=["recognition"], clip_length=length).state_dict() for length in (1, 30))
    assert {name: tensor.shape for name, tensor in short.items()} == {n: t.shape for n, t in long.items()}


@every_network
@pytest.mark.parametrize("tasks", [(), ("flow",), ("recognition", "flow"), ("recognition", "recognition")])
def test_refuses_other_tasks(network, tasks):
    with pytest.raises(ValueError, match=r"tasks = .* is not allowed; allowed: \('recognition',"):
        network(3, tasks=tasks)


@pytest.mark.parametrize("network", [STSTNet, OFFApexNet, SSSNet, FlowCNN])
def test_action_units_have_a_layer_of_their_own_beside_the_classes(network):
    torch.manual_seed(0)
    plain = network(3).eval()
    torch.manual_seed(0)
    both = network(3, tasks=("recognition", "action_units")).eval()
    images = torch.randn(4, 3, plain.image_size, plain.image_size)
    assert plain(images).action_units is None
    assert both(images).action_units.shape == (4, 12)
    torch.testing.assert_close(both(images).logits, plain(images).logits)  # so recognition alone is what it was
    both(images).action_units.sum().backward()
    assert both.classifier[-1].weight.grad is None
    assert all(parameter.grad is not None for parameter in both.units.parameters())


@every_network
@pytest.mark.parametrize("shape", [(2, 2, 0, 0), (2, 3, 0, 1), (2, 3, 1, 0), (3, 0, 0), (2, 8, 3, 0, 0)])
def test_refuses_images_of_another_shape(network, shape):
    size = SIZES[network]
    shape = [*shape[:-2], size + shape[-2], size + shape[-1]]
    with pytest.raises(ValueError, match="not allowed; allowed") as error:
        network(3)(torch.zeros(shape))
    assert f"images of shape {shape}" in str(error.value)
    assert f"allowed: [b, 3, {size}, {size}]" in str(error.value)
