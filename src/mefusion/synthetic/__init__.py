"""Synthetic micro-expressions rendered from real portraits, with exact landmarks and flow."""
