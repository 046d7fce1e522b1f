"""Augmentation and windows through the real command."""

import sys

import pytest

from mefusion.commands import train
from mefusion.evaluation.predictions import load_predictions

TINY_FDP = (
    *("model=fdp_tiny", "trainer=smoke", "model.network.stem_channels=[4,4,4,4]"),
    *("model.network.lra_channels=[8,8,8,8]", "model.network.gra_channels=[16,16,16,16]"),
)


@pytest.mark.slow
def test_a_model_trains_on_both_phases_with_every_change(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changes = {"windows": "dual_phase", "temporal_jitter": 1, "contrast": 0.1, "brightness": 5, "noise": 1}
    given = [f"model.training.{name}={value}" for name, value in changes.items()]
    monkeypatch.setattr(sys, "argv", ["mefusion-train", *TINY_FDP, *tiny.overrides, *given])
    train.main()
    (study,) = (tmp_path / "outputs").iterdir()
    table = load_predictions(study)
    assert sorted(table["clip_id"]) == sorted(tiny.index["clip_id"])
    assert (tiny.index["apex_place"] > 0).all()
    assert (tiny.index["apex_place"] < tiny.index["n_frames"]).all()
