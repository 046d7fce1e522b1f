"""Bundles of rendered motion: what may be exported, what their networks see, and where they give no answer."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fake_recordings import Event, write_recording
from trained import train_study

import mefusion
from mefusion.clips.motion import tvl1_flow
from mefusion.clips.stream import Stream
from mefusion.commands.predict import main as predict
from mefusion.common.errors import MefusionError
from mefusion.inference.bundle import CARD, SHIPPED, read_bundle
from mefusion.inference.clips import predict_clips
from mefusion.inference.events import recognise_events
from mefusion.inference.export import export_study
from mefusion.inference.likeness import motion_size
from mefusion.inference.rendered import LEAST_MOTION
from mefusion.spotting.recording import spot_recording
from mefusion.spotting.settings import SpottingSettings
from mefusion.synthetic.motion.generate import subject_motion
from mefusion.synthetic.motion.settings import MotionSettings
from mefusion.windows.flow import FlowSettings, Normalisation
from mefusion.windows.views import make_view

SMALL = ["data=synthetic_motion", "data.root=motion", "data.subjects=2", "data.clips_per_class=1"]
ELSEWHERE = ["data.eyes=[0.18,0.28]", "data.mouth=[0.60,0.66]", "data.interocular=[0.50,0.62]"]


class Motion:
    overrides = SMALL


@pytest.fixture(scope="module")
def folder(tmp_path_factory, command):
    folder = tmp_path_factory.mktemp("rendered")
    assert command("mefusion-prepare", *SMALL, "workers=1", cwd=folder).returncode == 0
    return folder


@pytest.fixture(scope="module")
def predictor(folder):
    return mefusion.load_bundle(
        export_study(train_study(folder, Motion, "protocol=all", "model=flow_cnn"), to=folder / "bundle")
    )


@pytest.fixture(scope="module")
def drawn(folder):
    """A face that is still but for one event."""
    return write_recording(folder / "drawn", [Event(1, 20, 25, 31, ("mouth_lower",), 4.0)], np.arange(60) / 30, drift=0)


def frames_of(drawn, first, last):
    return [frame.image for frame in Stream(drawn.video).frames() if first <= frame.number <= last]


def test_a_bundle_of_rendered_motion_prepares_recordings_as_mefusion_does_by_default(predictor):
    preparation = predictor.bundle.preparation
    assert (preparation.backend, preparation.canvas, preparation.faces.enlarge) == ("dlib", 144, 2.5)
    assert predictor.bundle.least_motion == LEAST_MOTION
    card = (predictor.bundle.folder / CARD).read_text()
    assert "It has seen no picture of a face" in card
    assert f"gives no answer where a face moves by less than {LEAST_MOTION:g} px" in " ".join(card.split())
    assert predictor.described.endswith("which has seen rendered motion only, and no real face")


@pytest.mark.parametrize("normalisation", [Normalisation.standardised, Normalisation.stretched])
def test_a_network_sees_the_same_of_a_flow_in_px_and_of_its_stretched_image(normalisation):
    motion = subject_motion(MotionSettings(subjects=1, clips_per_class=1, size=56), 0)
    view = make_view("flow_image", image_size=28, flow=FlowSettings(strain=False, normalisation=normalisation))
    for flow, image in zip(motion.flow, motion.images, strict=True):
        of_flow, of_image = (
            view.take(arrays)["flow_image"][:2]
            for arrays in ({"onset_apex_flow": flow}, {"flow_image": image.transpose(2, 0, 1)})
        )
        assert of_image == pytest.approx(of_flow, abs=0.03 * float(np.abs(of_flow).max()))


@pytest.mark.parametrize(
    ("data", "model", "told"),
    [
        (ELSEWHERE, "flow_cnn", r"rendered faces that are elsewhere .*: train with data.eyes with 0.34 in it"),
        ([], "ststnet", r"has no unit, with model.flow.normalisation=pixels: train with .*=standardised"),
    ],
)
def test_a_network_that_could_not_read_recordings_is_refused(folder, tmp_path, command, data, model, told):
    class Other:
        overrides = [*SMALL, *data]

    assert command("mefusion-prepare", *Other.overrides, "workers=1", cwd=tmp_path).returncode == 0
    study = train_study(tmp_path, Other, "protocol=all", f"model={model}")
    with pytest.raises(MefusionError, match=told):
        export_study(study, to=tmp_path / "bundle")


def test_the_size_of_a_motion_is_that_of_the_part_that_moves_most_about_the_median():
    flow = np.zeros((2, 144, 144), np.float32)
    assert motion_size(flow) == 0
    flow[0] += 3  # the head
    assert motion_size(flow) == pytest.approx(0, abs=1e-6)
    flow[1, 100:130, 40:100] -= 2
    assert motion_size(flow) == pytest.approx(2)


def test_noise_of_a_still_face_is_no_motion(drawn, predictor):
    clip = predictor.prepare(frames_of(drawn, 0, 9), apex=5)
    assert clip.motion < LEAST_MOTION
    rng, (face,) = np.random.default_rng(0), [frames_of(drawn, 0, 0)[0][48:192, 88:232, 0].astype(float)]
    first, second = (np.clip(np.rint(face + rng.normal(0, 4, face.shape)), 0, 255).astype(np.uint8) for _ in range(2))
    assert motion_size(tvl1_flow(first, second)) < LEAST_MOTION


def test_a_still_clip_gets_no_answer(drawn, predictor):
    picture = frames_of(drawn, 0, 0)[0]
    with pytest.raises(MefusionError, match=r"shows no motion to read: 0.00 px, below 0.25 px of the aligned face"):
        predictor.predict([picture] * 10)
    assert sum(predictor.predict(frames_of(drawn, 20, 31), apex=5).values()) == pytest.approx(1)


def test_a_still_event_gets_a_warning_and_no_name(drawn, predictor, folder):
    spotted = spot_recording(Stream(drawn.video), folder / "spotted", SpottingSettings())
    assert len(spotted.events) == 1
    still = spotted.events.assign(onset_frame=40, apex_frame=45, offset_frame=52, event=2)
    both = replace(spotted, events=type(still)([*spotted.events.to_dict("records"), *still.to_dict("records")]))
    found, problems = recognise_events(predictor, Stream(drawn.video), both)
    assert problems == []
    assert found["prediction"].notna().tolist() == [True, False]
    assert found.filter(like="probability").notna().all(axis=1).tolist() == [True, False]
    assert "no motion to read" not in found["warnings"][0]
    assert found["warnings"][1].startswith("no motion to read: 0.0")


def test_a_still_clip_of_a_manifest_is_told_and_has_no_row(drawn, predictor):
    rows = [
        "clip_id,subject,path,emotion,onset,apex,offset",
        "moves,s1,face.mp4,,20,25,31",
        "still,s1,face.mp4,,40,45,52",
    ]
    manifest = drawn.video.parent / "manifest.csv"
    manifest.write_text("\n".join(rows))
    table, problems, _ = predict_clips(predictor, manifest, workers=1)
    assert table["clip_id"].tolist() == ["moves"]
    assert len(problems) == 1
    assert "still: not named, no motion to read" in problems[0]


def test_a_video_is_named_by_the_bundle_that_comes_with_mefusion(drawn, tmp_path, capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            predict([*map(str, arguments), str(drawn.video), "--output", str(tmp_path / "out"), "--no-overlay"])
        assert ended.value.code == 0
        return capsys.readouterr().out

    assert f"rendered motion only, and no real face: {SHIPPED / CARD}" in run()
    events = pd.read_csv(tmp_path / "out" / "face" / "events.csv")
    assert {*events["prediction"]} <= {"negative", "positive", "surprise"}
    assert events["bundle"].unique().tolist() == [mefusion.load_bundle().name]
    page = (tmp_path / "out" / "face" / "page.html").read_text()
    assert "which has seen rendered motion only, and no real face" in page
    shutil.copytree(SHIPPED, tmp_path / "own")
    assert "The names come from" not in run(tmp_path / "own")


def test_the_bundle_that_comes_with_mefusion_is_small_and_says_what_is_known():
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) < 2e6
    bundle = read_bundle(SHIPPED)
    assert bundle.least_motion == LEAST_MOTION
    assert [*bundle.facts["data"]["datasets"]] == ["synthetic_motion"]
    assert bundle.facts["calibration"]["runs"] == 5
    card = " ".join((SHIPPED / CARD).read_text().split())
    assert "It has seen no picture of a face" in card
    assert "it has **not** been measured" in card
