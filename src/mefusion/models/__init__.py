"""The networks: plain PyTorch modules."""

from mefusion.models.mol import MOL

__all__ = ["MOL"]
