"""A bundle answers as the study that it comes from does."""

import json
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
from trained import manifest_of, own_prediction, train_study

import mefusion
from mefusion.clips.video import read_clip
from mefusion.commands.predict import predict_manifest
from mefusion.common.errors import MefusionError
from mefusion.evaluation.predictions import check_predictions
from mefusion.faces.detectors import make_backend
from mefusion.inference.bundle import description_text
from mefusion.inference.clips import TRAINED_ON, predict_clips, score_clips
from mefusion.inference.export import export_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("inference")


@pytest.fixture(scope="module")
def two(tiny, folder):
    return manifest_of(tiny, folder / "clips")


@pytest.fixture(scope="module")
def bundle(tiny, folder):
    """Of a small network on flow images."""
    study = train_study(folder, tiny, "protocol=all", "model=ststnet")
    return export_study(study, to=folder / "bundle")


@pytest.fixture(scope="module")
def predictor(bundle):
    return mefusion.load_bundle(bundle)


@pytest.mark.parametrize(
    "model",
    [
        ["model=mol_tiny", "tasks.flow.weight=0", "rule=average"],
        ["model=fdp_tiny", "model.training.windows=first"],
        ["model=fdp_tiny", "model.training.windows=dual_phase"],
        ["model=sssnet"],
        ["model=majority"],
        ["model=linear_flow"],
        ["model=hoof_svm"],
        ["model=flow_cnn"],
    ],
)
def test_a_bundle_answers_as_its_study(tiny, tmp_path, two, quick_flow, model):
    study = train_study(tmp_path, tiny, "protocol=all", *model)
    expected = own_prediction(study, tiny, "protocol=all", *model)
    predictor = mefusion.load_bundle(export_study(study, to=tmp_path / "bundle"))
    table, problems, notes = predict_clips(predictor, two, workers=1)
    assert problems == notes == []
    assert len(table) == 2
    for row in table.to_dict("records"):
        found = [row[f"probability_{name}"] for name in predictor.classes]
        assert found == pytest.approx(expected[row["clip_id"]], abs=1e-6)


def clip_of(two, number=0):
    """Frames and row of a clip of the manifest."""
    row = pd.read_csv(two, dtype=str).iloc[number]
    return read_clip(two.parent / row["path"], onset=int(row["onset"]), offset=int(row["offset"])), row


def test_one_clip_several_clips_and_a_path_give_the_same(predictor, two, quick_flow):
    frames, row = clip_of(two)
    others, _ = clip_of(two, 1)
    alone = predictor.predict(frames)
    assert list(alone) == list(predictor.classes) == ["negative", "positive", "surprise"]
    assert sum(alone.values()) == pytest.approx(1)
    both = predictor.probabilities([predictor.prepare(clip) for clip in (frames, others)])
    assert both[0] == pytest.approx(list(alone.values()), abs=1e-6)
    assert both[1] == pytest.approx(list(predictor.predict(others).values()), abs=1e-6)
    assert predictor.predict(two.parent / row["path"]) == pytest.approx(alone, abs=1e-6)
    assert predictor.probabilities([]).shape == (0, 3)


def test_given_landmarks_replace_those_that_would_be_found(predictor, two, quick_flow, monkeypatch):
    frames, _ = clip_of(two)
    points = make_backend("dlib").landmarks(frames)
    expected = predictor.predict(frames)
    monkeypatch.setattr("mefusion.inference.inputs.make_backend", lambda name: pytest.fail("looks for faces"))
    assert predictor.predict(frames, landmarks=points) == pytest.approx(expected, abs=1e-6)
    moved = predictor.predict(frames, landmarks=points + 20)
    assert moved != pytest.approx(expected, abs=1e-3)


def test_the_apex_decides_what_a_network_of_flow_images_sees(predictor, two, quick_flow):
    frames, _ = clip_of(two)
    first, last = (predictor.prepare(frames, apex=apex).windows[0]["inputs"] for apex in (1, len(frames) - 1))
    assert np.abs(last - first).mean() > 0.2 * np.abs(first).mean()


def test_a_short_clip_is_interpolated_and_says_so(predictor, two, quick_flow):
    frames, _ = clip_of(two)
    prepared = predictor.prepare(frames[:5], origin="short.mp4")
    assert prepared.facts["n_frames"] == "8"
    assert prepared.facts["note"] == "short.mp4 has 5 frames, fewer than a window's 8: interpolated in time"


PICTURE = np.zeros((40, 40, 3), np.uint8)


