"""`mefusion-export`, and the studies that it takes."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from imitations import write_small
from trained import train_study

import mefusion
from mefusion.commands import export as command
from mefusion.common.errors import MefusionError
from mefusion.evaluation.calibration import fit_temperature
from mefusion.evaluation.scoring import score
from mefusion.inference.export import export_study
from mefusion.studies.record import planned_runs

STSTNET = ("model=ststnet",)
VALIDATED = (*STSTNET, "rule=inner_val")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("export")


@pytest.fixture(scope="module")
def trained(tiny, folder):
    return train_study(folder, tiny, "protocol=all", *STSTNET)


@pytest.fixture(scope="module")
def tested(tiny, folder):
    return train_study(folder, tiny, "protocol=loso", "seeds=[0,1]", *STSTNET)


def run(capsys, *arguments):
    """Exit code or sentence, and what was printed."""
    try:
        command.main([*map(str, arguments)])
    except SystemExit as end:
        return end.code, capsys.readouterr().out
    return 0, capsys.readouterr().out


def test_a_bundle_says_what_it_is(trained, tested, tmp_path, capsys):
    code, printed = run(capsys, trained, "--scores", tested, "--to", tmp_path / "b")
    assert code == 0
    assert "is written; README.md in it is its model card" in printed
    told = mefusion.load_bundle(tmp_path / "b").facts
    result = score(mefusion.load_predictions(tested))
    assert told["score"]["uf1"] == result["uf1"]
    assert told["score"]["uf1_interval"] == result["intervals"]["uf1"]
    assert told["score"]["majority"]["uf1"] == result["majority"]["uf1"]
    assert (told["temperature"], told["calibration"]) == (1, None)
    assert told["data"]["datasets"] == {"synthetic": {"clips": 6, "subjects": 2}}
    assert told["data"]["fps"] == [50, 50]
    assert 20 < told["data"]["eye_distance"][0] <= told["data"]["eye_distance"][1] < 120
    assert told["class_counts"] == {"negative": 2, "positive": 2, "surprise": 2}
    weights = (tmp_path / "b" / "model.safetensors").read_bytes()
    assert told["files"] == {"model.safetensors": hashlib.sha256(weights).hexdigest()}
    card = (tmp_path / "b" / "README.md").read_text()
    assert f"| these settings | {result['uf1']:.3f} |" in card
    assert f"| always the most frequent class | {result['majority']['uf1']:.3f} |" in card
    part = result["per_class"]["positive"]
    assert f"| positive | {part['clips']} | {part['f1']:.3f} | {part['recall']:.3f} |" in card
    forbidden = (
        "lies",
        "hiring",
        "consent",
        "diagnosis",
        "law enforcement",
        "personal data",
        "skin colour",
        "licences",
    )
    for word in (*forbidden, "not calibrated", "rendered by a computer: they show no people"):
        assert word in card
    assert told["files"]["model.safetensors"] in card
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
    assert len(code.split("\n\n")[1].splitlines()) == 2
    compile(code, "README.md", "exec")


def test_without_a_score_the_card_says_that_none_stands_for_it(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, printed = run(capsys, trained)
    assert code == 0
    assert "no score stands for it: give --scores STUDY" in printed
    bundle = tmp_path / "bundles" / trained.name
    assert "**No score stands for this network**" in (bundle / "README.md").read_text()
    assert mefusion.load_bundle(bundle).facts["score"] is None
    assert sorted(path.name for path in bundle.iterdir()) == ["README.md", "bundle.json", "model.safetensors"]
    assert "is there already: remove it, or give another folder with --to" in run(capsys, trained)[0]


def test_the_temperature_comes_from_the_validation_subjects_of_the_scores(tiny, three, folder, tmp_path):
    class Three:
        overrides = three

    whole = train_study(folder, Three, "protocol=all", *VALIDATED)
    parts = train_study(folder, Three, "protocol=loso", *VALIDATED)
    told = mefusion.load_bundle(export_study(whole, to=tmp_path / "b", scores=parts)).facts
    fitted = []
    for run in planned_runs(parts):
        table = pd.read_parquet(run.folder / "validation.parquet")
        columns = [f"probability_{name}" for name in told["classes"]]
        fitted.append(fit_temperature(table[columns].to_numpy(), table["label"].map(told["classes"].index).to_numpy()))
    assert told["temperature"] == sorted(fitted)[1]
    assert told["calibration"]["runs"] == 3
    card = (tmp_path / "b" / "README.md").read_text()
    assert "median over the 3 trainings" in card
    worse = told["calibration"]["error_after"] >= told["calibration"]["error_before"]
    assert ("it made them no better" in card) == worse
    assert ("is a limit of the search" in card) == (told["temperature"] < 0.202 or told["temperature"] > 4.95)


# What is refused.


def test_a_study_that_left_subjects_out_is_refused(tested, trained, tmp_path, capsys):
    sentence, _ = run(capsys, tested, "--to", tmp_path / "b")
    assert (
        "is a study of protocol=loso, whose networks each lack some subjects: run the same mefusion-train" in sentence
    )
    assert "protocol=all" in sentence
    assert not (tmp_path / "b").exists()
    sentence, _ = run(capsys, trained, "--scores", trained, "--to", tmp_path / "b")
    assert "has no score: with protocol=all it was trained on all subjects" in sentence


def test_a_score_of_other_settings_is_refused(tiny, trained, tmp_path):
    other = train_study(tmp_path, tiny, *STSTNET, "model.optimizer.lr=.1")
    with pytest.raises(MefusionError, match=r"they differ in model.optimizer.lr=0.0005 and 0.1: give the study"):
        export_study(trained, to=tmp_path / "b", scores=other)


def test_a_score_of_other_clips_is_refused(tiny, trained, tmp_path):
    other = train_study(tmp_path, tiny, *STSTNET, "protocol=holdout", "protocol.test=[sub01]")
    with pytest.raises(MefusionError, match=r"covers 3 clips, and .* was trained on 6, not the same ones"):
        export_study(trained, to=tmp_path / "b", scores=other)


def test_an_incomplete_score_is_refused(tiny, trained, tmp_path):
    other = train_study(tmp_path, tiny, *STSTNET, "protocol.folds=[sub01]")
    with pytest.raises(MefusionError, match="is incomplete: 1 of 2 folds are missing"):
        export_study(trained, to=tmp_path / "b", scores=other)


def test_a_score_that_was_selected_on_test_subjects_is_refused(tiny, trained, tmp_path):
    other = train_study(tmp_path, tiny, *STSTNET, "rule=oracle")
    with pytest.raises(
        MefusionError, match="rule=oracle, which selects on the test subjects: its scores are no results"
    ):
        export_study(trained, to=tmp_path / "b", scores=other)


def test_a_study_of_ready_made_flow_images_is_refused(tmp_path, command):
    def picture(row, number):
        return np.full((28, 28, 3), number % 256, np.uint8)

    write_small("flow_images", tmp_path / "new", picture, subjects=2, clips_per_class=1)

    class Flow:
        overrides = ["data=flow_images", "data.root=new", "data.allow_partial=true", "workers=1"]

    assert command("mefusion-prepare", *Flow.overrides, cwd=tmp_path).returncode == 0
    study = train_study(tmp_path, Flow, "protocol=all", "model=majority")
    with pytest.raises(MefusionError, match=r"ready-made flow images, .*: train on the frames themselves"):
        export_study(study, to=tmp_path / "b")


def test_changed_weights_and_an_unfinished_training_are_refused(tiny, tmp_path):
    study = train_study(tmp_path, tiny, "protocol=all", "model=majority")
    (run,) = planned_runs(study)
    whole = run.weights.read_bytes()
    run.weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(MefusionError, match=r"weights.safetensors was changed after the training"):
        export_study(study, to=tmp_path / "b")
    run.weights.write_bytes(whole[:50])
    with pytest.raises(MefusionError, match=r"weights.safetensors cannot be read"):
        export_study(study, to=tmp_path / "b")
    (run.folder / "DONE").unlink()
    with pytest.raises(MefusionError, match="is not trained yet"):
        export_study(study, to=tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_what_fails_on_the_way_leaves_nothing_behind(trained, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise OSError("No space left on device")

    monkeypatch.setattr("mefusion.inference.export.model_card", fail)
    with pytest.raises(MefusionError, match="cannot be written"):
        export_study(trained, to=tmp_path / "b")
    assert [*tmp_path.iterdir()] == []


def test_the_missing_extra_is_said_before_anything_is_written(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("mefusion.inference.onnx.PACKAGES", ("onnx_that_is_not_there",))
    with pytest.raises(MefusionError, match=r"--onnx needs .* pip install 'mefusion\[onnx\]'"):
        export_study(trained, to=tmp_path / "b", onnx=True)
    assert not (tmp_path / "b").exists()


def test_a_folder_that_is_no_study_is_said(tmp_path, capsys):
    assert "has no study.json; give a study's directory" in run(capsys, tmp_path)[0]


def test_a_network_of_one_s_own_is_exported_where_its_file_is(tiny, tmp_path, monkeypatch, capsys):
    example = Path(__file__).parents[2] / "examples" / "own_model"
    here = shutil.copytree(example, tmp_path / "own_model")
    monkeypatch.syspath_prepend(here)
    own = ("--config-dir", ".", "model=difference")
    study = train_study(here, tiny, "protocol=all", *own)
    monkeypatch.chdir(here)
    code, _ = run(capsys, study, "--to", "bundle")
    assert code == 0
    assert ", network=DifferenceNet)" in (here / "bundle" / "README.md").read_text()
    with pytest.raises(MefusionError, match="import its class, and pass it"):
        mefusion.load_bundle("bundle")
    import difference_net

    assert len(mefusion.load_bundle("bundle", network=difference_net.DifferenceNet).classes) == 3


@pytest.mark.parametrize(
    ("file", "entry", "message"),
    [("study.json", "trained_on", "does not say what it was trained on"), ("config.yaml", "model", "names no network")],
)
def test_a_study_that_lacks_an_entry_is_said(tiny, trained, tmp_path, capsys, file, entry, message):
    study = shutil.copytree(trained, tmp_path / trained.name)
    content = yaml.safe_load((study / file).read_text())
    (study / file).write_text(json.dumps({name: value for name, value in content.items() if name != entry}))
    assert message in run(capsys, study, "--to", tmp_path / "b")[0]


def test_scores_lose_nothing_of_the_study(tested):
    facts = json.loads((tested / "study.json").read_text())
    assert "trained_on" not in facts  # what tests subjects is recorded as before
