import math
from types import SimpleNamespace

import pytest
import torch

from mefusion.training.losses import (
    DynamicImage,
    Flow,
    Landmarks,
    Rank,
    Recognition,
    interocular,
)
from mefusion.training.settings import Imbalance
from mefusion.training.units import ActionUnits


def targets_of(**targets):
    return SimpleNamespace(targets=targets)


@pytest.fixture
def output_and_batch():
    """Random predictions and targets of 3 clips of 5 frames."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    output = SimpleNamespace(logits=normal(3, 4), flow=normal(3, 4, 2, 6, 7), landmarks=40 * normal(3, 4, 68, 2))
    targets = {"flow": normal(3, 4, 2, 6, 7), "landmarks": 40 * normal(3, 4, 68, 2)}
    return output, SimpleNamespace(label=torch.tensor([2, 0, 3]), targets=targets)


def test_recognition_by_hand():
    # Logits ln 1, ln 2, ln 1: probabilities 1/4, 1/2, 1/4. Labels 1 and 2: (ln 2 + ln 4) / 2 = 1.5 ln 2.
    logits = torch.log(torch.tensor([[1.0, 2.0, 1.0]])).repeat(2, 1)
    output, batch = SimpleNamespace(logits=logits), SimpleNamespace(label=torch.tensor([1, 2]))
    assert Recognition().loss(output, batch).item() == pytest.approx(1.5 * math.log(2))
    assert Recognition().errors(output, batch) == {}


def class_weighted(labels, logits):
    task = Recognition(class_weights=torch.tensor([0.5, 1.0, 4.0]), smoothing=0.1)
    return task, SimpleNamespace(logits=logits), SimpleNamespace(label=labels)


def units(labels, logits):
    known = torch.where(labels[:, None] == torch.tensor([0, 1, 1]), -1.0, 1.0)  # 2 units of a 0, 1 of a 1, 3 of a 2
    return ActionUnits(), SimpleNamespace(action_units=logits), targets_of(action_units=known)


@pytest.mark.parametrize("case", [class_weighted, units])
@pytest.mark.parametrize("labels", [[0, 1, 2, 2], [0, 0, 2, 2]])
def test_processes_that_share_a_batch_have_its_loss(case, labels, monkeypatch):
    labels, logits = torch.tensor(labels), torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    task, output, batch = case(labels, logits)
    whole = task.loss(output, batch).item()

    parts = [case(labels[half], logits[half])[1:] for half in (slice(2), slice(2, 4))]

    def losses():
        return [task.loss(*part).item() for part in parts]

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    own = []
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda value: own.append(value.clone()))
    losses()
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda value: value.copy_(sum(own)))
    assert sum(losses()) / 2 == pytest.approx(whole)


def test_flow_by_hand():
    # One clip of three frames, 2 x 2 px; the target is (3, 4) in the first pair, 0 in the second; 0 is predicted.
    target = torch.zeros(1, 2, 2, 2, 2)
    target[0, 0, 0], target[0, 0, 1] = 3, 4
    output, batch = SimpleNamespace(flow=torch.zeros_like(target)), targets_of(flow=target)
    # 4 pixels of 9 and 4 of 16 among 16 values: 100 / 16, and once more over T - 1 = 2.
    assert Flow().loss(output, batch).item() == pytest.approx(100 / 16 / 2)
    errors = Flow().errors(output, batch)
    # Length 5 in half the pixels; what is predicted is zero flow itself.
    assert errors["flow_epe"].tolist() == pytest.approx([2.5])
    assert errors["flow_epe_zero"].tolist() == pytest.approx([2.5])
    output.flow = target.clone()
    output.flow[0, 1, 0] = 1  # one px to the right where nothing moves: half the pixels again
    errors = Flow().errors(output, batch)
    assert errors["flow_epe"].tolist() == pytest.approx([0.5])
    assert errors["flow_epe_zero"].tolist() == pytest.approx([2.5])


def test_landmarks_by_hand():
    # One clip of two frames after the first; eye centres 50 px apart; every point is (3, 4) px off in one frame.
    target = torch.zeros(1, 2, 68, 2)
    target[..., 42:48, 0] = 50
    predicted = target.clone()
    predicted[0, 0] += torch.tensor([3.0, 4.0])
    output, batch = SimpleNamespace(landmarks=predicted), targets_of(landmarks=target)
    # 68 (3 + 4) / (68 * 50) in the one frame, 0 in the other.
    assert Landmarks().loss(output, batch).item() == pytest.approx(7 / 50)
    # Distance 5 of 50 is 10 % in one of the two frames.
    assert Landmarks().errors(output, batch)["landmarks_nme"].tolist() == pytest.approx([5.0])


def test_flow_as_a_loop(output_and_batch):
    output, batch = output_and_batch
    clips, pairs, _, height, width = batch.targets["flow"].shape
    squares, lengths, zeros = 0.0, torch.zeros(clips), torch.zeros(clips)
    for b in range(clips):
        for t in range(pairs):
            for y in range(height):
                for x in range(width):
                    du, dv = (output.flow[b, t, :, y, x] - batch.targets["flow"][b, t, :, y, x]).tolist()
                    squares += du**2 + dv**2
                    lengths[b] += math.hypot(du, dv) / (pairs * height * width)
                    zeros[b] += math.hypot(*batch.targets["flow"][b, t, :, y, x].tolist()) / (pairs * height * width)
    assert Flow().loss(output, batch).item() == pytest.approx(squares / batch.targets["flow"].numel() / pairs)
    errors = Flow().errors(output, batch)
    assert errors["flow_epe"].tolist() == pytest.approx(lengths.tolist())
    assert errors["flow_epe_zero"].tolist() == pytest.approx(zeros.tolist())


def test_landmarks_as_a_loop(output_and_batch):
    output, batch = output_and_batch
    clips, frames = batch.targets["landmarks"].shape[:2]
    loss, nme = 0.0, [0.0] * clips
    for t in range(frames):
        for b in range(clips):
            target, predicted = batch.targets["landmarks"][b, t], output.landmarks[b, t]
            left, right = (sum(target[i] for i in part) / 6 for part in (range(36, 42), range(42, 48)))
            distance = math.dist(left.tolist(), right.tolist())
            loss += (predicted - target).abs().sum().item() / (68 * distance) / clips
            for p, q in zip(predicted.tolist(), target.tolist(), strict=True):
                nme[b] += 100 * math.dist(p, q) / distance / 68 / frames
    assert Landmarks().loss(output, batch).item() == pytest.approx(loss)
    assert Landmarks().errors(output, batch)["landmarks_nme"].tolist() == pytest.approx(nme)


def test_a_perfect_prediction_costs_nothing(output_and_batch):
    _, batch = output_and_batch
    perfect = SimpleNamespace(**batch.targets)
    for task in (Flow(), Landmarks()):
        assert task.loss(perfect, batch).item() == 0
        assert all(not values.any() for name, values in task.errors(perfect, batch).items() if "zero" not in name)


def test_interocular_distance_is_between_the_eye_centres():
    landmarks = torch.zeros(68, 2)
    landmarks[36:42] = torch.tensor([1.0, 2.0])
    landmarks[42:48] = torch.tensor([4.0, 6.0])
    assert interocular(landmarks).item() == pytest.approx(5)


# Class imbalance.


def recognition_loss(imbalance, logits, labels, counts):
    task = Recognition.balanced(2.0, imbalance=imbalance, class_counts=torch.tensor(counts))
    assert task.weight == 2
    return task.loss(SimpleNamespace(logits=torch.tensor(logits)), SimpleNamespace(label=torch.tensor(labels))).item()


def test_class_weights_by_hand():
    # Counts 6, 3, 3: weights 12 / (3 n) = 2/3, 4/3, 4/3. Equal logits: every term is ln 3, so the mean is too.
    task = Recognition.balanced(1.0, imbalance="class_weights", class_counts=torch.tensor([6, 3, 3]))
    assert task.class_weights.tolist() == pytest.approx([2 / 3, 4 / 3, 4 / 3])
    # ln 4 for label 0 and ln 2 for label 1: (2/3 ln 4 + 4/3 ln 2) / 2.
    logits = [[0.0, math.log(2), 0.0]] * 2
    expected = (2 / 3 * math.log(4) + 4 / 3 * math.log(2)) / 2
    assert recognition_loss("class_weights", logits, [0, 1], [6, 3, 3]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("tau", "expected"), [(1, [2 / 3, 4 / 3, 4 / 3]), (0, [1, 1, 1]), (0.5, [0.8165, 1.1547, 1.1547])]
)
def test_tau_is_the_power_of_the_class_weights(tau, expected):
    counts = torch.tensor([6, 3, 3])
    task = Recognition.balanced(1.0, imbalance="class_weights", class_counts=counts, tau=tau)
    assert task.class_weights.tolist() == pytest.approx(expected, abs=1e-4)


def test_tau_is_the_factor_of_the_logit_adjustment():
    # Shares 1/2, 1/4, 1/4; with tau 2 they count squared.
    task = Recognition.balanced(1.0, imbalance="logit_adjustment", class_counts=torch.tensor([6, 3, 3]), tau=2)
    assert task.adjustment.exp().tolist() == pytest.approx([1 / 4, 1 / 16, 1 / 16])


def test_smoothed_labels_by_hand():
    # Probabilities 1/2, 1/4, 1/4; a share of .3 is spread: .8 ln 2 + .1 ln 4 + .1 ln 4.
    task = Recognition.balanced(1.0, imbalance="none", class_counts=torch.ones(3), smoothing=0.3)
    logits = SimpleNamespace(logits=torch.tensor([[math.log(2), 0.0, 0.0]]))
    loss = task.loss(logits, SimpleNamespace(label=torch.tensor([0])))
    assert loss.item() == pytest.approx(0.8 * math.log(2) + 0.2 * math.log(4))


def test_logit_adjustment_by_hand():
    # Equal logits and shares 1/2, 1/4, 1/4: the adjusted probabilities are the shares.
    loss = recognition_loss("logit_adjustment", [[1.0, 1.0, 1.0]] * 2, [0, 2], [6, 3, 3])
    assert loss == pytest.approx((math.log(2) + math.log(4)) / 2)


def test_focal_loss_by_hand():
    # Probability 1/2 of the label: (1 - 1/2)^2 ln 2.
    assert recognition_loss("focal", [[0.0, 0.0]], [1], [1, 1]) == pytest.approx(math.log(2) / 4)


@pytest.mark.parametrize("imbalance", ["none", "sampler"])
def test_the_loss_stays_where_nothing_or_the_data_makes_up(imbalance):
    logits = [[0.3, -1.0, 2.0], [0.0, 0.5, 0.1]]
    expected = torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor([1, 0])).item()
    assert recognition_loss(imbalance, logits, [1, 0], [9, 1, 2]) == pytest.approx(expected)


@pytest.mark.parametrize("imbalance", [*Imbalance])
def test_a_class_that_training_lacks_leaves_the_loss_finite(imbalance):
    assert math.isfinite(recognition_loss(imbalance, [[0.3, -1.0, 2.0]], [1], [4, 2, 0]))


# Dynamic image and rank.


def test_dynamic_image_by_hand():
    target = torch.zeros(2, 16, 16)
    target[:, :8] = 1  # half black, half white
    predicted = target.clone()
    predicted[0] = 0.5
    output, batch = SimpleNamespace(dynamic_image=predicted), targets_of(dynamic_image=target)
    # 1/4 in the one image, 0 in the other.
    assert DynamicImage().loss(output, batch).item() == pytest.approx(1 / 8)
    errors = DynamicImage().errors(output, batch)
    # The first is the best flat picture: 10 log10 4 dB. The second is the target itself, shown as 100 dB.
    assert errors["dynamic_image_psnr"].tolist() == pytest.approx([10 * math.log10(4), 100])
    assert errors["dynamic_image_psnr_flat"].tolist() == pytest.approx([10 * math.log10(4)] * 2)
    assert errors["dynamic_image_cosine"].tolist() == pytest.approx([math.sqrt(0.5), 1])
    assert errors["dynamic_image_ssim"][1].item() == pytest.approx(1)
    assert -1 <= errors["dynamic_image_ssim"][0].item() < 0.5


def test_structural_similarity_is_scikit_image_s():
    from skimage.metrics import structural_similarity

    generator = torch.Generator().manual_seed(0)
    one = torch.rand(3, 64, 64, generator=generator)
    other = (one + torch.tensor([0.05, 0.2, 0.5])[:, None, None] * torch.randn(one.shape, generator=generator)).clamp(
        0, 1
    )
    errors = DynamicImage().errors(SimpleNamespace(dynamic_image=one), targets_of(dynamic_image=other))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    for row in range(3):
        expected = structural_similarity(one[row].double().numpy(), other[row].double().numpy(), **options)
        assert errors["dynamic_image_ssim"][row].item() == pytest.approx(expected, abs=0.01)  # borders differ
    assert errors["dynamic_image_ssim"][0] > 0.95 > 0.6 > errors["dynamic_image_ssim"][2]


def test_rank_by_hand():
    # Pairs of (0, 2, 1): 2, 1, -1 apart; short of the margin 1 by 0, 0, 2. Of (3, 3, 3): all short by 1, none in order.
    output = SimpleNamespace(rank_scores=torch.tensor([[0.0, 2.0, 1.0], [3.0, 3.0, 3.0]]))
    assert Rank().loss(output, None).item() == pytest.approx((2 / 3 + 1) / 2)
    assert Rank().errors(output, None)["rank_accuracy"].tolist() == pytest.approx([2 / 3, 0])


def test_rank_as_a_loop():
    scores = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    output, length, margin = SimpleNamespace(rank_scores=scores), 8, 0.7
    total = 0.0
    for clip in scores.tolist():
        pairs = [(i, j) for j in range(length) for i in range(j)]
        total += 2 / (length * (length - 1)) * sum(max(0, margin - (clip[j] - clip[i])) for i, j in pairs)
    assert Rank(margin=margin).loss(output, None).item() == pytest.approx(total / 4, rel=1e-5)
