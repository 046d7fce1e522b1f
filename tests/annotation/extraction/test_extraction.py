import json

import av
import numpy as np
import pandas as pd
import pytest
import skimage.data
from fake_conversations import RATE, babble, converse, monologue, quiet_settings, write_media
from fake_networks import write_network
from fake_videos import turn_metadata, write_sound, write_video
from PIL import Image

from mefusion.annotation.extraction.extraction import extract, read_segments, write_rejected
from mefusion.annotation.extraction.media import read_sound
from mefusion.annotation.extraction.settings import ExtractSettings, IdentitySettings, SpeakerSettings
from mefusion.annotation.extraction.speaker import face_picture
from mefusion.annotation.extraction.tracks import read_track_rows
from mefusion.clips.stream import read_frames
from mefusion.commands.annotate import annotate
from tests.shared_files import MEDIA

TALK = babble(3)
PORTRAIT = np.ascontiguousarray(skimage.data.astronaut()[:240, 60:380])
EMPTY = np.full((120, 160, 3), 120, np.uint8)


def moved_out(step):
    """The portrait on its way out of the picture."""
    shift = min(40 * step, 319)
    return np.ascontiguousarray(np.pad(PORTRAIT, ((0, 0), (shift, 0), (0, 0)), mode="edge")[:, :320])


def run(source, output, *settings):
    return annotate([f"source.path={source}", f"output_dir={output}", "workers=1", "stage=extract", *settings])


def rejected(output):
    return pd.read_csv(output / "rejected.csv", keep_default_na=False)


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    """A video of one face that speaks."""
    return monologue(tmp_path_factory.mktemp("talk") / "talk.mp4")


@pytest.fixture(scope="module")
def extracted(talk, tmp_path_factory):
    output = tmp_path_factory.mktemp("extracted")
    assert run(talk, output) == 0
    return output


def test_the_speaker_of_a_video_becomes_a_segment(talk, extracted):
    (segment,) = read_segments(extracted)
    assert (segment.name, segment.video, segment.path) == ("talk-001", "talk", talk)
    assert segment.start == pytest.approx(0.2, abs=0.15)
    assert segment.end == pytest.approx(3.1, abs=0.2)
    assert (segment.track, segment.subject) == (1, "person001")
    assert segment.articulation > 0.02
    assert segment.sync > 0.5
    assert len(rejected(extracted)) == 0
    folder = extracted / "videos" / "talk"
    assert {file.name for file in folder.iterdir()} == {
        *("DONE", "embeddings.parquet", "media.json", "faces", "segments.parquet", "tracks.parquet")
    }
    (row,) = pd.read_csv(extracted / "identities.csv").to_dict("records")
    with Image.open(extracted / row["face"]) as face:
        assert 100 < face.width == face.height <= 192
    rows = read_track_rows(folder / "tracks.parquet", 0, 9)
    assert rows["frame"].tolist() == [*range(85)]
    assert rows["detected"].sum() == 17  # 5 Hz
    assert "source:" in (extracted / "config.yaml").read_text()


def test_what_is_done_is_not_read_again_unless_settings_change(talk, extracted, capsys):
    done = extracted / "videos" / "talk" / "DONE"
    before = done.stat().st_mtime_ns
    assert run(talk, extracted) == 0
    assert done.stat().st_mtime_ns == before
    assert capsys.readouterr().out.endswith(
        "1 segments of 1 subjects, 3 s; 0 rejected, see " + str(extracted / "rejected.csv\n")
    )
    (extracted / "videos" / "talk" / "DONE").unlink()  # as if it had been interrupted
    (extracted / "videos" / "talk" / "segments.parquet").write_text("half")
    assert run(talk, extracted) == 0
    assert len(read_segments(extracted)) == 1


def test_a_corrected_subject_is_read_again(talk, extracted):
    table = pd.read_csv(extracted / "identities.csv")
    table.assign(subject="Ada").to_csv(extracted / "identities.csv", index=False)
    assert run(talk, extracted) == 0
    assert read_segments(extracted)[0].subject == "Ada"


def test_rows_of_other_stages_stay(tmp_path):
    whole, part = {"video": "NA", "reason": "no sound"}, {"video": "a", "segment": "a-1", "start": 1.0, "end": 2.5}
    write_rejected(tmp_path, "extract", [whole])
    write_rejected(tmp_path, "label", [{**part, "reason": "refused"}])
    write_rejected(tmp_path, "label", [{**part, "reason": "invalid"}])
    lines = (tmp_path / "rejected.csv").read_text().splitlines()
    assert lines == ["stage,video,segment,start,end,reason", "extract,NA,,,,no sound", "label,a,a-1,1.0,2.5,invalid"]
    write_rejected(tmp_path, "extract", [])
    assert (tmp_path / "rejected.csv").read_text().splitlines() == [lines[0], lines[2]]


