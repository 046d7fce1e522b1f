"""The baselines as LightningModules."""

from mefusion.training.module import MERModule
from mefusion.windows.datamodule import Statistics


class BaselineModule(MERModule):
    """Recognition from onset-apex flow images."""

    view = "flow_image"


class MajorityModule(BaselineModule):
    """The majority class, which is known before any training."""

    def initialise(self, statistics: Statistics) -> None:
        """Count the training subjects' clips."""
        self.network.count(statistics.class_counts)  # type: ignore[operator]
