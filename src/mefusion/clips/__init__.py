"""The clip table, frames, motion and the cache of prepared clips."""
