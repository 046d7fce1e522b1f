"""Clips: the clip table, their frames, their motion, and the cache of prepared clips."""
