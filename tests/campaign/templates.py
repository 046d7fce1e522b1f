"""Folders that cases begin with. Each is made once, by the real commands, and copied for every case.

The name of a manifest's cache depends on where the manifest lies. So each job makes its own copy of those templates, in
the folder where its cases run.
"""

import shutil
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from PIL import Image

from .running import PATIENCE, Server

DATA = ("data.subjects=2", "data.clips_per_class=1", "data.frames=[8,9]")
SMALL = ("trainer=smoke", "model.network.image_size=64", "model.network.width=0.0625")
OWN = ("data=manifest", "data.root=own", "data.name=own", "clip_length=4")
FRAMES = 6  # of each own clip

Run = Callable[..., None]


def empty(folder: Path, run: Run) -> None:
    """Nothing."""


def prepared(folder: Path, run: Run) -> None:
    """data/ and cache/: 2 subjects x 3 classes x 1 clip, rendered and prepared."""
    run("mefusion-prepare", *DATA)


def studies(folder: Path, run: Run) -> None:
    """The same, and two complete studies: outputs/mol/<study> with checkpoints, and outputs/majority/<study>."""
    prepared(folder, run)
    run("mefusion-train", *DATA, *SMALL, "trainer.max_epochs=2", "output_dir=outputs/mol")
    run("mefusion-train", *DATA, "model=majority", "output_dir=outputs/majority")


def interrupted(folder: Path, run: Run) -> None:
    """The same, but fold 2 of outputs/mol/<study> is trained and not predicted yet."""
    studies(folder, run)
    (study,) = folder.glob("outputs/mol/mol_tiny*")
    for name in ("predictions.parquet", "summary.json"):
        (study / name).unlink()
    for name in ("DONE", "predictions.parquet", "examples.safetensors", "fold.json"):
        (study / "folds" / "synthetic-sub02" / name).unlink()


def own(folder: Path, run: Run) -> None:
    """own/manifest.csv with 2 subjects x 3 emotions, own/frames, a video, own/landmarks; and cache/.

    It is prepared with faces=none and with faces=precomputed.
    """
    write_own(folder / "own")
    for faces in ("none", "precomputed"):
        run("mefusion-prepare", *OWN, f"faces={faces}", "workers=1")


def download(folder: Path, run: Run) -> None:
    """download/: CASME II as it is downloaded, with 2 subjects x 5 emotions and grey frames."""
    sys.path.append(str(Path(__file__).parents[1]))  # where the imitations of the tests are
    from imitations import write_small

    write_small("casme2", folder / "download", subjects=2, clips_per_class=1, frames=(12, 12))


def recordings(folder: Path, run: Run) -> None:
    """videos/face.mp4, a second of a rendered face, and its result outputs/spot/face; an empty folder data."""
    from mefusion.synthetic.recordings import RecordingSettings, write_recording

    sys.path.append(str(Path(__file__).parents[1]))  # where `fake_videos` of the tests is
    still = {"micro_per_minute": 0, "macro_per_minute": 0, "blinks_per_minute": 0, "speech_per_minute": 0}
    write_recording(folder / "videos" / "face.mp4", RecordingSettings(seconds=1, width=320, height=256, **still))
    (folder / "data").mkdir(exist_ok=True)
    run("mefusion-spot", "videos/face.mp4", "--no-overlay")


def bundles(folder: Path, run: Run) -> None:
    """The same, and study/, trained on all subjects of a prepared set, its bundle/, and clips/ with a manifest."""
    recordings(folder, run)
    prepared(folder, run)
    run("mefusion-train", *DATA, *SMALL, "protocol=all", "output_dir=outputs/all")
    (study,) = folder.glob("outputs/all/mol_tiny*")
    study.rename(folder / "study")
    run("mefusion-export", "study", "--to", "bundle")
    (made,) = folder.glob("data/synthetic/*/manifest.csv")
    rows = pd.read_csv(made, dtype=str).iloc[:1]
    shutil.copytree(made.parent / rows["path"][0], folder / "clips" / rows["path"][0])
    rows.to_csv(folder / "clips" / "manifest.csv", index=False)


TEMPLATES = {
    "empty": empty,
    "prepared": prepared,
    "studies": studies,
    "interrupted": interrupted,
    "own": own,
    "download": download,
    "recordings": recordings,
    "bundles": bundles,
}
OF_A_PLACE = ("own",)
"""Templates whose caches have names that depend on where they are."""


