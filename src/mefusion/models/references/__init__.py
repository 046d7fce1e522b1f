"""References: simple models of flow images that every network has to beat; two of them are fitted at once."""

from mefusion.models.references.flow_cnn import FlowCNN
from mefusion.models.references.hoof import HOOFSVM
from mefusion.models.references.linear import LinearFlow

__all__ = ["HOOFSVM", "FlowCNN", "LinearFlow"]
