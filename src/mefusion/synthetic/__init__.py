"""Synthetic micro-expressions, rendered from real portraits, with known landmarks and flow."""
