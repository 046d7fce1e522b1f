"""The networks: plain PyTorch modules."""

from mefusion.models.baselines import Majority, OFFApexNet, SSSNet, STSTNet
from mefusion.models.fdp import FDP
from mefusion.models.mol import MOL
from mefusion.models.references import HOOFSVM, FlowCNN, LinearFlow

__all__ = ["FDP", "HOOFSVM", "MOL", "FlowCNN", "LinearFlow", "Majority", "OFFApexNet", "SSSNet", "STSTNet"]
