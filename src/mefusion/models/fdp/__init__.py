"""FDP (arXiv 2509.06015): recognition with rank pooling and the dynamic image."""

from mefusion.models.fdp.network import FDP, FDPOutput

__all__ = ["FDP", "FDPOutput"]
