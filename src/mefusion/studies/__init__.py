"""Studies: one configuration run over all its folds and seeds, and its results on disk."""
