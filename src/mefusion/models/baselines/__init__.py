"""Small published networks on the flow from onset to apex, and the majority class."""

from mefusion.models.baselines.network import BaselineOutput, Majority, OFFApexNet, SSSNet, STSTNet

__all__ = ["BaselineOutput", "Majority", "OFFApexNet", "SSSNet", "STSTNet"]
