"""The page that shows every clip of a cache, with what to look at."""

from mefusion.report.prepared.page import CheckedClip, check_clips, write_page

__all__ = ["CheckedClip", "check_clips", "write_page"]
