"""`mefusion-report DIR...`: tables, intervals, comparisons and figures of studies."""

from mefusion.report.command import main

__all__ = ["main"]
