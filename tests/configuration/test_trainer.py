"""Trainer profiles."""

import json
import sys
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from composed import config_of, experiment_of, settings_of
from lightning.fabric.plugins.environments import SLURMEnvironment

from mefusion.commands import train
from mefusion.common.errors import MefusionError
from mefusion.configuration import building, processes
from mefusion.configuration.cli import configuration_folder
from mefusion.studies.runs import Run
from mefusion.training.resume import AtomicCheckpointIO

CONF = configuration_folder("conf")
PATHS = CONF.glob("trainer/**/*.yaml")
PROFILES = sorted(path.relative_to(CONF / "trainer").with_suffix("").as_posix() for path in PATHS)
SMALL = ("model.network.image_size=64", "model.network.width=0.0625", "protocol.folds=[sub01]")


def test_the_profiles_are_those_of_the_docs():
    assert PROFILES == ["cpu", "ddp", "debug/anomaly", "debug/overfit", "debug/profile", "gpu", "smoke"]


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_makes_a_trainer(profile, tmp_path):
    # Of any device that is here: what is asked of a GPU is in the configuration.
    here = ["trainer.accelerator=cpu", "trainer.devices=1", "trainer.precision=32-true"]
    experiment = experiment_of(f"trainer={profile}", *here, f"output_dir={tmp_path}")
    building.check_settings(experiment.settings)
    facts = {"model": "m", "data": "d", "labels": "l", "rule": "last", "tasks": {}}
    study = SimpleNamespace(name="s", directory=tmp_path, facts=facts)
    made = building.make_trainer(experiment, study, Run(tmp_path, "f", 0), [])
    assert isinstance(made.strategy.checkpoint_io, AtomicCheckpointIO)
    expected = {"smoke": 1, "debug/anomaly": 1, "debug/profile": 1, "debug/overfit": 100}
    assert made.max_epochs == expected.get(profile, 12)
    assert (made.num_sanity_val_steps, made.limit_val_batches) == (0, 0)
    torch.use_deterministic_algorithms(False)


def test_a_slurm_job_is_not_requeued_by_lightning(monkeypatch, tmp_path):
    # Its checkpoint would be found by every fold.
    variables = {"NTASKS": "1", "JOB_NAME": "study", "JOB_ID": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    for name, value in variables.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    experiment = experiment_of("trainer=smoke", f"output_dir={tmp_path}")
    facts = {"model": "m", "data": "d", "labels": "l", "rule": "last", "tasks": {}}
    study = SimpleNamespace(name="s", directory=tmp_path, facts=facts)
    made = building.make_trainer(experiment, study, Run(tmp_path, "f", 0), [])
    environment = made._accelerator_connector.cluster_environment
    assert isinstance(environment, SLURMEnvironment)
    assert environment.auto_requeue is False
    torch.use_deterministic_algorithms(False)


def test_apple_s_gpus_are_refused(monkeypatch):
    fabric = SimpleNamespace(device=torch.device("mps"), world_size=1)
    monkeypatch.setattr(processes.L, "Fabric", lambda **options: fabric)
    with pytest.raises(MefusionError, match=r"trainer\.accelerator=gpu.*\(MPS\).*trainer\.accelerator=cpu"):
        processes.start_processes({"accelerator": "gpu"})


def test_profiles_ask_for_what_they_are_named_by():
    gpu, ddp = (config_of(f"trainer={name}").trainer for name in ("gpu", "ddp"))
    assert (gpu.accelerator, gpu.devices, gpu.precision) == ("gpu", 1, "bf16-mixed")
    assert (gpu.benchmark, gpu.deterministic) == (True, False)  # MaxPool3d has no deterministic backward there
    assert (ddp.strategy, ddp.devices, ddp.sync_batchnorm) == ("ddp", "auto", None)
    training = config_of("model=mol_tiny", "trainer=debug/overfit").model.training
    assert (training.flip, training.crop_jitter, training.windows) == (False, 0, "first")


@pytest.mark.parametrize(
    ("accelerator", "asked", "gpu", "synchronised"),
    [
        ("gpu", "null", True, True),
        ("auto", "null", True, True),
        ("auto", "null", False, False),
        ("cpu", "null", True, False),
        ("gpu", "false", True, False),
        ("gpu", "true", True, True),
    ],
)
def test_batch_normalisation_is_synchronised_on_gpus(monkeypatch, accelerator, asked, gpu, synchronised):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    settings = settings_of("trainer=ddp", f"trainer.accelerator={accelerator}", f"trainer.sync_batchnorm={asked}")
    assert building.uses_sync_batchnorm(settings) is synchronised


@pytest.mark.parametrize("name", sorted(building.SET_BY_STUDY))
def test_what_the_study_sets_is_refused(name):
    with pytest.raises(MefusionError, match=rf"trainer\.{name} is set by the study: see "):
        building.check_settings(settings_of(f"+trainer.{name}=1"))


@pytest.mark.parametrize("profile", ["anomaly", "profile"])
def test_debugging_runs(tiny, tmp_path, monkeypatch, profile):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["mefusion-train", *tiny.overrides, *SMALL, f"trainer=debug/{profile}"])
    train.main()
    torch.use_deterministic_algorithms(False)
    torch.autograd.set_detect_anomaly(False)
    (study,) = tmp_path.glob("outputs/*three*")
    assert json.loads((study / "study.json").read_text())["rule"] == "last"
    assert len(pd.read_csv(study / "folds" / "synthetic-sub01" / "metrics.csv")) == 1
    written = {path.name for path in tmp_path.glob("outputs/profile/*")}
    assert written == ({"fit-folds.txt", "predict-folds.txt"} if profile == "profile" else set())
