"""Zero-shot recognition: trained on rendered motion, tested on flow images, through the real commands."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from imitations import write_small

from mefusion.commands import prepare, train
from mefusion.evaluation.predictions import load_predictions
from mefusion.synthetic.motion.generate import subject_motion
from mefusion.synthetic.motion.settings import MotionSettings

SMALL = [f"data.sources.synthetic_motion.{setting}" for setting in ("subjects=2", "clips_per_class=1", "root=motion")]
REAL = ["data.sources.flow_images.root=real"]
POOL = ["data=pooled", "data/sources=[synthetic_motion,flow_images]"]


def run(monkeypatch, main, program, *arguments):
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    main()


@pytest.fixture
def real(tmp_path, monkeypatch):
    """Flow images in the form in which they are passed around, of six clips of two subjects."""
    monkeypatch.chdir(tmp_path)
    images = dict(
        zip(
            ("negative", "positive", "surprise"),
            subject_motion(MotionSettings(clips_per_class=1), 9).images,
            strict=True,
        )
    )
    write_small(
        "flow_images", tmp_path / "real", lambda row, number: images[row.emotion], subjects=2, clips_per_class=1
    )


@pytest.mark.usefixtures("real")
def test_rendered_motion_is_trained_on_and_flow_images_are_tested(monkeypatch, tmp_path, capsys):
    run(monkeypatch, prepare.main, "mefusion-prepare", *POOL, *SMALL, *REAL, "workers=1")
    assert "12 of 12 clips of 4 subjects" in capsys.readouterr().out
    datasets = {*pd.read_csv(next((tmp_path / "real").glob("*.csv")))["dataset"]}
    chosen = ["data.allow_partial=true", f"protocol.test=[{','.join(datasets)}]", "trainer=smoke"]
    run(monkeypatch, train.main, "mefusion-train", "+transfer=zero_shot", *SMALL, *REAL, *chosen)
    (study,) = (tmp_path / "outputs").iterdir()
    table = load_predictions(study)
    assert len(table) == 6
    assert set(table["dataset"]) == datasets
    told = json.loads((study / "study.json").read_text())
    assert told["protocol"] == "cross_dataset"
    assert told["clips"] == 6


def test_rendered_motion_alone_is_a_dataset(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    small = [setting.replace("sources.synthetic_motion.", "") for setting in SMALL]
    run(monkeypatch, prepare.main, "mefusion-prepare", "data=synthetic_motion", *small, "data.size=56", "workers=1")
    assert "6 of 6 clips of 2 subjects" in capsys.readouterr().out
    chosen = ["model=ststnet", "trainer=smoke"]
    run(monkeypatch, train.main, "mefusion-train", "data=synthetic_motion", *small, "data.size=56", *chosen)
    (study,) = (tmp_path / "outputs").iterdir()
    table = load_predictions(study)
    assert len(table) == 6
    assert np.isfinite(table.filter(like="probability").to_numpy()).all()
