"""What a user sees of a spotted recording: a page to look at, and the video with what was found drawn on it."""

from mefusion.report.recording.overlay import Painter, write_overlay
from mefusion.report.recording.page import RecordingFacts, write_page

__all__ = ["Painter", "RecordingFacts", "write_overlay", "write_page"]
