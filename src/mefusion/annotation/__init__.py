"""Recordings into labelled clips: speech, faces, the speaker, and labels of a multimodal language model."""
