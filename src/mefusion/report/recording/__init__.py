"""What a user sees of a spotted recording: a page to look at, and the video with what was found drawn on it."""
