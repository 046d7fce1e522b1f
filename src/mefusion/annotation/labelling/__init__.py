"""Emotions of segments, as a multimodal language model names them. They are a model's labels, not truth."""
