"""Action units through the real commands: a study, its report, and a bundle of it."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
from composed import experiment_of
from inference.trained import manifest_of, train_study

import mefusion
from mefusion.common.errors import MefusionError
from mefusion.common.units import UNITS
from mefusion.configuration.composition import load_clips, plan_study
from mefusion.datasets.units import unit_labels
from mefusion.evaluation.units import unit_names
from mefusion.inference.clips import predict_clips
from mefusion.inference.export import export_study
from mefusion.report import main as report

ON = ("model=flow_cnn", "tasks.action_units.weight=1", "model.training.copies=1", "seeds=[0]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("units")


@pytest.fixture(scope="module")
def study(tiny, folder):
    return train_study(folder, tiny, *ON)


@pytest.fixture(scope="module")
def bundle(tiny, folder, study):
    trained = train_study(folder, tiny, "protocol=all", *ON)
    return export_study(trained, to=folder / "bundle", scores=study)


def test_the_table_has_each_unit_with_its_label(study, tiny):
    table = mefusion.load_predictions(study).set_index("clip_id")
    labels = table[[f"{name}_label" for name in unit_names([*UNITS])]]
    index = tiny.index.set_index("clip_id").loc[table.index]
    np.testing.assert_array_equal(labels.to_numpy(), unit_labels(index["action_units"]))
    assert table[unit_names([*UNITS])].to_numpy().min() >= 0
    assert (labels.to_numpy() == 1).any()


@pytest.mark.usefixtures("no_pictures")
def test_the_report_has_a_table_unit_by_unit(study, tmp_path, capsys):
    assert report([str(study), "--output", str(tmp_path)]) == 0
    text = (tmp_path / "report.md").read_text()
    summary = json.loads((study / "summary.json").read_text())
    scores = summary["action_units"]
    assert f"| mean | - | 6 | {scores['f1']:.3f} |" in text
    for unit, part in scores["units"].items():
        assert f"| {unit} {UNITS[int(unit)]} | {part['present']} | 6 | {part['f1']:.3f} |" in text
    missing = ", ".join(map(str, scores["absent_units"]))
    assert f"Action units: {missing} do not occur in the coded test clips" in text
    assert "mean F1 of units" in capsys.readouterr().out
    results = pd.read_csv(tmp_path / "results.csv")
    assert results["unit_f1"].item() == pytest.approx(summary["unit_f1"])


@pytest.mark.usefixtures("no_pictures")
def test_a_study_without_the_task_looks_as_before(tiny, tmp_path):
    study = train_study(tmp_path, tiny, "model=ststnet")
    assert report([str(study), "--output", str(tmp_path / "r")]) == 0
    assert "action unit" not in (tmp_path / "r" / "report.md").read_text().lower()
    assert "action_units" not in json.loads((study / "summary.json").read_text())
    assert not [name for name in mefusion.load_predictions(study).columns if name.startswith("unit_")]


def test_codings_name_a_study_only_if_they_are_learned(tiny, tmp_path):
    def named(change, *overrides):
        experiment = experiment_of(*tiny.overrides, "model=flow_cnn", *overrides)
        clips = load_clips(experiment)
        clips.index["action_units"] = change(clips.index["action_units"])
        return plan_study(experiment, clips).name

    def other(codings):
        return codings.str.replace("12", "14")

    assert named(lambda codings: codings) == named(other)
    assert named(lambda codings: codings, ON[1]) != named(other, ON[1])


def test_data_without_any_coding_is_one_sentence(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("mefusion.configuration.targets.unit_labels", lambda codings: np.full((6, 12), -1))
    with pytest.raises(MefusionError, match="no clip of data=synthetic has a coding of action units to learn from"):
        load_clips(experiment_of(*tiny.overrides, *ON))


def test_units_alone_leave_recognition_next_to_no_weight(tiny):
    tasks = experiment_of(*tiny.overrides, "model=flow_cnn", "tasks=action_units").tasks
    assert {name: task.weight for name, task in tasks.items()} == {"recognition": 0.001, "action_units": 1}


def test_a_bundle_tells_units(bundle, study, tiny, tmp_path, quick_flow):
    predictor = mefusion.load_bundle(bundle)
    assert predictor.units == tuple(UNITS)
    card = (bundle / "README.md").read_text()
    part = json.loads((study / "summary.json").read_text())["action_units"]
    for unit, scores in part["units"].items():
        assert f"| {unit} | {scores['present']} | 6 | {scores['f1']:.3f} |" in card
    assert re.search(r"Not in these clips, so nothing is known of them: [\d, ]+\.", card)
    table, problems, _ = predict_clips(predictor, manifest_of(tiny, tmp_path, count=1), workers=1)
    assert problems == []
    (row,) = pd.read_csv(tmp_path / "manifest.csv").to_dict("records")
    clip = predictor.prepare(tmp_path / row["path"], apex=row["apex"] - row["onset"])
    found = table[unit_names(predictor.units)].to_numpy(float)
    np.testing.assert_allclose(found, predictor.answers([clip]).units)
    assert 0 < found.min() < found.max() < 1


def test_the_onnx_file_has_the_units_as_a_second_output(tiny, folder, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    (trained,) = [path for path in folder.glob("outputs/*") if not (path / "summary.json").exists()]
    bundle = export_study(trained, to=tmp_path / "bundle", onnx=True)
    told = json.loads((bundle / "bundle.json").read_text())
    assert told["action_units"] == [*UNITS]
    assert told["onnx"]["outputs"] == {"logits": ["batch", 3], "action_units": ["batch", 12]}
    assert told["onnx"]["action_units"].startswith("sigmoid of each unit's logit")
    predictor = mefusion.load_bundle(bundle)
    clips = [predictor.prepare(tiny.frames / path) for path in pd.read_csv(tiny.frames / "manifest.csv")["path"][:2]]
    session = onnxruntime.InferenceSession(bundle / "model.onnx", providers=["CPUExecutionProvider"])
    view = predictor.inputs.make_view()
    for clip, expected in zip(clips, predictor.answers(clips).units, strict=True):
        (logits,) = session.run(["action_units"], {"inputs": view.collate(clip.windows)["inputs"]})
        found = torch.from_numpy(logits).sigmoid().mean(0).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-4)
