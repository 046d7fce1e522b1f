"""The networks: plain PyTorch modules."""

from mefusion.models.baselines import Majority, OFFApexNet, SSSNet, STSTNet
from mefusion.models.fdp import FDP
from mefusion.models.mol import MOL

__all__ = ["FDP", "MOL", "Majority", "OFFApexNet", "SSSNet", "STSTNet"]
