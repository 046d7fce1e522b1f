"""Which weights predict, through the real command."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from mefusion.commands import train
from mefusion.evaluation.predictions import load_predictions
from mefusion.training.checkpoints import MovingAverage, _average
from mefusion.training.module import MERModule, Prediction, validation_scores

SMALL = ("trainer=smoke", "model.network.image_size=64", "model.network.width=0.0625", "trainer.max_epochs=4")


@pytest.fixture
def run(three, tmp_path, monkeypatch):
    """Run `mefusion-train` on one fold of the three subjects; returns the fold's folder."""

    def run(*overrides):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["mefusion-train", *three, *SMALL, "protocol.folds=[sub02]", *overrides])
        before = set(tmp_path.glob("outputs/*"))
        train.main()
        (study,) = set(tmp_path.glob("outputs/*")) - before
        return study / "folds" / "synthetic-sub02"

    yield run
    torch.use_deterministic_algorithms(False)


def weights_after_each_epoch(monkeypatch):
    """Collects copies of the weights, the last step's of each epoch."""
    kept, end = [], MERModule.on_train_epoch_end

    def keep(self):
        kept.append({name: value.clone() for name, value in self.state_dict().items()})
        end(self)

    monkeypatch.setattr(MERModule, "on_train_epoch_end", keep)
    return kept


def predicted_with(monkeypatch):
    """The weights that predict."""
    used, step = [], MERModule.predict_step

    def watch(self, batch, batch_idx):
        used.append({name: value.clone() for name, value in self.state_dict().items()})
        return step(self, batch, batch_idx)

    monkeypatch.setattr(MERModule, "predict_step", watch)
    return used


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def told(fold):
    table = load_predictions(fold)
    assert len(set(zip(table["rule"], table["epoch"], strict=True))) == 1
    return table["rule"].iloc[0], int(table["epoch"].iloc[0])


def test_the_last_weights_predict_unless_another_rule_is_named(run, monkeypatch):
    epochs, used = weights_after_each_epoch(monkeypatch), predicted_with(monkeypatch)
    fold = run()
    assert told(fold) == ("last", 4)
    assert same(used[0], epochs[3])


@pytest.mark.parametrize("rule", ["inner_val", "oracle"])
def test_the_best_epoch_predicts(run, monkeypatch, capsys, rule):
    # What the validation says is made up here: the third epoch is as good as the second, with less loss.
    scores, seen = iter([(0.2, 1.0), (0.6, 0.9), (0.6, 0.5), (0.5, 0.1)]), []

    def made_up(prediction, labels):
        seen.append(sorted(set(prediction.clip.tolist())))
        uf1, loss = next(scores)
        return {"uf1": uf1, "loss": loss, "criterion": uf1 - 1e-3 * loss}

    monkeypatch.setattr("mefusion.training.module.validation_scores", made_up)
    epochs, used = weights_after_each_epoch(monkeypatch), predicted_with(monkeypatch)
    fold = run(f"rule={rule}")
    assert told(fold) == (rule, 3)
    assert same(used[0], epochs[2])
    assert not same(used[0], epochs[3])
    log = pd.read_csv(fold / "metrics.csv")
    assert log["validation/uf1"].dropna().tolist() == pytest.approx([0.2, 0.6, 0.6, 0.5])
    tested = sorted(load_predictions(fold)["clip_id"])
    about = json.loads((fold / "fold.json").read_text())
    if rule == "oracle":
        assert "rule=oracle selects the best epoch on the test subjects" in capsys.readouterr().out
        assert len(seen[0]) == len(tested)
        assert "validation" not in about
    else:
        (subject,) = about["validation"]
        assert subject in ("synthetic/sub01", "synthetic/sub03")


def test_validation_subjects_are_trained_on_by_no_one(run, monkeypatch, three_index):
    trained, validated = set(), set()
    step, look = MERModule.training_step, MERModule.validation_step
    monkeypatch.setattr(
        MERModule, "training_step", lambda self, batch, n: trained.update(batch.clip.tolist()) or step(self, batch, n)
    )
    monkeypatch.setattr(
        MERModule,
        "validation_step",
        lambda self, batch, n: validated.update(batch.clip.tolist()) or look(self, batch, n),
    )
    fold = run("rule=inner_val", "trainer.max_epochs=1")
    (subject,) = json.loads((fold / "fold.json").read_text())["validation"]
    of = dict(enumerate(three_index["subject"]))
    assert {of[clip] for clip in validated} == {subject}
    assert {of[clip] for clip in trained} == {"synthetic/sub01", "synthetic/sub03"} - {subject}


def test_a_best_epoch_needs_a_whole_epoch(run, tmp_path):
    with pytest.raises(SystemExit, match=r"complete epochs, which have 2 steps in fold synthetic-sub02.*max_steps=1"):
        run("rule=inner_val", "trainer.max_epochs=-1", "model.training.max_steps=1", "model.training.batch_size=1")
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize("option", ["+trainer.accumulate_grad_batches=2", "+trainer.limit_train_batches=1"])
def test_a_whole_epoch_may_be_one_step_of_several_batches_or_of_a_few(run, option):
    steps = ("trainer.max_epochs=-1", "model.training.max_steps=1", "model.training.batch_size=1")
    assert told(run("rule=inner_val", *steps, option)) == ("inner_val", 1)


def test_the_average_of_the_weights_predicts(run, monkeypatch):
    epochs, used = weights_after_each_epoch(monkeypatch), predicted_with(monkeypatch)
    fold = run("rule=average")  # an epoch is one step
    assert told(fold) == ("average", 4)
    for name, value in used[0].items():
        average = epochs[0][name]
        for count, epoch in enumerate(epochs[1:], 1):
            decay = (1 + count) / (10 + count)
            average = decay * average + (1 - decay) * epoch[name] if average.is_floating_point() else epoch[name]
        torch.testing.assert_close(value, average)
    assert not same(used[0], epochs[3])


def test_a_long_training_s_average_has_a_decay_of_999_thousandths():
    averaged = [torch.zeros(1)]
    _average(averaged, [torch.ones(1)], 10**6)
    assert averaged[0].item() == pytest.approx(0.001)
    table = [torch.tensor([7])]
    _average(table, [torch.tensor([7])], 3)  # .9 * 7 + .1 * 7 would be cut to 6
    assert table[0].item() == 7


def test_the_average_is_on_the_device_that_trains():
    module = torch.nn.Linear(1, 1)
    callback = MovingAverage()
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("meta")))
    callback.setup(trainer, module, "predict")
    assert callback._device == torch.device("meta")


def test_validation_scores_by_hand():
    # Clip 0 (class 0) has windows .9 and .3 of class 0: .6, right. Clip 2 (class 1) has .2 of class 1: wrong.
    prediction = Prediction(torch.tensor([0, 2, 0]), torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]]), {})
    scores = validation_scores(prediction, np.array([0, 0, 1]))
    assert scores["uf1"] == pytest.approx((2 / 3 + 0) / 2)
    assert scores["loss"] == pytest.approx(-(np.log(0.6) + np.log(0.2)) / 2)
    # A better UF1 counts for more than any loss, a lower loss where UF1 is the same.
    surer = validation_scores(
        prediction.__class__(prediction.clip, prediction.probabilities**2, {}), np.array([0, 0, 1])
    )
    assert surer["uf1"] == scores["uf1"]
    assert (surer["criterion"] < scores["criterion"]) == (surer["loss"] > scores["loss"])
    right = validation_scores(prediction, np.array([0, 0, 0]))
    assert right["criterion"] > scores["criterion"]
