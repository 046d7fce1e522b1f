"""Clip tables, sources, faces, motion, cache and the data module."""
