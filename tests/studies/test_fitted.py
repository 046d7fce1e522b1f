"""Studies of networks that are fitted at once: on the training subjects alone, once a fold, the same every time."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from composed import experiment_of, settings_of
from safetensors.torch import load_file

from mefusion.common.errors import MefusionError
from mefusion.configuration.building import make_data, make_module
from mefusion.configuration.composition import load_clips, resolve_tasks
from mefusion.evaluation.folds import leave_one_subject_out
from mefusion.evaluation.predictions import load_predictions
from mefusion.models import LinearFlow
from mefusion.training.losses import Recognition
from mefusion.training.module import MERModule
from mefusion.training.settings import OptimizerSettings
from mefusion.windows.datamodule import Statistics
from mefusion.windows.store import Batch


class Recorder(torch.nn.Module):
    def fit(self, inputs, labels, weights):
        self.fitted = inputs, labels, weights


def test_weights_are_those_of_the_class_shared_by_the_windows_of_a_clip():
    # Classes weigh 1 and 3; the first clip has two windows. 1/2 + 1/2 + 3 = 4 is scaled to the number of clips, 2.
    tasks = {"recognition": Recognition(class_weights=torch.tensor([1.0, 3.0]))}
    module = MERModule(Recorder(), tasks, OptimizerSettings())
    assert module.is_fitted
    batch = Batch(torch.zeros(3, 1), label=torch.tensor([0, 0, 1]), clip=torch.tensor([7, 7, 4]))
    module.fit_network(batch)
    assert module.network.fitted[2].tolist() == [0.25, 0.25, 1.5]


@pytest.fixture
def fits(monkeypatch):
    """How many clips each fit got."""
    counts, fit = [], LinearFlow.fit

    def counted(self, inputs, labels, weights):
        counts.append(len(labels))
        fit(self, inputs, labels, weights)

    monkeypatch.setattr(LinearFlow, "fit", counted)
    return counts


@pytest.fixture
def train(command, tiny, tmp_path):
    """Run `mefusion-train` on the tiny set; returns the study's directory."""

    def train(*overrides):
        done = command("mefusion-train", *tiny.overrides, "output_dir=outputs", *overrides, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        (study,) = (path for path in tmp_path.glob("outputs/*") if path.name in done.stdout)
        return study

    return train


def table_of(study):
    return load_predictions(study).sort_values("clip_id", ignore_index=True)


def test_a_study_is_fitted_once_a_fold_and_again_only_where_it_is_not_done(train, fits):
    study = train("model=linear_flow")
    assert fits == [6, 6]  # three training clips in each of two folds, and their mirror images
    whole = table_of(study)
    assert len(whole) == 6
    assert {*whole["epoch"]} == {0}
    (study / "folds" / "synthetic-sub01" / "DONE").unlink()
    assert train("model=linear_flow") == study
    assert fits == [6, 6, 6]
    pd.testing.assert_frame_equal(table_of(study), whole)


@pytest.mark.parametrize("model", ["linear_flow", "hoof_svm"])
def test_the_test_subject_has_no_say_in_what_is_fitted(tiny, model):
    experiment = experiment_of(*tiny.overrides, f"model={model}")
    found = []
    for changed in (False, True):
        clips = load_clips(experiment)
        fold = leave_one_subject_out(clips.index["subject"])[0]
        for row in clips.rows(fold.test) if changed else ():
            clips.arrays[row]["flow_image"] = clips.arrays[row]["flow_image"] * 9 + 1
        data = make_data(experiment, clips, fold, 0)
        module = make_module(experiment.settings, experiment.tasks, data.statistics)
        module.fit_network(data.whole_training())
        found.append(module.network.state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_every_rule_gives_the_same_where_the_same_subjects_train(train):
    first, *others = (table_of(train("model=hoof_svm", f"rule={rule}")) for rule in ("last", "average", "oracle"))
    for table in others:
        np.testing.assert_array_equal(table["probability_negative"], first["probability_negative"])


def test_a_network_of_all_subjects_is_kept(train):
    study = train("model=hoof_svm", "protocol=all")
    weights = load_file(study / "folds" / "all" / "weights.safetensors")
    assert weights["network.vectors"].shape == (12, 441)
    assert json.loads((study / "study.json").read_text())["model"] == "hoof_svm"


@pytest.mark.parametrize("imbalance", ["sampler", "focal", "logit_adjustment"])
def test_what_balances_step_by_step_is_refused(imbalance):
    settings = settings_of("model=linear_flow", f"imbalance={imbalance}")
    statistics = Statistics(torch.zeros(3, 1, 1), torch.ones(3, 1, 1), class_counts=torch.ones(3))
    with pytest.raises(MefusionError, match=f"imbalance={imbalance} .* choose none or class_weights"):
        make_module(settings, resolve_tasks(settings), statistics)


def test_a_model_says_how_classes_are_balanced_unless_the_study_does():
    found = [settings_of(*given) for given in ([], ["model=linear_flow"], ["model=linear_flow", "imbalance_tau=0.5"])]
    assert [(each.imbalance, each.imbalance_tau) for each in found] == [
        ("none", 1),
        ("class_weights", 0.75),
        ("class_weights", 0.5),
    ]
    assert settings_of("model=flow_cnn", "imbalance=none").imbalance == "none"
