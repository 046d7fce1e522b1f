"""`protocol=all` through the real commands."""

import json
import sys

import pytest

from mefusion.commands import train
from mefusion.common.errors import MefusionError
from mefusion.configuration import launching
from mefusion.report import main as report
from mefusion.studies import study as studies
from mefusion.training.resume import content_digest
from mefusion.training.weights import load_weights

STSTNET = ("model=ststnet", "model.training.max_epochs=2")


def run(monkeypatch, folder, *arguments):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["mefusion-train", *arguments])
    monkeypatch.setattr(train, "reuse_freed_memory", lambda: None)
    train.main()
    return sorted((folder / "outputs").iterdir()) if (folder / "outputs").exists() else []


def test_it_keeps_weights_and_says_that_there_is_no_score(tiny, tmp_path, monkeypatch, capsys):
    result = tmp_path / "result.json"
    monkeypatch.setenv("MEFUSION_RESULT", str(result))
    monkeypatch.setattr(launching, "RESULT_VARIABLE", "MEFUSION_RESULT")
    arguments = (*tiny.overrides, *STSTNET, "protocol=all", "callbacks=[examples]", "callbacks.examples.every=1")
    (study,) = run(monkeypatch, tmp_path, *arguments)
    printed = capsys.readouterr().out
    assert "fold 1/1 all: trained" in printed
    assert f"{study.name} was trained on all subjects, so it has no score" in printed
    assert "--scores" in printed
    told = {"complete": True, "uf1": None, "objective": None, "trained": 1}
    assert json.loads(result.read_text()) == told
    fold = study / "folds" / "all"
    assert {path.name for path in fold.iterdir()} >= {"DONE", "weights.safetensors", "fold.json", "metrics.csv"}
    assert not [*study.glob("**/predictions.parquet")]
    kept = load_weights(fold / "weights.safetensors")
    assert kept.facts == {
        **{"study": study.name, "fold": "all", "seed": 0, "rule": "last", "epoch": 2},
        **{"clips": 6, "subjects": 2},
    }
    assert kept.statistics.class_counts.tolist() == [2, 2, 2]
    run(monkeypatch, tmp_path, *arguments)
    assert "fold 1/1 all: done before" in capsys.readouterr().out


def test_a_killed_training_goes_on_to_the_same_weights(tiny, tmp_path, monkeypatch):
    arguments = (*tiny.overrides, *STSTNET, "protocol=all")
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    (whole,) = run(monkeypatch, tmp_path / "whole", *arguments)

    def stop(*arguments):
        raise MefusionError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(studies, "selected_checkpoint", stop)  # after the training, before anything is kept
        with pytest.raises(SystemExit):
            run(patch, tmp_path / "stopped", *arguments)
    (stopped,) = run(monkeypatch, tmp_path / "stopped", *arguments)
    first, second = (load_weights(path / "folds/all/weights.safetensors").network for path in (whole, stopped))
    assert content_digest(first) == content_digest(second)


def test_validation_subjects_come_out_of_the_training_ones(three, tmp_path, monkeypatch):
    arguments = (*three, *STSTNET, "protocol=all", "rule=inner_val", "seeds=[0,1]")
    (study,) = run(monkeypatch, tmp_path, *arguments)
    for seed in (0, 1):
        fold = study / "folds" / "all" / f"seed{seed}"
        assert len(json.loads((fold / "fold.json").read_text())["validation"]) == 1
        assert (fold / "validation.parquet").is_file()
        assert load_weights(fold / "weights.safetensors").facts["subjects"] == 2


def test_the_best_epoch_on_test_subjects_makes_no_sense(tiny, tmp_path, monkeypatch):
    with pytest.raises(SystemExit) as end:
        run(monkeypatch, tmp_path, *tiny.overrides, *STSTNET, "protocol=all", "rule=oracle")
    assert "rule=oracle selects the epoch on the test subjects, and protocol=all has none" in str(end.value)


def test_its_time_can_be_estimated(tiny, tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, tmp_path, *tiny.overrides, *STSTNET, "protocol=all", "--estimate") == []
    assert "1 fold x" in capsys.readouterr().out


def test_a_report_leaves_it_out_and_says_so(tiny, tmp_path, monkeypatch, capsys, no_pictures):
    (study,) = run(monkeypatch, tmp_path, *tiny.overrides, "model=majority", "protocol=all")
    assert report([str(study)]) == 1
    assert "has no score: with protocol=all it was trained on all subjects" in capsys.readouterr().err
    run(monkeypatch, tmp_path, *tiny.overrides, "model=majority")
    assert report([str(tmp_path / "outputs")]) == 0
    assert f"note: {study} has no score" in capsys.readouterr().out
