"""Readers of official downloads, one a file; each gives a clip table."""
