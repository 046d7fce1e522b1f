"""Measurements of `mefusion-bench`: time, memory, parameters and FLOPs of models."""
