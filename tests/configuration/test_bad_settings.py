"""Settings that make no sense: one sentence before anything runs. Another case is another line of the table."""

import os

import pytest
from composed import experiment_of
from omegaconf.errors import OmegaConfBaseException

from mefusion.common.errors import MefusionError
from mefusion.configuration import building, processes
from mefusion.configuration.cli import require_options
from mefusion.configuration.objects import make

CLASS = "is not allowed here: name a class of"
CASES = {  # overrides -> what the sentence says
    # Numbers.
    "model.optimizer.lr=nan": "model.optimizer.lr=nan: give a finite number",
    "model.optimizer.lr=inf": "model.optimizer.lr=inf: give a finite number",
    "model.optimizer.weight_decay=nan": "model.optimizer.weight_decay=nan: give a finite number",
    "model.network.dropout=nan": "model.network.dropout=nan: give a finite number",
    "tasks.flow.weight=nan": "tasks.flow.weight=nan: give a finite number",
    "model.task_weights.flow=inf": "model.task_weights.flow=inf: give a finite number",
    "+tasks.rank.margin=nan": "tasks.rank.margin=nan: give a finite number",
    "+trainer.gradient_clip_val=nan": "trainer.gradient_clip_val=nan: give a finite number",
    "faces.enlarge=nan": "faces.enlarge=nan: give a finite number",
    "faces.enlarge=0": "faces.enlarge=0.0: give a number above 0",
    "seeds=[99999999999999999999999]": "give a number of at most 18 digits",
    "seeds=[0,18446744073709551616]": "give a number of at most 18 digits",
    "seeds=[-1]": "different whole numbers from 0 up",
    "data.seed=99999999999999999999": "data.seed=99999999999999999999: give a number of at most 18 digits",
    "model.training.batch_size=99999999999999999999": "give a number of at most 18 digits",
    "clip_length=99999999999999999999": "clip_length=99999999999999999999: give a number of at most 18 digits",
    "model.network.image_size=null": "model.network.image_size=None: give a whole number of pixels",
    "model.network.image_size=[64]": "model.network.image_size=[64]: give a whole number of pixels",
    "model.network.image_size=abc": "model.network.image_size=abc: give a whole number of pixels",
    "model.network.image_size=64.0": "model.network.image_size=64.0: give a whole number of pixels",
    "model.network.image_size=0": "model.network.image_size=0: give a whole number of pixels",
    "~model.network.image_size": "model.network.image_size=None: give a whole number of pixels",
    # Groups and names.
    **{f"{group}={value}": f"{group}={text}: choose from" for group, value, text in (
        ("tasks", "null", "None"), ("data", "null", "None"), ("model", "5", "5"), ("trainer", "{a:1}", "{'a': 1}"),
        ("hydra/launcher", "null", "None"), ("callbacks", "null", "None"),
    )},
    "labels.column=mood": "labels.column=mood: choose from emotion, objective_class, action_units",
    "labels.column=fps": "labels.column=fps: choose from",
    "model.name=../x": "model.name=../x: give a name without slashes",
    "model.name=''": "model.name=: give a name",
    "data.name=a/b": "data.name=a/b: give a name without slashes",
    "data.name=null": "data.name=None: give a name",
    "data.root=[1]": "data cannot be built: ",
    # The trainer.
    "trainer.precision=64": "trainer.precision=64: choose from 32-true, bf16-mixed, 16-mixed",
    "trainer.precision=bf16-true": "trainer.precision=bf16-true: choose from",
    "+trainer.gradient_clip_val=-1": "trainer.gradient_clip_val=-1: give a number above 0",
    "+trainer.gradient_clip_val=abc": "trainer.gradient_clip_val=abc: give a number above 0",
    "+trainer.limit_train_batches=0": "trainer.limit_train_batches=0: give a number above 0",
    "+trainer.limit_predict_batches=0": "trainer.limit_predict_batches is set by the study",
    "+trainer.limit_predict_batches=.5": "trainer.limit_predict_batches is set by the study",
    "+trainer.fast_dev_run=true": "trainer.fast_dev_run is set by the study: see trainer=smoke",
    "+trainer.accumulate_grad_batches=0": "trainer.accumulate_grad_batches=0: give a whole number from 1 up",
    "+trainer.accumulate_grad_batches=abc": "trainer.accumulate_grad_batches=abc: give a whole number from 1 up",
    "trainer.log_every_n_steps=abc": "trainer.log_every_n_steps=abc: give a whole number from 1 up",
    # Classes.
    "model.network._target_=os.system": f"model.network._target_=os.system {CLASS} torch.nn.modules.module.Module",
    "model.network._target_=os.getlogin": CLASS,
    "model.network._target_=subprocess.Popen": CLASS,
    "model.network._target_=collections.OrderedDict": CLASS,
    "model.network._target_=mefusion": "cannot be imported",
    "model.network._target_=mefusion.models.Nope": "cannot be imported (AttributeError: ",
    "model.network._target_=nope.Nope": "cannot be imported (ModuleNotFoundError: No module named 'nope')",
    "model.network._target_=null": "model.network._target_=None: give the name of a class",
    "model.network._target_=''": "cannot be imported",
    "~model.network._target_": "model.network names no class: give model.network._target_=CLASS",
    "+model.network._partial_=true": "model.network._partial_ is not allowed",
    "+model.network._args_=[1]": "model.network._args_ is not allowed",
    "+model.network._recursive_=abc": "model.network._recursive_=abc: choose from true, false",
    "+model.network.part={_target_:os.system}": f"model.network.part._target_=os.system {CLASS}",
    "+model.network.parts=[{a:{_target_:os.system}}]": f"model.network.parts[0].a._target_=os.system {CLASS}",
    "data._target_=os.system": f"{CLASS} mefusion.datasets.reading.source.Source",
    "data._target_=mefusion.models.MOL": CLASS,
    "+data.part={_target_:os.system}": f"data.part._target_=os.system {CLASS}",
    "tasks.flow._target_=os.system": f"{CLASS} mefusion.training.losses.Task",
    "+tasks.unused={_target_:os.getlogin}": f"tasks.unused._target_=os.getlogin {CLASS}",
    "trainer._target_=os.system": f"{CLASS} lightning.pytorch.trainer.trainer.Trainer",
    "+trainer.profiler={_target_:os.system}": f"{CLASS} lightning.pytorch.trainer.trainer.Trainer or lightning",
    "+callbacks.x._target_=os.system": f"{CLASS} lightning.pytorch.callbacks.callback.Callback",
    "+callbacks.x._target_=torch.nn.Linear": CLASS,
    "+logger.x._target_=os.system": f"{CLASS} lightning.pytorch.loggers.logger.Logger or mefusion",
    "+logger.x._target_=lightning.pytorch.callbacks.LearningRateMonitor": CLASS,
}  # fmt: skip


