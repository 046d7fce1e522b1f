"""From Hydra's configuration to typed settings and the objects that they describe."""
