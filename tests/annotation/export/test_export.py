import json
import wave

import numpy as np
import pandas as pd
import pytest
from fake_conversations import RATE, monologue

from mefusion.annotation.export.clips import window_around
from mefusion.annotation.export.export import export
from mefusion.annotation.extraction.contents import VideoContents, segment_pictures, segment_sound
from mefusion.annotation.extraction.extraction import read_segments
from mefusion.annotation.extraction.settings import ExportSettings
from mefusion.clips.video import read_clip
from mefusion.commands.annotate import annotate
from mefusion.common.errors import MefusionError
from mefusion.datasets.manifest import read_manifest
from mefusion.faces.landmark_files import read_landmarks
from mefusion.preparation.reading import read_raw_clip
from mefusion.preparation.settings import FaceSettings, PreparationSettings

LABELS = {
    "segment": "talk-001",
    "dominant": "Joy",
    "emotions": [{"label": "Joy", "intensity": 60.0}],
    "rationale": "A smile.",
    "n_runs": 5,
    "agreement": 0.8,
    "status": "ok",
}


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    return monologue(tmp_path_factory.mktemp("talk") / "talk.mp4")


@pytest.fixture(scope="module")
def output(talk, tmp_path_factory):
    """A run up to its clips."""
    output = tmp_path_factory.mktemp("output")
    assert annotate([f"source.path={talk}", f"output_dir={output}", "workers=1", "stage=extract"], quiet=True) == 0
    assert annotate([f"output_dir={output}", "workers=1", "stage=export"], quiet=True) == 0
    return output


