"""The references: what they see, that they are fitted to their optimum, and what a mirror does to them."""

import copy
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from mefusion.models import HOOFSVM, FlowCNN, LinearFlow

FITTED = {"linear": LinearFlow, "svm": HOOFSVM}
every_fitted = pytest.mark.parametrize("network", FITTED.values(), ids=FITTED)


def constant(u, v, strain=0.0):
    """An image of the same motion everywhere."""
    return torch.tensor([u, v, strain])[None, :, None, None].repeat(1, 1, 28, 28)


def mirrored(images):
    return images.flip(-1) * torch.tensor([-1.0, 1, 1])[:, None, None]


def toy_clips(count=12, noise=0.3, seed=0):
    """Images that move to the right, downwards or to the left, with noise; the classes follow each other."""
    torch.manual_seed(seed)
    labels = torch.arange(count) % 3
    motion = torch.tensor([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0]])[labels]
    images = motion[:, :, None, None] + noise * torch.randn(count, 3, 28, 28)
    images[:, 2] = images[:, 2].abs()
    return images, labels, torch.ones(count)


# Histograms of oriented flow.


@pytest.mark.parametrize(
    ("u", "v", "expected"),
    [
        (2.0, 0.0, {0: 2}),
        (0.0, 2.0, {2: 2}),  # downwards, a quarter of the 8 directions
        (-2.0, 0.0, {4: 2}),
        (0.0, -2.0, {6: 2}),
        (3.0, 3.0, {1: 3 * math.sqrt(2)}),
        # Half way between the directions 0 and 1, at 22.5 degrees: half to each.
        (2 * math.cos(math.pi / 8), 2 * math.sin(math.pi / 8), {0: 1, 1: 1}),
    ],
)
def test_the_histogram_of_a_constant_motion_by_hand(u, v, expected):
    histograms = HOOFSVM(3).histograms(constant(u, v, strain=4.0))
    assert histograms.shape == (1, 9, 7, 7)
    means = torch.zeros(9)
    for direction, mean in (expected | {8: 4}).items():
        means[direction] = mean
    torch.testing.assert_close(histograms, means.sqrt()[None, :, None, None].expand(1, 9, 7, 7), atol=2e-3, rtol=0)


def test_mirroring_swaps_left_and_right_of_the_histograms():
    images, _, _ = toy_clips()
    network = HOOFSVM(3)
    swapped = network.histograms(images).flip(-1)[:, [4, 3, 2, 1, 0, 7, 6, 5, 8]]
    torch.testing.assert_close(network.histograms(mirrored(images)), swapped, atol=1e-5, rtol=1e-4)


def test_no_motion_gives_finite_gradients():
    images = constant(0.0, 0.0).requires_grad_()
    HOOFSVM(3).histograms(images).sum().backward()
    assert images.grad.isfinite().all()


def test_the_machines_decide_as_scikit_learn_does():
    from sklearn.svm import SVC

    images, labels, weights = toy_clips(count=30, noise=2.0)
    network = HOOFSVM(3)
    network.fit(images, labels, weights)
    features = network.histograms(images).flatten(1).double().numpy()
    features = (features - features.mean(0)) / features.std(0)
    decisions = network(images).logits
    for number in range(3):
        machine = SVC(C=0.5, gamma=1 / features.shape[1]).fit(features, labels.numpy() == number)
        expected = torch.from_numpy(machine.decision_function(features)).float()
        torch.testing.assert_close(decisions[:, number], expected, atol=2e-3, rtol=0)


# Softmax regression.


def test_linear_features_are_the_blurred_flow_shifted():
    images = torch.zeros(1, 3, 28, 28)
    images[0, 0, 10, 12] = 3.0
    features = LinearFlow(3, blur=0, scale=1 / 3).features(images).reshape(5, 2, 28, 28)
    places = [tuple(view[0].nonzero()[0].tolist()) for view in features]
    assert places == [(10, 12), (9, 12), (11, 12), (10, 11), (10, 13)]
    assert features.amax().item() == pytest.approx(1)
    blurred = LinearFlow(3, blur=1, scale=1).features(images)[0, 0].reshape(2, 28, 28)[0]
    assert blurred.sum().item() == pytest.approx(3, rel=1e-5)
    assert (blurred[10, 13] / blurred[10, 12]).item() == pytest.approx(math.exp(-0.5), rel=1e-5)


def test_mirroring_mirrors_the_linear_features():
    images, _, _ = toy_clips()
    network = LinearFlow(3)
    plain, other = (network.features(each).unflatten(2, (2, 28, 28)) for each in (images, mirrored(images)))
    swapped = plain.flip(-1)[[0, 1, 2, 4, 3]] * torch.tensor([-1.0, 1])[:, None, None]
    torch.testing.assert_close(other, swapped)