@pytest.fixture
def never_called(monkeypatch):
    """What must not be called, whatever a configuration names."""

    def called(*_, **__):
        pytest.fail("a function that is none of ours was called")

    monkeypatch.setattr(os, "system", called)
    monkeypatch.setattr(os, "getlogin", called)


@pytest.mark.usefixtures("never_called")
@pytest.mark.parametrize("override", CASES)
def test_a_bad_setting_is_one_sentence(override):
    with pytest.raises((MefusionError, OmegaConfBaseException)) as error:
        check(override)
    sentence = str(error.value).splitlines()[0]  # OmegaConf adds lines on the key, which commands leave out
    assert CASES[override] in sentence


def check(override):
    """What `mefusion-train` does before it reads clips, and what reading them needs of the settings."""
    require_options([override])
    settings = experiment_of(override).settings
    building.check_settings(settings)
    assert settings.model.image_size


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"accelerator": "tpu", "devices": 1}, "trainer.accelerator=tpu"),
        ({"accelerator": "cpu", "devices": 1, "num_nodes": 0}, "num_nodes"),
        ({"accelerator": "cpu", "devices": 1, "num_nodes": 5}, "MASTER_ADDR is not set"),
    ],
)
def test_devices_that_are_not_there_are_one_sentence(options, part, monkeypatch):
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.setattr(processes.HydraConfig, "get", lambda: type("Hydra", (), {"mode": None}))
    with pytest.raises(MefusionError) as error:
        processes.start_processes(options)
    assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_what_lightning_refuses_while_it_trains_is_one_sentence():
    with pytest.raises(MefusionError, match=r"^trainer: too few batches$"), processes.report_errors_once():
        raise processes.MisconfigurationException("too few batches\nmore")


def test_an_object_that_cannot_be_made_is_named():
    with pytest.raises(MefusionError, match=r"^here cannot be built: .*takes no keyword arguments$"):
        make("here", {"_target_": "mefusion.common.errors.MefusionError", "x": 1}, Exception)
