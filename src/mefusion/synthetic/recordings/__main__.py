"""`python -m mefusion.synthetic.recordings FILE`: render a recording, to try the commands for recordings."""

import argparse
import sys
from pathlib import Path

from mefusion.common.errors import MefusionError


def main() -> None:
    """Render a recording of the default settings; its expressions are written beside it."""
    parser = argparse.ArgumentParser(
        prog="python -m mefusion.synthetic.recordings",
        description="Render a recording of a face with micro- and macro-expressions, blinks, speech and head motion.",
    )
    parser.add_argument("file", type=Path, help="the video, such as talk.mp4; talk.events.csv beside it is the truth")
    parser.add_argument("--seconds", type=float, default=30, help="length (default: 30)")
    parser.add_argument("--faces", type=int, default=1, help="number of faces (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="of the face and of what it does (default: 0)")
    arguments = parser.parse_args()
    from mefusion.synthetic.recordings import RecordingSettings, write_recording

    try:
        settings = RecordingSettings(seconds=arguments.seconds, faces=arguments.faces, seed=arguments.seed)
        recording = write_recording(arguments.file, settings)
    except MefusionError as error:
        sys.exit(f"{parser.prog}: {error}")
    micro, macro = ((recording.events["kind"] == kind).sum() for kind in ("micro", "macro"))
    print(f"{arguments.file}: {arguments.seconds:g} s with {micro} micro- and {macro} macro-expressions")


if __name__ == "__main__":
    main()