def test_each_failure_is_said_and_the_others_go_on(talk, tmp_path, capsys):
    source = tmp_path / "videos"
    source.mkdir()
    (source / "text.mp4").write_text("no video")
    (source / "empty.mp4").touch()
    write_sound(source / "sound.mp4")
    write_video(source / "mute.mp4", [EMPTY] * 10)
    write_media(source / "noise.mp4", [EMPTY] * 30, 0.05 * np.random.default_rng(0).standard_normal(3 * RATE), fps=10)
    write_media(source / "nobody.mp4", [EMPTY] * 30, TALK, fps=10)
    write_media(source / "still.mp4", [PORTRAIT] * 30, TALK, fps=10)
    write_media(source / "leaves.mp4", [*[PORTRAIT] * 15, *map(moved_out, range(15))], TALK, fps=10)
    (source / "talk.mp4").write_bytes(talk.read_bytes())
    assert run(source, tmp_path / "out") == 1
    printed = capsys.readouterr()
    assert sorted(printed.err.splitlines()) == [
        f"mefusion-annotate: {source / name}.mp4 cannot be read as a video: replace the file"
        for name in ("empty", "text")
    ]
    assert "1 segments of 1 subjects, 3 s; 6 rejected" in printed.out
    table = rejected(tmp_path / "out")
    assert (table["stage"] == "extract").all()
    assert dict(zip(table["video"], table["reason"], strict=True)) == {
        "sound": "no picture",
        "mute": "no sound",
        "noise": "no speech",
        "nobody": "no face",
        "still": "nobody articulates",
        "leaves": "no face is seen throughout",
    }
    assert table.set_index("video")["segment"]["still"] == "still-001"
    assert [segment.video for segment in read_segments(tmp_path / "out")] == ["talk"]