def test_the_linear_fit_is_the_optimum():
    images, labels, _ = toy_clips(noise=1.0)
    weights = torch.tensor([0.5, 1.0, 1.5]).repeat(4)
    network = LinearFlow(3)
    network.fit(images, labels, weights)
    weight, bias = (tensor.double().requires_grad_() for tensor in (network.weight, network.bias))
    features = network.features(images).double()
    loss = network.objective(features, labels, weights.double(), weight, bias)
    loss.backward()
    assert loss < 12 * math.log(3)  # that of zero
    assert weight.grad.abs().max() < 1e-4
    assert bias.grad.abs().max() < 1e-4


def test_answers_are_means_of_probabilities():
    images, labels, weights = toy_clips()
    network = LinearFlow(3)
    network.fit(images, labels, weights)
    one_by_one = [torch.softmax(view @ network.weight.T + network.bias, 1) for view in network.features(images)]
    torch.testing.assert_close(network(images).logits.softmax(1), torch.stack(one_by_one).mean(0))


# Both.


@every_fitted
def test_a_separable_set_is_learned(network):
    made = network(3)
    images, labels, weights = toy_clips(count=60)
    made.fit(images, labels, weights)
    new, _, _ = toy_clips(count=60, seed=1)
    assert made(images).logits.argmax(1).tolist() == labels.tolist()
    assert made(new).logits.argmax(1).tolist() == labels.tolist()


@every_fitted
def test_fitting_twice_gives_the_same_and_what_was_before_does_not_count(network):
    made, again = network(3), network(3)
    images, labels, weights = toy_clips()
    made.fit(images, labels, weights)
    again.fit(mirrored(images), labels.flip(0), weights)
    again.fit(images, labels, weights)
    assert torch.equal(made(images).logits, again(images).logits)


@every_fitted
def test_a_heavier_class_is_chosen_more_often(network):
    images, labels, weights = toy_clips(count=30, noise=4.0)
    chosen = []
    for factor in (0.05, 1.0, 20.0):
        made = network(3)
        made.fit(images, labels, torch.where(labels == 0, factor, 1.0) * weights)
        chosen.append(made(images).logits.softmax(1)[:, 0].mean().item())
    assert chosen == sorted(chosen)


@every_fitted
@pytest.mark.parametrize("present", [[0, 2], [1]])
def test_a_class_that_is_absent_is_never_the_answer(network, present):
    images, labels, weights = toy_clips()
    kept = torch.isin(labels, torch.tensor(present))
    made = network(3)
    made.fit(images[kept], labels[kept], weights[kept])
    logits = made(images[kept]).logits
    assert logits.isfinite().all()
    assert logits.argmax(1).tolist() == labels[kept].tolist()


@every_fitted
def test_weights_survive_a_file_into_a_network_that_was_never_fitted(network, tmp_path):
    made, loaded = network(3), network(3)
    images, labels, weights = toy_clips()
    made.fit(images, labels, weights)
    save_file(made.state_dict(), tmp_path / "weights.safetensors")
    loaded.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(loaded(images).logits, made(images).logits)


def test_weights_of_other_classes_or_cells_are_refused():
    for other in (HOOFSVM(4), HOOFSVM(3, bins=4)):
        with pytest.raises(RuntimeError, match="size mismatch"):
            HOOFSVM(3).load_state_dict(other.state_dict())


@every_fitted
def test_nothing_is_trained_step_by_step(network):
    assert not list(network(3).parameters())
    assert copy.deepcopy(network(3)).state_dict().keys() == network(3).state_dict().keys()


# The convolutional network.


def test_the_cnn_has_the_maps_of_its_description():
    network, shapes = FlowCNN(5), []
    for layer in [*network.features, *network.classifier]:
        layer.register_forward_hook(lambda m, _, y: shapes.append(list(y.shape[1:])))
    assert network(torch.randn(2, 3, 28, 28)).logits.shape == (2, 5)
    half, quarter = [16, 14, 14], [16, 7, 7]
    wide = [32, 7, 7]
    assert shapes == [[3, 14, 14], half, half, half, quarter, wide, wide, wide, [32, 4, 4], [512], [512], [5]]


@pytest.mark.parametrize("network", [FlowCNN, HOOFSVM, LinearFlow])
def test_other_tasks_and_other_images_are_refused(network):
    with pytest.raises(ValueError, match="tasks"):
        network(3, tasks=("recognition", "flow"))
    with pytest.raises(ValueError, match="shape"):
        network(3)(torch.randn(2, 3, 27, 28))


def test_images_that_cells_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="multiples of cells=7"):
        HOOFSVM(3, image_size=64)
