"""`mefusion-report DIR...`: report studies with tables, confidence intervals, comparisons and figures."""

from mefusion.report.command import main

__all__ = ["main"]