def test_clips_are_pictures_sound_and_landmarks_of_the_segment(output):
    (segment,) = read_segments(output)
    clip = output / "clips" / "talk-001.mp4"
    frames, landmarks = read_clip(clip), read_landmarks(clip.with_suffix(".npy"))
    assert len(frames) == len(landmarks) == round((segment.end - segment.start) * 25)
    side = frames[0].shape[0]
    assert frames[0].shape == (side, side, 3)
    assert side % 2 == 0
    assert side <= 512
    assert np.isfinite(landmarks).all()
    assert (landmarks.mean(axis=1) > side / 4).all()
    assert (landmarks.mean(axis=1) < 3 * side / 4).all()
    with wave.open(str(clip.with_suffix(".wav"))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
        assert file.getnframes() == round((segment.end - segment.start) * RATE)


def test_the_manifest_can_be_prepared_with_the_landmarks_of_the_speaker(output):
    table = read_manifest(output / "manifest.csv", dataset="x", labelled=False)
    assert table["subject"].tolist() == ["annotated/person001"]
    assert table["fps"].tolist() == [25.0]
    assert 0 <= table["onset"][0] < table["apex"][0] < table["offset"][0]
    assert table["offset"][0] - table["onset"][0] == 25
    settings = PreparationSettings(backend="precomputed", faces=FaceSettings())
    raw = read_raw_clip(table.to_dict("records")[0], settings)
    assert len(raw.frames) == 26
    assert np.isfinite(raw.landmarks).all()


def test_clips_that_are_made_are_kept_and_subjects_are_read_again(output, capsys):
    before = (output / "clips" / "talk-001.mp4").stat().st_mtime_ns
    table = pd.read_csv(output / "identities.csv")
    table.assign(subject="Ada").to_csv(output / "identities.csv", index=False)
    assert annotate([f"output_dir={output}", "workers=1", "stage=export"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("1 clips in ")
    assert pd.read_csv(output / "manifest.csv")["subject"].tolist() == ["Ada"]
    assert (output / "clips" / "talk-001.mp4").stat().st_mtime_ns == before
    (output / "clips" / "talk-001.json").unlink()  # as if it had been interrupted
    assert annotate([f"output_dir={output}", "workers=1", "stage=export"], quiet=True) == 0
    assert (output / "clips" / "talk-001.mp4").stat().st_mtime_ns > before


def test_labels_are_mapped_and_told_to_be_a_model_s(output):
    export(output, pd.DataFrame([LABELS]), {"Joy": "happiness"}, ExportSettings(), workers=1, quiet=True)
    assert read_manifest(output / "manifest.csv", dataset="x")["emotion"].tolist() == ["happiness"]
    (line,) = (output / "annotations.jsonl").read_text().splitlines()
    annotation = json.loads(line)
    assert annotation["dominant"] == "Joy"
    assert annotation["mapped"] == "happiness"
    assert annotation["emotions"] == LABELS["emotions"]
    assert annotation["notice"] == "labels of a model, not truth"
    table = pd.read_parquet(output / "annotations.parquet")
    assert table["segment"].tolist() == ["talk-001"]
    assert table["path"].tolist() == ["clips/talk-001.mp4"]


def test_segments_without_a_label_are_rejected(output):
    refused = pd.DataFrame([{**LABELS, "dominant": None, "status": "refused"}])
    done = export(output, refused, {}, ExportSettings(), workers=1, quiet=True)
    assert (done.clips, done.rejected) == (0, 1)
    rejected = pd.read_csv(output / "rejected.csv").to_dict("records")
    assert [(row["stage"], row["segment"], row["reason"]) for row in rejected] == [("label", "talk-001", "refused")]
    export(output, pd.DataFrame([LABELS]), {}, ExportSettings(), workers=1, quiet=True)
    assert len(pd.read_csv(output / "rejected.csv")) == 0


def test_events_of_spotting_can_be_the_clips(output):
    done = export(output, None, {}, ExportSettings(events="spot"), workers=1, quiet=True)
    rows = pd.read_csv(output / "manifest.csv")
    assert done.clips == len(rows)
    assert rows["clip_id"].is_unique
    assert (rows["onset"] < rows["offset"]).all()
    if rows.empty:
        assert pd.read_csv(output / "rejected.csv")["reason"].tolist() == ["no motion of the face is found"]


def test_the_window_lies_around_the_largest_displacement_within_the_clip():
    times = 10 + np.arange(100) / 25
    moments = 10 + np.arange(120) / 30
    moved = np.zeros(120)
    moved[60] = 1.0
    assert window_around(moments, moved, times, 1.0) == pytest.approx((11.5, 12.0, 12.5))
    moved[2] = 5.0  # where no window fits
    assert window_around(moments, moved, times, 1.0) == pytest.approx((11.5, 12.0, 12.5))
    assert window_around(moments, moved, times, 60.0) == pytest.approx((10, 11.98, 13.96), abs=0.02)


def test_a_model_is_shown_the_segment_with_its_speaker_marked(output):
    (segment,) = read_segments(output)
    contents = VideoContents(output, size=160)
    pictures = contents.pictures(segment)
    assert [picture.shape for picture in pictures] == [(120, 160, 3)] * 6  # 2 a second
    assert all((picture == (0, 220, 0)).all(axis=2).sum() > 50 for picture in pictures)
    faces = segment_pictures(segment, output, count=3, size=64, picture="face")
    assert [face.shape for face in faces] == [(64, 64, 3)] * 3
    sound = contents.sound(segment)
    assert len(sound) == round((segment.end - segment.start) * RATE)
    np.testing.assert_array_equal(sound, segment_sound(segment))


def test_without_an_extraction_there_is_nothing_to_export(tmp_path):
    with pytest.raises(MefusionError, match="has no extracted video"):
        export(tmp_path, None, {}, ExportSettings(), workers=1, quiet=True)


def test_a_video_that_is_gone_is_named(tmp_path, talk):
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(talk.read_bytes())
    settings = [f"output_dir={tmp_path / 'out'}", "workers=1"]
    assert annotate([f"source.path={copy}", *settings, "stage=extract"], quiet=True) == 0
    copy.unlink()
    done = export(tmp_path / "out", None, {}, ExportSettings(), workers=1, quiet=True)
    assert done.problems == [f"{copy} is not there: give a video file, or a folder of them"]
    with pytest.raises(MefusionError, match="is not there"):
        segment_sound(read_segments(tmp_path / "out")[0])
