"""Segments become clips, and the tables that other commands and people read."""
