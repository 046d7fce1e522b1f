"""The task of facial action units."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mefusion.common.units import UNIT_TASK, UNITS, UNKNOWN
from mefusion.evaluation.measures import Measure, TaskReport
from mefusion.processes.distributed import mean_over_processes, processes
from mefusion.training.losses import Task
from mefusion.windows.store import Batch


@dataclass(frozen=True)
class ActionUnits(Task):
    """Binary cross-entropy of each facial action unit, averaged over what is known of the batch's clips.

    With several processes, the batch is that of all of them.

    Attributes:
        positive_weights: [units], factor of the loss where a unit is present.
    """

    report = TaskReport(
        measures=(
            Measure("unit_f1", "mean F1 of units", entry="f1", lower_is_better=False),
            Measure("unit_f1_reference", "F1 of all units everywhere", entry="reference", lower_is_better=None),
            Measure("clips_without_units", "clips without units", ".0f", entry="left_out", lower_is_better=None),
        ),
        headline="mean F1 of action units {unit_f1} (all units in all clips {unit_f1_reference}; left out are "
        "{clips_without_units} clips without a coding)",
        note="Mean F1 of units: mean over the action units that occur in the test clips, of F1 for being present, "
        "pooled over all folds; a unit is predicted where its probability is above .5. F1 of all units everywhere: "
        "that of predicting every unit in every clip, which a network has to beat. Clips without units: those whose "
        "coding is missing; they neither train the units nor count.",
        units=tuple(UNITS),
    )

    positive_weights: Tensor | None = None

    @classmethod
    def balanced(cls, weight: float, unit_counts: Tensor) -> "ActionUnits":
        """The task with weights for rare units: sqrt(clips without the unit / clips with it).

        The square root is a compromise between no weight, which favours predicting no rare unit at all, and the full
        ratio; it was not tuned.

        Args:
            weight: of the task.
            unit_counts: [units, 2] training clips without and with each unit.
        """
        # A unit that never occurs counts as half a clip, so that its weight is finite.
        without, present = unit_counts.float().clamp(min=0.5).unbind(1)
        return cls(weight, positive_weights=(without / present).sqrt())

    def loss(self, output: Any, batch: Batch) -> Tensor:
        """See `Task.loss`."""
        labels, logits = batch.targets[UNIT_TASK], output.action_units
        weights = None if self.positive_weights is None else self.positive_weights.to(logits, non_blocking=True)
        known = labels != UNKNOWN
        entropy = F.binary_cross_entropy_with_logits(logits, labels.clamp(min=0), pos_weight=weights, reduction="none")
        return torch.where(known, entropy, 0).sum() / mean_over_processes(known.sum()).clamp(min=1 / processes())

    def errors(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        """Probability of each unit, and its label: see `mefusion.evaluation.units`."""
        values = torch.cat([output.action_units.float().sigmoid(), batch.targets[UNIT_TASK]], dim=1)
        return dict(zip(self.report.columns, values.unbind(1), strict=True))
