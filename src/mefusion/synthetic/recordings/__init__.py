"""Rendered recordings: long videos with spontaneous-looking faces, whose expressions are known to the frame.

for frame in Recording(RecordingSettings(seconds=60)).frames():
    ...  # frame.image, frame.landmarks
write_recording(Path("long.mp4"), RecordingSettings(seconds=60, faces=2))
"""

from mefusion.synthetic.recordings.scene import Recording, RecordingFrame
from mefusion.synthetic.recordings.settings import RecordingSettings
from mefusion.synthetic.recordings.video import write_recording

__all__ = ["Recording", "RecordingFrame", "RecordingSettings", "write_recording"]
