"""The networks: plain PyTorch modules."""

from mefusion.models.baselines import OFFApexNet, SSSNet, STSTNet
from mefusion.models.fdp import FDP
from mefusion.models.mol import MOL

__all__ = ["FDP", "MOL", "OFFApexNet", "SSSNet", "STSTNet"]
