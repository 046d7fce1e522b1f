"""Use what was trained: bundles, and predictions of clips by them."""
