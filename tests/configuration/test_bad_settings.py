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
    "faces.folder=nowhere": "faces.folder=nowhere is read with faces=precomputed alone",
    "faces.enlarge=0": "faces.enlarge=0.0: give a number above 0",
    "data=synthetic_long": "data=synthetic_long has recordings, which are for mefusion-spot",
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
    "+nonsense=1": "there is no setting called nonsense: choose from data, labels, faces, clip_length",
    "+model.nothing=1": "there is no setting called model.nothing: choose from name, view, network",
    "+model.optimizer.momentum=0.9": "no setting called model.optimizer.momentum: choose from lr, weight_decay, name",
    "+labels.datasets.casme2.nothing=1": "no setting called labels.datasets.casme2.nothing: choose from classes",
    "labels.column=mood": "labels.column=mood: choose from emotion, objective_class, action_units",
    "labels.column=fps": "labels.column=fps: choose from",
    "model.name=../x": "model.name=../x: give a name without slashes",
    "model.name=''": "model.name=: give a name",
    "data.name=a/b": "data.name=a/b: give a name without slashes",
    "data.name=null": "data.name=None: give text",
    # Arguments of classes.
    "data.root=[1]": "data.root=[1]: give text",
    "data.root=null": "data.root=None: give text",
    "model.network.neighbors=abc": "model.network.neighbors=abc: give a whole number",
    "model.network.neighbors=null": "model.network.neighbors=None: give a whole number",
    "model.network.neighbors=1.5": "model.network.neighbors=1.5: give a whole number",
    "model.network.neighbors=true": "model.network.neighbors=True: give a whole number",
    "model.network.dropout=abc": "model.network.dropout=abc: give a number",
    "model.network.reference=3": "model.network.reference=3: give text or null",
    "+model.network.nothing=1": "model.network.nothing: mefusion.models.MOL has no such argument",
    "model.network._target_=torch.nn.Linear": "torch.nn.Linear has no such argument: choose from in_",
    "callbacks=[examples] callbacks.examples.every=abc": "callbacks.examples.every=abc: give a whole number",
    "+tasks.rank.nothing=1": "tasks.rank.nothing: mefusion.training.losses.Rank has no such argument: choose from",
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
    "trainer.deterministic=sometimes": "trainer.deterministic=sometimes: give true or false or warn or null",
    "+trainer.overfit_batches=abc": "trainer.overfit_batches=abc: give a number",
    "+trainer.detect_anomaly=maybe": "trainer.detect_anomaly=maybe: give true or false",
    "+trainer.max_time=abc": "trainer.max_time=abc: give days:hours:minutes:seconds",
    "+trainer.nothing=1": "trainer.nothing: lightning.Trainer has no such argument",
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
    overrides = override.split()
    require_options(overrides)
    settings = experiment_of(*overrides).settings
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


class Own:
    """A class of a user's own."""

    def __init__(self, every: int, share: float = 0.5, name: str = None, sizes: tuple[int, ...] = (), **more):  # noqa: RUF013
        self.every = every


class Unresolved:
    """The same with a type that is known to type checkers only."""

    def __init__(self, every: "int", kind: "Unknown" = None):  # noqa: F821
        self.every = every


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Own, {"every": 2, "share": 1, "name": None, "sizes": [1, 2], "more": {"a": 1}}),
        (Unresolved, {"every": "2", "kind": 3}),
    ],
)
def test_arguments_of_an_own_class_are_checked_by_its_plain_types_alone(kind, options):
    assert make("here", {"_target_": f"{__name__}.{kind.__name__}", **options}, kind).every == options["every"]


def test_an_object_that_cannot_be_made_is_named():
    with pytest.raises(MefusionError, match=r"^here cannot be built: .*takes no keyword arguments$"):
        make("here", {"_target_": "mefusion.common.errors.MefusionError", "x": 1}, Exception)
