import numpy as np
import pandas as pd

from mefusion.annotation.extraction.tracks import LANDMARKS, TRACK_COLUMNS, Followed, read_track_rows, write_tracks

NEAR, AWAY = (100, 100, 200, 200), (400, 100, 500, 200)


def pieces(file, *parts):
    """Write pieces: number, box, first and last time; at 10 frames/s, every second one is detected."""
    rows = []
    for piece, box, first, last in parts:
        for frame in range(round(10 * first), round(10 * last) + 1):
            rows.append((piece, 0, frame, frame / 10, *box, frame % 2 == 0, *[float(frame)] * 136))
    table = pd.DataFrame(rows, columns=[*TRACK_COLUMNS]).astype(TRACK_COLUMNS).sort_values("time", kind="stable")
    table.to_parquet(file, index=False)


def tracked(folder, *parts, cuts=(), embeddings=()):
    pieces(folder / "pieces.parquet", *parts)
    found = Followed([*cuts], 100, 10.0, [(piece, time, np.ones(128)) for piece, time in embeddings])
    return write_tracks(folder / "pieces.parquet", folder, found)


def test_pieces_at_one_place_with_a_short_gap_are_one_track(tmp_path):
    spans = tracked(tmp_path, (0, NEAR, 0, 2), (1, NEAR, 2.9, 4), (2, NEAR, 5.2, 7), (3, AWAY, 2.5, 4))
    assert spans == {1: (0, 4), 2: (2.5, 4), 3: (5.2, 7)}


def test_two_faces_at_once_are_two_tracks(tmp_path):
    assert tracked(tmp_path, (0, NEAR, 0, 2), (1, (110, 100, 210, 200), 1, 3)) == {1: (0, 2), 2: (1, 3)}


def test_a_cut_divides_a_piece_and_its_description(tmp_path):
    spans = tracked(tmp_path, (0, NEAR, 0, 4), cuts=[2.0], embeddings=[(0, 1.0), (0, 2.0), (0, 3.0)])
    assert spans == {1: (0, 1.9), 2: (2, 4)}
    rows = read_track_rows(tmp_path / "tracks.parquet", 0, 9)
    assert rows.groupby("track")["scene"].unique().tolist() == [[0], [1]]
    assert [*rows.columns] == [*TRACK_COLUMNS]
    assert (rows[LANDMARKS[5]] == rows["frame"]).all()
    assert pd.read_parquet(tmp_path / "embeddings.parquet")["track"].tolist() == [1, 2, 2]


def test_what_is_detected_twice_only_is_no_track(tmp_path):
    assert tracked(tmp_path, (0, NEAR, 0, 0.3), (1, AWAY, 0, 0.4)) == {1: (0, 0.4)}
    assert tracked(tmp_path) == {}
    assert len(read_track_rows(tmp_path / "tracks.parquet", 0, 9)) == 0


def test_rows_of_a_time_and_a_track_can_be_read(tmp_path):
    tracked(tmp_path, (0, NEAR, 0, 4), (1, AWAY, 0, 4))
    rows = read_track_rows(tmp_path / "tracks.parquet", 1.0, 2.0, track=2)
    assert rows["frame"].tolist() == [*range(10, 20)]
    assert (rows["left"] == AWAY[0]).all()