@pytest.mark.parametrize(
    ("clip", "options", "message"),
    [
        ([], {}, "the clip has no frame"),
        ([PICTURE, PICTURE[:30]], {}, "frame 1 of the clip has another size than the first"),
        ([PICTURE.astype(float)], {}, "frame 0 of the clip is no picture: give arrays"),
        ([PICTURE[..., 0]], {}, "frame 0 of the clip is no picture"),
        ([PICTURE] * 8, {"apex": 8}, "apex=8 is not among the 8 frames"),
        ([PICTURE] * 8, {"landmarks": np.zeros((7, 68, 2))}, r"have the shape \[7, 68, 2\]: give \[8, 68, 2\]"),
        ([PICTURE] * 8, {}, "dlib finds no face in any frame"),
        ([PICTURE] * 8, {"landmarks": np.full((8, 68, 2), np.nan)}, "no face is found in 8 of its 8 frames"),
        ("nowhere.mp4", {}, "nowhere.mp4 is neither a folder of frames nor a video file"),
    ],
)
def test_what_is_no_clip_is_said_in_a_sentence(predictor, clip, options, message):
    with pytest.raises(MefusionError, match=message):
        predictor.predict(clip, **options)


# Clips of a manifest.


def test_a_bad_clip_is_told_and_the_others_are_predicted(predictor, tiny, tmp_path, quick_flow):
    manifest = manifest_of(tiny, tmp_path, count=3)
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join([*lines[:2], lines[2].replace("frames/", "gone/"), lines[3]]) + "\n")
    table, problems, _ = predict_clips(predictor, manifest, workers=1)
    assert len(table) == 2
    (problem,) = problems
    assert "is neither a folder of frames nor a video file" in problem
    check_predictions(table.drop(columns=[TRAINED_ON, "warnings"]), manifest)
    assert (table["warnings"] == "").all()
    assert {*table["study"]} == {predictor.name}
    assert table["prediction"].isin(predictor.classes).all()


def test_a_clip_that_is_interpolated_in_time_is_told_and_is_no_failure(predictor, tiny, tmp_path, quick_flow, capsys):
    manifest = manifest_of(tiny, tmp_path, count=1)
    rows = pd.read_csv(manifest)
    rows.assign(apex=rows["onset"] + 2, offset=rows["onset"] + 4).to_csv(manifest, index=False)
    assert predict_manifest(predictor, manifest, tmp_path / "out", quiet=False) == 0
    printed = capsys.readouterr()
    assert "has 5 frames, fewer than a window's 8: interpolated in time" in printed.out
    assert "mefusion-predict: " not in printed.err


def test_clips_that_trained_the_network_are_told_and_have_no_score(predictor, two, tmp_path, quick_flow):
    table, _, _ = predict_clips(predictor, two, workers=1)
    assert table[TRAINED_ON].all()
    assert score_clips(predictor, table) is None
    for path in two.parent.glob("**/*.jpg"):  # other pictures: a clip that it has not seen
        target = tmp_path / path.relative_to(two.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), np.maximum(cv2.imread(str(path)), 9))
    (tmp_path / "manifest.csv").write_text(two.read_text())
    fresh, _, _ = predict_clips(predictor, tmp_path / "manifest.csv", workers=1)
    assert not fresh[TRAINED_ON].any()
    scored = score_clips(predictor, fresh)
    assert scored["clips"] == 2
    assert scored["acc"] == (fresh["label"] == fresh["prediction"]).mean()


def test_clips_that_trained_the_network_are_told_wherever_their_landmarks_come_from(bundle, two, tmp_path, quick_flow):
    folder = shutil.copytree(two.parent, tmp_path / "clips")
    rows = pd.read_csv(folder / "manifest.csv", dtype=str)
    for path in rows["path"]:
        np.save(folder / f"{path.replace('/', '-')}.npy", make_backend("dlib").landmarks(read_clip(folder / path)))
    rows.assign(landmarks=rows["path"].str.replace("/", "-") + ".npy").to_csv(folder / "manifest.csv", index=False)
    content = json.loads((bundle / "bundle.json").read_text())
    content["preparation"]["backend"] = "precomputed"
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    (copy / "bundle.json").write_text(description_text(content))
    table, *_ = predict_clips(mefusion.load_bundle(copy), folder / "manifest.csv", workers=1)
    assert len(table) == 2
    assert table[TRAINED_ON].all()


def test_emotions_may_be_missing_or_unknown(predictor, tiny, tmp_path, quick_flow):
    manifest = manifest_of(tiny, tmp_path)
    rows = pd.read_csv(manifest, dtype=str)
    rows.assign(emotion=["", "boredom"]).to_csv(manifest, index=False)
    table, problems, _ = predict_clips(predictor, manifest, workers=1)
    assert problems == []
    assert table["label"].isna().all()
    rows.drop(columns="emotion").to_csv(manifest, index=False)
    again, _, _ = predict_clips(predictor, manifest, workers=1)
    assert again["label"].isna().all()
    assert again["probability_negative"].tolist() == table["probability_negative"].tolist()
    assert score_clips(predictor, again) is None


def test_the_temperature_of_a_bundle_counts(bundle, two, tmp_path, quick_flow):
    frames, _ = clip_of(two)
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    content = json.loads((copy / "bundle.json").read_text())
    (copy / "bundle.json").write_text(description_text(content | {"temperature": 2.0}))
    plain = np.array([*mefusion.load_bundle(bundle).predict(frames).values()])
    calm = np.array([*mefusion.load_bundle(copy).predict(frames).values()])
    assert calm == pytest.approx(np.sqrt(plain) / np.sqrt(plain).sum())
