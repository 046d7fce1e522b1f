import math
from types import SimpleNamespace

import pytest
import torch

from mefusion.tasks import TASKS, Flow, Landmarks, Recognition, interocular


@pytest.fixture
def output_and_batch():
    """Random predictions and targets of 3 clips of 5 frames."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    output = SimpleNamespace(logits=normal(3, 4), flow=normal(3, 4, 2, 6, 7), landmarks=40 * normal(3, 4, 68, 2))
    batch = SimpleNamespace(
        label=torch.tensor([2, 0, 3]), flow=normal(3, 4, 2, 6, 7), landmarks=40 * normal(3, 4, 68, 2)
    )
    return output, batch


def test_tasks_by_name():
    assert {name: type(make(weight=2.0)) for name, make in TASKS.items()} == {
        "recognition": Recognition,
        "flow": Flow,
        "landmarks": Landmarks,
    }
    assert TASKS["flow"](weight=2.0).weight == 2.0


def test_recognition_by_hand():
    # Logits ln 1, ln 2, ln 1: probabilities 1/4, 1/2, 1/4. Labels 1 and 2: (ln 2 + ln 4) / 2 = 1.5 ln 2.
    logits = torch.log(torch.tensor([[1.0, 2.0, 1.0]])).repeat(2, 1)
    output, batch = SimpleNamespace(logits=logits), SimpleNamespace(label=torch.tensor([1, 2]))
    assert Recognition().loss(output, batch).item() == pytest.approx(1.5 * math.log(2))
    assert Recognition().errors(output, batch) == {}


def test_flow_by_hand():
    # One clip of three frames, 2 x 2 px; the target is (3, 4) in the first pair, 0 in the second; 0 is predicted.
    target = torch.zeros(1, 2, 2, 2, 2)
    target[0, 0, 0], target[0, 0, 1] = 3, 4
    output, batch = SimpleNamespace(flow=torch.zeros_like(target)), SimpleNamespace(flow=target)
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
    output, batch = SimpleNamespace(landmarks=predicted), SimpleNamespace(landmarks=target)
    # 68 (3 + 4) / (68 * 50) in the one frame, 0 in the other.
    assert Landmarks().loss(output, batch).item() == pytest.approx(7 / 50)
    # Distance 5 of 50 is 10 % in one of the two frames.
    assert Landmarks().errors(output, batch)["landmarks_nme"].tolist() == pytest.approx([5.0])


def test_flow_as_a_loop(output_and_batch):
    output, batch = output_and_batch
    clips, pairs, _, height, width = batch.flow.shape
    squares, lengths, zeros = 0.0, torch.zeros(clips), torch.zeros(clips)
    for b in range(clips):
        for t in range(pairs):
            for y in range(height):
                for x in range(width):
                    du, dv = (output.flow[b, t, :, y, x] - batch.flow[b, t, :, y, x]).tolist()
                    squares += du**2 + dv**2
                    lengths[b] += math.hypot(du, dv) / (pairs * height * width)
                    zeros[b] += math.hypot(*batch.flow[b, t, :, y, x].tolist()) / (pairs * height * width)
    assert Flow().loss(output, batch).item() == pytest.approx(squares / batch.flow.numel() / pairs)
    errors = Flow().errors(output, batch)
    assert errors["flow_epe"].tolist() == pytest.approx(lengths.tolist())
    assert errors["flow_epe_zero"].tolist() == pytest.approx(zeros.tolist())


def test_landmarks_as_a_loop(output_and_batch):
    output, batch = output_and_batch
    clips, frames = batch.landmarks.shape[:2]
    loss, nme = 0.0, [0.0] * clips
    for t in range(frames):
        for b in range(clips):
            target, predicted = batch.landmarks[b, t], output.landmarks[b, t]
            left, right = (sum(target[i] for i in part) / 6 for part in (range(36, 42), range(42, 48)))
            distance = math.dist(left.tolist(), right.tolist())
            loss += (predicted - target).abs().sum().item() / (68 * distance) / clips
            for p, q in zip(predicted.tolist(), target.tolist(), strict=True):
                nme[b] += 100 * math.dist(p, q) / distance / 68 / frames
    assert Landmarks().loss(output, batch).item() == pytest.approx(loss)
    assert Landmarks().errors(output, batch)["landmarks_nme"].tolist() == pytest.approx(nme)


def test_a_perfect_prediction_costs_nothing(output_and_batch):
    _, batch = output_and_batch
    for task in (Flow(), Landmarks()):
        assert task.loss(batch, batch).item() == 0
        assert all(not values.any() for name, values in task.errors(batch, batch).items() if "zero" not in name)


def test_interocular_distance_is_between_the_eye_centres():
    landmarks = torch.zeros(68, 2)
    landmarks[36:42] = torch.tensor([1.0, 2.0])
    landmarks[42:48] = torch.tensor([4.0, 6.0])
    assert interocular(landmarks).item() == pytest.approx(5)
