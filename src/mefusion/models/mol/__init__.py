"""MOL (arXiv 2506.14511): recognition with optical flow and landmarks."""

from mefusion.models.mol.network import MOL, MOLOutput

__all__ = ["MOL", "MOLOutput"]