class Templates:
    """Makes each template when it is first needed, and copies it.

    Args:
        folder: receives the templates that all jobs share.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, threading.Lock()

    def copy(self, name: str, place: Path, server: Server) -> None:
        """Put a copy of a template in a place, whatever was there.

        Raises:
            RuntimeError: a command that makes the template failed.
        """
        mine = place.with_name(f"{place.name}-{name}") if name in OF_A_PLACE else self._folder / name
        with self._lock:
            if not mine.exists():
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir(parents=True)
                TEMPLATES[name](place, _runner(place, server))
                shutil.copytree(place, half := mine.with_name(f"{mine.name}.half"), dirs_exist_ok=True)
                half.rename(mine)
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(mine, place)


def _runner(folder: Path, server: Server) -> Run:
    def run(*command: str) -> None:
        done = server.run(command, folder, seconds=PATIENCE)
        if done.code:
            raise RuntimeError(f"{' '.join(command)} ended with {done.code}: {done.err}")

    return run


def write_own(folder: Path) -> None:
    """Write the clips of the template `own`: a bright spot that moves, and made-up landmarks that move with it."""
    rows = []
    for subject in ("s1", "s2"):
        for number, emotion in enumerate(("negative", "positive", "surprise")):
            name = f"{subject}_{emotion}"
            video = name == "s2_surprise"
            path = Path("videos", f"{name}.avi") if video else Path("frames", subject, emotion)
            pictures = [_picture(time, number) for time in range(FRAMES)]
            (folder / path.parent).mkdir(parents=True, exist_ok=True)
            _write_video(folder / path, pictures) if video else _write_frames(folder / path, pictures)
            landmarks = folder / "landmarks" / f"{name}.npy"
            landmarks.parent.mkdir(exist_ok=True)
            np.save(landmarks, np.stack([face() + np.array([0.3 * time, 0]) for time in range(FRAMES)]))
            first = 0 if video else 1
            times = {"onset": first, "apex": first + 3, "offset": first + FRAMES - 1, "fps": 25}
            paths = {"path": path, "landmarks": landmarks.relative_to(folder)}
            rows.append({"clip_id": name, "subject": subject, "emotion": emotion, **paths, **times})
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)


def face() -> np.ndarray:
    """Made-up landmarks of a face, [68, 2] px of a picture of 64 px: jaw, brows, nose, eyes and mouth."""

    def arc(x: float, y: float, width: float, height: float, count: int, first: float, last: float) -> np.ndarray:
        angles = np.linspace(first, last, count) * np.pi
        return np.stack([x + width * np.cos(angles), y + height * np.sin(angles)], axis=1)

    eyes = [arc(x, 26, 4, 2, 6, 1, 2.7) for x in (22, 42)]
    brows = [arc(x, 22, 6, 3, 5, 1.1, 1.9) for x in (22, 42)]
    nose = [np.stack([np.full(4, 32.0), np.linspace(26, 36, 4)], axis=1), arc(32, 37, 4, 2, 5, 1, 0)]
    mouth = [arc(32, 46, 8, 4, 12, 1, 2.8), arc(32, 46, 5, 2, 8, 1, 2.8)]
    return np.concatenate([arc(32, 30, 22, 28, 17, 1, 0), *brows, *nose, *eyes, *mouth])


def _picture(time: int, number: int) -> np.ndarray:
    y, x = np.mgrid[:64, :64]
    spot = np.exp(-((x - 20 - 2 * time) ** 2 + (y - 20 - 8 * number) ** 2) / 60)
    grey = (90 + 20 * np.sin(x / 5) * np.cos(y / 7) + 120 * spot).clip(0, 255).astype(np.uint8)
    return np.stack([grey] * 3, axis=2)


def _write_frames(folder: Path, pictures: Sequence[np.ndarray]) -> None:
    folder.mkdir(parents=True)
    for number, picture in enumerate(pictures, 1):
        Image.fromarray(picture).save(folder / f"img{number:03d}.png")


def _write_video(path: Path, pictures: Sequence[np.ndarray]) -> None:
    height, width, _ = pictures[0].shape
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (width, height))
    for picture in pictures:
        writer.write(picture)
    writer.release()
