"""The networks: plain PyTorch modules."""

from mefusion.models.fdp import FDP
from mefusion.models.mol import MOL

__all__ = ["FDP", "MOL"]
