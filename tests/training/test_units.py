"""The task of action units, by hand."""

import math
from types import SimpleNamespace

import pytest
import torch

from mefusion.training.units import ActionUnits


def clips(labels, logits):
    """A network's output and a batch of clips, all other units of which are unknown."""
    both = torch.full((len(labels), 12), -1.0), torch.zeros(len(labels), 12)
    for whole, values in zip(both, (labels, logits), strict=True):
        whole[:, : len(values[0])] = torch.tensor(values)
    return SimpleNamespace(action_units=both[1]), SimpleNamespace(targets={"action_units": both[0]})


def test_the_loss_is_the_mean_over_what_is_known():
    # Probabilities 3/4 of a present and of an absent unit, and 1/2 of a present one; the last clip has no coding.
    output, batch = clips([(1.0, 0.0), (1.0, -1.0), (-1.0, -1.0)], [(math.log(3), math.log(3)), (0.0, 9.0), (5.0, 5.0)])
    expected = (math.log(4 / 3) + math.log(4) + math.log(2)) / 3
    assert ActionUnits().loss(output, batch).item() == pytest.approx(expected)


def test_what_is_unknown_trains_nothing():
    output, batch = clips([(1.0, -1.0), (-1.0, -1.0)], [(0.0, 9.0), (5.0, 5.0)])
    logits = output.action_units.requires_grad_()
    ActionUnits().loss(output, batch).backward()
    assert logits.grad.nonzero().tolist() == [[0, 0]]


def test_a_batch_without_any_coding_has_no_loss():
    output, batch = clips([(-1.0,)], [(3.0,)])
    assert ActionUnits().loss(output, batch).item() == 0


def test_rare_units_weigh_by_the_square_root():
    # Unit 1 in 1 of 10 coded clips: sqrt(9 / 1) = 3. Unit 2 in half of them: 1. Unit 4 never: sqrt(10 / .5).
    counts = torch.tensor([[9, 1], [5, 5], [10, 0], *[[1, 1]] * 9])
    task = ActionUnits.balanced(2.0, counts)
    assert task.weight == 2
    assert task.positive_weights[:3].tolist() == pytest.approx([3, 1, math.sqrt(20)])
    output, batch = clips([(1.0, 0.0)], [(0.0, 0.0)])
    assert task.loss(output, batch).item() == pytest.approx((3 * math.log(2) + math.log(2)) / 2)


def test_its_columns_are_probabilities_and_labels():
    output, batch = clips([(1.0, 0.0)], [(math.log(3), 0.0)])
    errors = ActionUnits().errors(output, batch)
    assert list(errors) == list(ActionUnits.report.columns)
    assert [errors[name].item() for name in ("unit_1", "unit_2", "unit_1_label", "unit_2_label", "unit_4_label")] == (
        pytest.approx([0.75, 0.5, 1, 0, -1])
    )
