import logging
import os
import warnings

import pytest

from mefusion.common.quiet import quiet_lightning


def program(folder, name, script):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A folder for SLURM's programs, first on the path."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


@pytest.fixture
def watcher():
    """What asks sacct for the state of a job, with its logger left as it was."""
    slurm = pytest.importorskip("submitit.slurm.slurm")
    from hydra_plugins.mefusion_slurm import quiet_sacct

    logger, before = logging.getLogger("submitit"), slurm.SlurmJob.watcher
    filters = list(logger.filters)
    quiet_sacct()
    yield slurm.SlurmJob.watcher
    logger.filters, slurm.SlurmJob.watcher = filters, before


def test_a_cluster_without_accounting_is_told_once(cluster, watcher, capfd, caplog):
    program(cluster, "sacct", "echo Slurm accounting storage is disabled >&2; exit 1")
    watcher.register_job("12")
    for _ in range(3):
        watcher.update()
    assert watcher.get_state("12", mode="cache") == "UNKNOWN"
    logging.getLogger("submitit").warning("Job not requeued")
    shown = capfd.readouterr()
    text = shown.out + shown.err + caplog.text
    assert text.count("mefusion-train: sacct does not answer") == 1
    assert "accounting storage" not in text
    assert "Bypassing" not in text
    assert "Job not requeued" in text


def test_states_of_jobs_are_read(cluster, watcher, capfd):
    program(cluster, "sacct", "printf 'JobID|State|NodeList\\n12|OUT_OF_MEMORY|node1\\n'")
    watcher.register_job("12")
    watcher.update()
    assert watcher.get_state("12", mode="cache") == "OUT_OF_MEMORY"
    assert not capfd.readouterr().err


def test_lightning_does_not_ask_for_srun(cluster):
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

    program(cluster, "srun", "exit 1")
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        assert not SLURMEnvironment.detect()
        assert ["srun" in str(warning.message) for warning in shown] == [True]
        quiet_lightning()
        assert not SLURMEnvironment.detect()
        assert len(shown) == 1
