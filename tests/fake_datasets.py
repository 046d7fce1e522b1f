"""Small datasets of recordings in which something is to be found."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from fake_recordings import Event, write_recording
from imitations.samm_long import Coded, write_samm_long
from PIL import Image

from mefusion.commands.spot import main as spot
from mefusion.datasets.recordings.synthetic_long import SyntheticRecordings

MOUTH = Event(1, 20, 25, 31, ("mouth_lower",), 4.0)
"""A micro-expression that spotting finds, in frames of 1/30 s."""

FRAMES = 60
REPEATED = 7
"""Each frame of 1/30 s is so many of 1/200 s, nearly: 60 of them take 2.1 s."""


def ran(*arguments: object) -> int | str | None:
    """`mefusion-spot` with one worker; returns its exit code, or the sentence that it ends with."""
    with pytest.raises(SystemExit) as ended:
        spot([*map(str, arguments), "workers=1"])
    return ended.value.code


def only(folder: Path) -> Path:
    """The only study in a folder."""
    (study,) = [path for path in folder.iterdir() if path.is_dir()]
    return study


def write_face(folder: Path) -> Path:
    """A video of 2 s in which `MOUTH` is to be found."""
    return write_recording(folder, [MOUTH], np.arange(FRAMES) / 30).video


def write_samm(folder: Path, video: Path) -> None:
    """SAMM Long Videos of three people.

    006_1 shows a micro-expression that is found. 006_2 and 007_1 show no face; the latter is said to have one too. A
    frame of 008_1 is no picture.
    """
    onset, offset = (REPEATED * number + 1 for number in (MOUTH.onset, MOUTH.offset))
    rows = [
        Coded("006_1_1", onset, onset + 40, offset),
        Coded("007_1_1", 11, 20, 40),
        Coded("008_1_1", 11, 20, 30, "Macro"),
    ]
    grey = {"006_2": range(1, 81), "007_1": range(1, 81), "008_1": range(1, 41)}
    write_samm_long(folder, rows, grey)
    (folder / "SAMM_longvideos" / "008_1" / "008_1_0001.jpg").write_bytes(b"no picture")
    target = folder / "SAMM_longvideos" / "006_1"
    target.mkdir()
    with av.open(str(video)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            first = target / f"006_1_{REPEATED * number + 1:04d}.jpg"
            Image.fromarray(frame.to_ndarray(format="rgb24")).save(first, quality=95)
            for again in range(1, REPEATED):
                shutil.copy(first, target / f"006_1_{REPEATED * number + 1 + again:04d}.jpg")


SYNTHETIC = ("data.subjects=3", "data.takes=1", "data.seconds=8")


def write_synthetic(root: Path, video: Path, emotions: Sequence[str | None]) -> list[str]:
    """A set as if it were rendered: of each pseudo-subject the same video, in which an emotion is acted.

    Returns:
        Overrides of `mefusion-spot`.
    """
    source = SyntheticRecordings(root=str(root), **_conf(), subjects=3, takes=1)
    folder = source.folder
    folder.mkdir(parents=True)
    rows = []
    for number, emotion in enumerate(emotions, 1):
        name = f"sub{number:02d}_01"
        shutil.copy(video, folder / f"{name}.mp4")
        event = {"kind": "micro", "onset": MOUTH.onset, "apex": MOUTH.apex, "offset": MOUTH.offset}
        event |= {"emotion": emotion, "action_units": "12", "face": 0, "subject": name[:5], "amplitude": 2.0}
        pd.DataFrame([event]).to_csv(folder / f"{name}.events.csv", index=False)
        rows.append(("synthetic_long", f"synthetic_long/{name[:5]}", name, f"{name}.mp4", 30.0, FRAMES))
    columns = ["dataset", "subject", "recording", "path", "fps", "frames"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "recordings.csv", index=False)
    return ["data=synthetic_long", f"data.root={root}", *SYNTHETIC]


def _conf() -> dict[str, object]:
    """The other settings of conf/data/synthetic_long.yaml."""
    import yaml

    from mefusion.configuration.cli import configuration_folder

    text = (configuration_folder("conf") / "data" / "synthetic_long.yaml").read_text()
    given = ("_target_", "name", "root", "subjects", "takes")
    return {name: value for name, value in yaml.safe_load(text).items() if name not in given} | {"seconds": 8}
