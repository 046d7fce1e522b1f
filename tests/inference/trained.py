"""Studies that are trained on all subjects of the tiny set, and bundles of them."""

import shutil
import sys

import pandas as pd
import pytest
import torch
from composed import experiment_of

from mefusion.commands import train
from mefusion.configuration.building import make_data, make_module
from mefusion.configuration.composition import load_clips
from mefusion.evaluation.folds import Fold
from mefusion.studies.record import planned_runs
from mefusion.training.module import Prediction
from mefusion.training.weights import load_weights

SMOKE = "trainer=smoke"


def train_study(folder, tiny, *overrides):
    """`mefusion-train` in this process; returns the study's directory."""
    before = {*folder.glob("outputs/*")}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["mefusion-train", *tiny.overrides, SMOKE, *overrides])
        patch.setattr(train, "reuse_freed_memory", lambda: None)
        deterministic = torch.are_deterministic_algorithms_enabled()
        try:
            train.main()
        finally:
            torch.use_deterministic_algorithms(deterministic)
    (study,) = {*folder.glob("outputs/*")} - before
    return study


def own_prediction(study, tiny, *overrides):
    """What a study predicts for its prepared clips with the weights that it keeps: clip_id -> probabilities."""
    experiment = experiment_of(*tiny.overrides, SMOKE, *overrides)
    clips = load_clips(experiment)
    subjects = tuple(sorted({*clips.index["subject"]}))
    data = make_data(experiment, clips, Fold("all", train=subjects, test=subjects), 0)
    module = make_module(experiment.settings, experiment.tasks, data.statistics).eval()
    module.network.load_state_dict(load_weights(planned_runs(study)[0].weights).network)
    with torch.no_grad():
        batches = [module.predict_step(data.normalise(batch), 0) for batch in data.predict_dataloader()]
    means = Prediction.joined(batches, len(data.test_windows)).by_clip()
    return {clips.index["clip_id"][row]: means.loc[row, [0, 1, 2]].to_numpy() for row in means.index}


def manifest_of(tiny, folder, count=2):
    """A manifest of the first clips of the tiny set, in a folder of its own."""
    rows = pd.read_csv(tiny.frames / "manifest.csv", dtype=str).iloc[:count]
    for path in rows["path"]:
        shutil.copytree(tiny.frames / path, folder / path)
    rows.to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"
