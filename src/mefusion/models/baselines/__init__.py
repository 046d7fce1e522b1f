"""Small published networks on the flow from onset to apex."""

from mefusion.models.baselines.network import BaselineOutput, OFFApexNet, SSSNet, STSTNet

__all__ = ["BaselineOutput", "OFFApexNet", "SSSNet", "STSTNet"]