def test_a_video_that_breaks_midway_is_used_up_to_there_only_if_allowed(tmp_path, capsys):
    whole = monologue(tmp_path / "whole.mkv", seconds=6.0)
    content = whole.read_bytes()
    source = tmp_path / "broken"
    source.mkdir()
    (source / "half.mkv").write_bytes(content[: int(0.62 * len(content))])
    assert run(source, tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert "half.mkv is damaged" in told
    assert "give allow_broken=true to use it up to there" in told
    assert not (tmp_path / "out" / "videos" / "half" / "DONE").exists()
    assert run(source, tmp_path / "out", "allow_broken=true") == 0
    assert len(read_segments(tmp_path / "out")) == 1
    facts = json.loads((tmp_path / "out" / "videos" / "half" / "media.json").read_text())
    assert "is damaged or cut off" in facts["problems"][0]


def test_sound_that_begins_late_is_where_it_is_seen(tmp_path):
    recording, sound = converse(
        [(0, 1.3, 4.0)], quiet_settings(faces=1, width=320, height=240, face_size=224, seconds=4.4)
    )
    path = write_media(tmp_path / "late.mp4", recording, sound[RATE:], sound_start=1.0)
    assert not read_sound(path, 0, 0.9).any()
    assert run(path, tmp_path / "out") == 0
    (segment,) = read_segments(tmp_path / "out")
    assert segment.start == pytest.approx(1.2, abs=0.15)
    assert segment.sync > 0.5


def test_a_network_sees_the_faces_of_a_segment(talk, tmp_path):
    path = write_network(tmp_path / "asd.onnx")
    assert run(talk, tmp_path / "out", "speaker=onnx", f"speaker.path={path}") == 0
    (row,) = pd.read_parquet(tmp_path / "out" / "videos" / "talk" / "segments.parquet").to_dict("records")
    rows = read_track_rows(tmp_path / "out" / "videos" / "talk" / "tracks.parquet", row["start"], row["end"])
    frames = [frame.grey for frame in read_frames(talk, rows["frame"])]
    boxes = rows[["left", "top", "right", "bottom"]].to_numpy(float)
    seen = [face_picture(grey, box) for grey, box in zip(frames, boxes, strict=True)]
    assert row["network"] == pytest.approx(np.mean(seen) - 100, abs=1)
    high = run(talk, tmp_path / "none", "speaker=onnx", f"speaker.path={path}", f"speaker.score={row['network'] + 1}")
    assert high == 0
    assert rejected(tmp_path / "none")["reason"].tolist() == ["nobody articulates"]


@pytest.fixture
def all_is_speech(monkeypatch):
    monkeypatch.setattr("mefusion.annotation.extraction.video.make_detector", lambda settings: lambda window: 1.0)


def first_rows(path, output):
    extract(path, output, ExtractSettings(), IdentitySettings(), workers=1, quiet=True)
    return read_track_rows(output / "videos" / path.stem / "tracks.parquet", 0, 9)


@pytest.mark.parametrize("degrees", [90, 180])
def test_a_turned_video_is_seen_upright(tmp_path, all_is_speech, degrees):
    pictures = [np.rot90(PORTRAIT, degrees // 90)] * 22
    path = write_media(tmp_path / "turned.mp4", pictures, np.zeros(35000), fps=10)
    turn_metadata(path, degrees)
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).rotation % 360
    rows = first_rows(path, tmp_path / "out")
    assert len(rows) == 22
    middle = (rows["left"] + rows["right"]).mean() / 2
    assert middle == pytest.approx(165, abs=25)


def test_odd_sizes_can_be_used(tmp_path, all_is_speech):
    pictures = [np.ascontiguousarray(PORTRAIT[:239, :319])] * 22
    path = write_media(tmp_path / "odd.mp4", pictures, np.zeros(35000), fps=10, pixels="yuv444p")
    assert len(first_rows(path, tmp_path / "out")) == 22
    embeddings = pd.read_parquet(tmp_path / "out" / "videos" / "odd" / "embeddings.parquet")
    assert len(embeddings) == 3


def test_a_track_ends_at_a_cut(tmp_path, all_is_speech):
    other = np.ascontiguousarray(PORTRAIT[:, ::-1])
    pictures = [PORTRAIT] * 12 + [255 - other] * 1 + [other] * 12
    path = write_media(tmp_path / "cut.mp4", [*pictures[:12], *pictures[13:]], np.zeros(39000), fps=10)
    rows = first_rows(path, tmp_path / "out")
    tracks = rows.groupby("track")["time"].agg(["min", "max"]).to_numpy()
    assert tracks == pytest.approx(np.array([[0, 1.1], [1.2, 2.3]]))
    assert rows.groupby("track")["scene"].nunique().tolist() == [1, 1]


@pytest.mark.skipif(not MEDIA.is_dir(), reason="the videos are not here")
def test_real_videos_without_speech_are_rejected(tmp_path):
    assert run(MEDIA, tmp_path / "out") == 0
    assert rejected(tmp_path / "out")["reason"].tolist() == ["no speech"] * 3


@pytest.mark.skipif(not MEDIA.is_dir(), reason="the videos are not here")
def test_faces_of_real_videos_are_followed(tmp_path, all_is_speech):
    settings = ExtractSettings(speaker=SpeakerSettings(articulation=0.0))
    extract(MEDIA, tmp_path, settings, IdentitySettings(), workers=1, quiet=True)
    assert [segment.name for segment in read_segments(tmp_path)] == ["face_noface-001", "single_face-001"]
    reasons = rejected(tmp_path).set_index("segment")["reason"]
    assert reasons.to_dict() == {"face_noface-002": "no face", "no_face-001": "no face"}
    facts = json.loads((tmp_path / "videos" / "face_noface" / "media.json").read_text())
    assert facts["cuts"] == pytest.approx([2.43], abs=0.01)


@pytest.mark.slow
def test_in_a_conversation_the_right_face_speaks_in_each_segment(tmp_path):
    turns = [(0, 0.8, 3.4), (1, 4.4, 7.0), (1, 8.0, 10.6), (0, 11.6, 14.2)]
    write_media(tmp_path / "two.mp4", *converse(turns, quiet_settings(seconds=15)))
    assert run(tmp_path / "two.mp4", tmp_path / "out") == 0
    segments = read_segments(tmp_path / "out")
    assert len(segments) == 4
    for segment, (face, start, end) in zip(segments, turns, strict=True):
        assert (segment.start, segment.end) == pytest.approx((start, end), abs=0.3)
        rows = read_track_rows(
            tmp_path / "out" / "videos" / "two" / "tracks.parquet", segment.start, segment.end, track=segment.track
        )
        assert (rows["left"].mean() > 320) == bool(face)
    assert len({segment.subject for segment in segments}) == 2  # they are seen together


@pytest.mark.slow
def test_a_person_is_one_subject_over_videos(tmp_path):
    (tmp_path / "videos").mkdir()
    for number in (0, 1):  # two pseudo-subjects of one portrait
        monologue(tmp_path / "videos" / f"{number}.mp4", subject=number, seed=number)
    assert run(tmp_path / "videos", tmp_path / "out", "workers=2") == 0
    assert [segment.subject for segment in read_segments(tmp_path / "out")] == ["person001", "person001"]
