"""Make typed settings from Hydra's configuration, and the objects that they describe."""
