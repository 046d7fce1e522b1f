"""Find expressions in recordings, without training."""
