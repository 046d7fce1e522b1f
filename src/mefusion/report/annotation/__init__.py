"""The page of an annotation run."""
