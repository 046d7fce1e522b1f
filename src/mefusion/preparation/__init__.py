"""From a clip's raw frames to what the models read."""
