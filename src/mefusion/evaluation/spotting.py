"""Scores of spotting."""

MICRO_SECONDS = 0.5
"""A micro-expression lasts at most as long."""


def kind_of_duration(seconds: float) -> str:
    """`micro` or `macro`, by the duration; half a second is `micro`."""
    return "micro" if seconds <= MICRO_SECONDS + 1e-6 else "macro"
