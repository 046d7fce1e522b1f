"""Events of recordings are recognised as clips that are cut at their onset and offset."""

from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
from fake_recordings import Event, face, write_recording
from trained import train_study

import mefusion
from mefusion.clips.stream import Frame, Stream
from mefusion.common.errors import MefusionError
from mefusion.faces.detectors import make_backend
from mefusion.inference import events as recognition
from mefusion.inference.clips import predict_clips
from mefusion.inference.events import recognise_events
from mefusion.inference.export import export_study
from mefusion.inference.likeness import differences as unlike
from mefusion.spotting.recording import spot_recording
from mefusion.spotting.settings import SpottingSettings

EVENTS = [
    Event(1, 20, 25, 31, ("mouth_lower",), 4.0),
    Event(1, 60, 75, 92, ("brow_left", "brow_right"), 4.0),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("events")


@pytest.fixture(scope="module")
def drawn(folder):
    return write_recording(folder / "drawn", EVENTS, np.arange(120) / 30, drift=6)


@pytest.fixture(scope="module")
def spotted(drawn, folder):
    found = spot_recording(Stream(drawn.video), folder / "spotted", SpottingSettings())
    assert len(found.events) == 2
    return found


@pytest.fixture(scope="module")
def predictor(tiny, folder):
    return mefusion.load_bundle(
        export_study(train_study(folder, tiny, "protocol=all", "model=ststnet"), to=folder / "bundle")
    )


def as_clips(drawn, spotted):
    """A manifest of the events, as of clips that somebody has cut."""
    rows = [
        {"clip_id": f"event{row.event}", "subject": "s1", "path": "face.mp4", "emotion": ""}
        | {name: getattr(row, f"{name}_frame") for name in ("onset", "apex", "offset")}
        for row in spotted.events.itertuples()
    ]
    manifest = drawn.video.parent / "manifest.csv"
    pd.DataFrame(rows).to_csv(manifest, index=False)
    return manifest


def probabilities(table, predictor):
    return table[[f"probability_{name}" for name in predictor.classes]].to_numpy(float)


@pytest.mark.parametrize(
    "model",
    [("model=ststnet", "tasks.action_units.weight=1"), ("model=mol_tiny",), ("model=fdp_tiny",)],
    ids=lambda overrides: overrides[0],
)
def test_an_event_is_recognised_as_the_clip_that_it_is(tiny, tmp_path, drawn, spotted, quick_flow, model):
    study = train_study(tmp_path, tiny, "protocol=all", *model)
    predictor = mefusion.load_bundle(export_study(study, to=tmp_path / "bundle"))
    found, problems = recognise_events(predictor, Stream(drawn.video), spotted)
    clips, unused, notes = predict_clips(predictor, as_clips(drawn, spotted), workers=1)
    assert problems == unused == []
    assert len(notes) == sum(row.offset_frame - row.onset_frame + 1 < 8 for row in spotted.events.itertuples())
    assert probabilities(found, predictor) == pytest.approx(probabilities(clips, predictor), abs=1e-6)
    units = [name for name in found.columns if name.startswith("unit_")]
    assert len(units) == len(predictor.units) == (12 if len(model) > 1 else 0)
    np.testing.assert_allclose(found[units].to_numpy(float), clips[units].to_numpy(float), atol=1e-6)
    assert found["prediction"].tolist() == clips["prediction"].tolist()
    assert found["bundle"].unique().tolist() == [predictor.name]
    # The manifest has no frame rate, and the clip's landmarks are read back from the aligned picture.
    rate = "30 frames/s, trained on 50"
    assert [text.removeprefix(rate).removeprefix("; ") for text in found["warnings"]] == clips["warnings"].tolist()
    assert all(text.startswith(rate) for text in found["warnings"])
    pd.testing.assert_frame_equal(found[spotted.events.columns], spotted.events)


def test_frames_that_take_too_much_memory_are_cut_to_the_face(drawn, spotted, predictor, quick_flow, monkeypatch):
    whole, _ = recognise_events(predictor, Stream(drawn.video), spotted)
    monkeypatch.setattr(recognition, "WHOLE_FRAMES", 0)
    sizes = []
    prepare = predictor.prepare
    monkeypatch.setattr(
        predictor, "prepare", lambda frames, **named: sizes.append(frames[0].shape) or prepare(frames, **named)
    )
    cut, problems = recognise_events(predictor, Stream(drawn.video), spotted)
    assert problems == []
    assert all(height < 240 or width < 320 for height, width, _ in sizes)
    assert probabilities(cut, predictor) == pytest.approx(probabilities(whole, predictor), abs=0.05)


def test_an_event_that_cannot_be_used_is_told_and_the_others_are_named(drawn, spotted, predictor, quick_flow):
    broken = replace(spotted, events=spotted.events.copy())
    broken.events.loc[1, "offset_frame"] = 119
    prepare = predictor.prepare

    def refuse(frames, **named):
        if len(frames) > 50:
            raise MefusionError("too long")
        return prepare(frames, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predictor, "prepare", refuse)
        found, problems = recognise_events(predictor, Stream(drawn.video), broken)
    assert problems == [f"{spotted.recording}, event 2: too long"]
    assert found["prediction"].notna().tolist() == [True, False]
    assert found["warnings"][1] == "not recognised: too long"


def test_events_of_a_recording_that_was_cut_since_are_told(drawn, spotted, predictor, quick_flow):
    class Short(Stream):
        def frames(self, **named):
            yield from (frame for frame in super().frames(**named) if frame.number < 80)

    found, problems = recognise_events(predictor, Short(drawn.video), spotted)
    assert len(problems) == 1
    assert "event 2: only" in problems[0]
    assert found["prediction"].notna().tolist() == [True, False]


def test_names_that_another_network_gave_are_left_out(drawn, spotted, predictor, quick_flow):
    events = spotted.events.assign(prediction="joy", probability_joy=1.0, unit_12=0.9, bundle="other")
    found, _ = recognise_events(predictor, Stream(drawn.video), replace(spotted, events=events))
    again, _ = recognise_events(predictor, Stream(drawn.video), spotted)
    pd.testing.assert_frame_equal(found, again)
    assert not {"probability_joy", "unit_12"} & {*found}


def test_a_recording_without_events_gets_the_columns(drawn, spotted, predictor):
    found, problems = recognise_events(predictor, Stream(drawn.video), replace(spotted, events=spotted.events[:0]))
    assert problems == []
    assert found.empty
    assert {"prediction", "bundle", "warnings", "probability_negative"} <= {*found.columns}


@pytest.mark.parametrize("until", [120, 76], ids=["always", "until an apex"])
def test_an_event_is_named_from_the_face_that_was_followed_though_another_is_larger(
    drawn, spotted, predictor, quick_flow, until
):
    larger = cv2.resize(face()[0], None, fx=1.3, fy=1.3)

    class Two(Stream):
        def frames(self, **named):
            for frame in super().frames(**named):
                beside = larger if frame.number < until else np.full_like(larger, 128)
                above = np.full((len(larger) - 240, 320, 3), 128, np.uint8)
                picture = np.hstack([np.vstack([frame.image, above]), beside])
                yield Frame(frame.number, frame.time, lambda form, picture=picture: picture)

    found, problems = recognise_events(predictor, Two(drawn.video), spotted)
    settings = {**spotted.settings, "face": "1"}  # whose landmarks are always those of its track
    of_track, _ = recognise_events(predictor, Two(drawn.video), replace(spotted, settings=settings))
    assert problems == []
    pd.testing.assert_frame_equal(found, of_track)


@pytest.fixture(scope="module")
def pictured(drawn):
    frame = next(Stream(drawn.video).frames()).image
    return frame, make_backend("dlib").landmarks([frame])


def test_what_is_unlike_the_training_is_told(pictured, predictor):
    frame, (landmarks,) = pictured
    fps = predictor.facts["data"]["fps"][0]

    def told(picture, points, rate=fps):
        return unlike(predictor.facts["data"], predictor.inputs.preparation, picture, points, rate)

    like = told(frame, landmarks)
    assert not [text for text in like if "frames/s" in text or "blurred" in text or "turned" in text]
    assert told(frame, landmarks, None) == like
    assert "200 frames/s, trained on 50" in told(frame, landmarks, 200)
    small = told(frame[::3, ::3], landmarks / 3)
    assert any("px between the eyes, trained on" in text for text in small)
    assert "the face is smaller than the network's pictures of 144 px" in small
    assert "the face is blurred" in told(cv2.GaussianBlur(frame, (0, 0), 4), landmarks)
    turned = landmarks.copy()
    turned[30, 0] += 0.8 * (turned[45, 0] - turned[30, 0])
    assert "the face is turned to the side" in told(frame, turned)


def test_a_network_of_cropped_faces_is_refused(spotted, drawn, predictor):
    settings = replace(predictor.bundle.preparation, backend="none")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predictor, "bundle", replace(predictor.bundle, preparation=settings))
        with pytest.raises(MefusionError, match="cannot find the face in a recording"):
            recognise_events(predictor, Stream(drawn.video), spotted)
