"""Which tracks, of all videos, are one person's: the subject of their clips.

A person who is taken for two would be trained on and tested at once. So doubtful cases are listed in `identities.csv`,
where the user corrects the column `subject`.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist, squareform

from mefusion.annotation.extraction.settings import Identity, IdentitySettings
from mefusion.common.errors import MefusionError
from mefusion.common.files import is_irregular, write_table

NEVER = 1e9  # distance of two tracks that are seen at the same time
COLUMNS = ("subject", "video", "track", "start", "end", "segments", "face", "doubt", "assigned")
"""Columns of `identities.csv`: a row for each track that speaks; `face` is a picture, `assigned` what was found."""

Track = tuple[str, int]  # video, number


def assign_subjects(
    tracks: pd.DataFrame, embeddings: np.ndarray, settings: IdentitySettings, file: Path
) -> dict[Track, str]:
    """Find the subject of each track and write `identities.csv`; what the user has corrected there stays.

    Args:
        tracks: video, track, start, end (s), segments (number of them); a row each.
        embeddings: [tracks, 128], mean of each track; NaN where there is none.
        settings: of identity.
        file: the table.

    Returns:
        The subject of each track.

    Raises:
        MefusionError: the table is there and cannot be read.
    """
    known = _read(file) if file.exists() else pd.DataFrame(columns=[*COLUMNS])
    if not len(tracks):
        return {}
    if settings.name == Identity.none:
        table = tracks.assign(assigned=tracks["video"], doubt="")
    else:
        distances = distances_of(tracks, embeddings)
        clusters = cluster(distances, settings.distance)
        table = tracks.assign(assigned=_names(tracks, clusters, known))
        table["doubt"] = _doubts(table, clusters, distances, settings)
    corrected = known[known["subject"] != known["assigned"]]
    corrections = dict(zip(_keys(corrected), corrected["subject"], strict=True))
    table["subject"] = [corrections.get(key, name) for key, name in zip(_keys(table), table["assigned"], strict=True)]
    table["face"] = [f"videos/{video}/{face_file(track)}" for video, track, _ in _keys(table)]
    write_table(file, table[[*COLUMNS]].sort_values(["subject", "video", "track"]).round({"start": 2, "end": 2}))
    return _by_track(table)


def face_file(track: int) -> str:
    """File of a track's picture, in the folder of its video."""
    return f"faces/{track}.jpg"


def read_subjects(file: Path) -> dict[Track, str]:
    """The subject of each track, as `identities.csv` has it.

    Raises:
        MefusionError: the table is not there, or cannot be read.
    """
    if is_irregular(file) or not file.exists():
        raise MefusionError(f"{file} is not there: run stage=extract first")
    return _by_track(_read(file))


def distances_of(tracks: pd.DataFrame, embeddings: np.ndarray) -> np.ndarray:
    """Distances [n, n] of tracks; `NEVER` for two that are seen at the same time, or if one has no embedding."""
    distances = squareform(pdist(embeddings)) if len(tracks) > 1 else np.zeros((1, 1))
    video, start, end = (tracks[name].to_numpy() for name in ("video", "start", "end"))
    together = (video[:, None] == video) & (start[:, None] <= end) & (start <= end[:, None])
    distances[together | np.isnan(distances)] = NEVER
    np.fill_diagonal(distances, 0)
    return distances


def cluster(distances: np.ndarray, limit: float) -> np.ndarray:
    """Number of the cluster of each track, from 1: average linkage up to a mean distance of `limit`.

    Args:
        distances: [n, n].
        limit: of the mean distance of two clusters that are joined.
    """
    if len(distances) < 2:
        return np.ones(len(distances), int)
    return fcluster(linkage(squareform(distances, checks=False), "average"), limit, "distance")


def _names(tracks: pd.DataFrame, clusters: np.ndarray, known: pd.DataFrame) -> list[str]:
    """A name for each track's cluster: the one that most of its tracks had before, or a new one."""
    before = dict(zip(_keys(known), known["assigned"], strict=True))
    keys = _keys(tracks)
    names: dict[int, str] = {}
    order = dict.fromkeys(clusters.tolist())
    for number in order:
        held = Counter(before[key] for key, own in zip(keys, clusters, strict=True) if own == number and key in before)
        free = [name for name, _ in held.most_common() if name not in names.values()]
        if free:
            names[number] = free[0]
    taken, count = {*names.values(), *known["assigned"], *known["subject"]}, 0
    for number in order:
        while number not in names:
            count += 1
            if (name := f"person{count:03d}") not in taken:
                names[number] = name
    return [names[number] for number in clusters.tolist()]


def _doubts(table: pd.DataFrame, clusters: np.ndarray, distances: np.ndarray, settings: IdentitySettings) -> list[str]:
    """What to look at: another subject that is near, or a track far from the others of its subject."""
    near, far = settings.doubtful, 2 * settings.distance - settings.doubtful
    numbers = dict(zip(clusters.tolist(), table["assigned"], strict=True))
    doubts = []
    for place, own in enumerate(clusters.tolist()):
        told = []
        for number, name in numbers.items():
            members = np.flatnonzero((clusters == number) & (np.arange(len(clusters)) != place))
            mean = float(distances[place, members].mean()) if len(members) else 0.0
            if near <= mean <= far:
                told.append(f"{'the same as others of' if number == own else 'perhaps'} {name}? ({mean:.2f})")
        doubts.append("; ".join(told))
    return doubts


def _read(file: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
        missing = [name for name in ("subject", "video", "track", "start", "assigned") if name not in table]
        if missing:
            raise MefusionError(
                f"{file} lacks the column {missing[0]}: restore it, or delete the file and extract again"
            )
        table = table.astype({"track": int, "start": float})
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise MefusionError(f"{file} cannot be read ({str(error).strip()}): delete it, and extract again") from error
    table["subject"] = table["subject"].str.strip()
    if (empty := table["subject"] == "").any():
        row = table[empty].iloc[0]
        raise MefusionError(f"{file} has no subject for track {row['track']} of {row['video']}: fill it in")
    return table


def _keys(table: pd.DataFrame) -> list[tuple[str, int, float]]:
    """What a track is known again by: if a video is extracted anew, its tracks get other numbers and times."""
    return [
        (str(video), int(track), round(float(start), 2))
        for video, track, start in zip(table["video"], table["track"], table["start"], strict=True)
    ]


def _by_track(table: pd.DataFrame) -> dict[Track, str]:
    return {
        (str(video), int(track)): str(subject)
        for video, track, subject in zip(table["video"], table["track"], table["subject"], strict=True)
    }
