"""Faces, their landmarks, and alignment by them."""
