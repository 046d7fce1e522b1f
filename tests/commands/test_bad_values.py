"""What a user can get wrong, or run out of, beside single overrides: one sentence each, and nothing half-written."""

import sys
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch
from composed import config_of
from matplotlib.figure import Figure

from mefusion.clips.cache import save_arrays
from mefusion.commands import train
from mefusion.common.errors import MefusionError, WriteError
from mefusion.common.files import replacing, write_table, write_text
from mefusion.configuration.preparing import resolve_preparation
from mefusion.datasets.synthetic import write_synthetic
from mefusion.preparation.clips import prepare_clips
from mefusion.synthetic.scene import SyntheticSettings
from mefusion.training.resume import AtomicCheckpointIO

SMALL = ("trainer=smoke", "model.network.image_size=64", "model.network.width=0.0625")


@contextmanager
def room(most):
    """Files of this process can have so many bytes: the system refuses to write more, as where a disk is full."""
    resource = pytest.importorskip("resource")  # not on Windows
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """Run `mefusion-train` in this process, which must stop with one sentence; returns it."""

    def stopped(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["mefusion-train", *arguments])
        with pytest.raises(SystemExit) as stop:
            train.main()
        assert isinstance(stop.value.code, str)
        assert "\n" not in stop.value.code
        return stop.value.code

    return stopped


def draw(path):
    with replacing(path) as temporary:
        Figure().savefig(temporary, format="png")


NUMBERS = np.random.default_rng(0).standard_normal(10_000)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_text(path, "x" * 10_000),
        lambda path: write_table(path.with_suffix(".parquet"), pd.DataFrame({"a": NUMBERS})),
        lambda path: write_table(path.with_suffix(".csv"), pd.DataFrame({"a": NUMBERS})),
        lambda path: save_arrays(path, {"a": NUMBERS}, {}),
        lambda path: AtomicCheckpointIO().save_checkpoint({"a": torch.from_numpy(NUMBERS)}, path),
        draw,
    ],
)
def test_a_full_disk_leaves_the_file_as_it_was(tmp_path, write):
    write(tmp_path / "file")
    (path,) = tmp_path.iterdir()
    before = path.read_bytes()
    with room(1000), pytest.raises(MefusionError, match=rf"{path} cannot be written \(.*\): free disk space"):
        write(tmp_path / "file")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == before


def test_a_study_goes_on_when_there_is_room_again(tiny, tmp_path, stopped, capfd):
    arguments = [*tiny.overrides, *SMALL, "protocol.folds=[sub01]"]
    with room(60_000):
        sentence = stopped(*arguments)
    assert "last.ckpt cannot be written (File too large): free disk space" in sentence
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left <= {"config.yaml", "study.json", "fold.json", "metrics.csv"}
    train.main()
    assert "fold 1/1 synthetic-sub01: " in capfd.readouterr().out
    assert len(list(tmp_path.rglob("DONE"))) == 1


def test_prepare_stops_at_the_first_clip_that_cannot_be_written(tiny, tmp_path):
    preparation = resolve_preparation(config_of(*tiny.overrides, "cache_dir=cache"))
    table = preparation.source.table(workers=1)
    with room(60_000), pytest.raises(WriteError, match=r"sub01_negative_01\.safetensors cannot be written"):
        prepare_clips(table, tmp_path / "cache", preparation.settings, workers=1)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_rendering_stops_at_the_first_frame_that_cannot_be_written(tmp_path):
    with room(2_000), pytest.raises(WriteError, match=r"cannot be written \(File too large\): free disk space"):
        write_synthetic(tmp_path, SyntheticSettings(subjects=1, clips_per_class=1, frames=(2, 2)), workers=1)
    assert not list(tmp_path.rglob("*.jpg"))


def test_a_scheme_that_the_data_do_not_have_is_named_with_those_they_have(tiny, tmp_path, stopped):
    arguments = ["data=smic", f"data.root={tmp_path}", "faces=none", f"cache_dir={tmp_path / 'cache'}", "labels=five"]
    cache = resolve_preparation(config_of(*arguments)).cache
    cache.mkdir(parents=True)
    tiny.index.assign(dataset="smic").to_parquet(cache / "index.parquet")
    sentence = stopped(*arguments, *SMALL)
    for part in ("labels=five", "smic", "labels=three"):
        assert part in sentence
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["model.optimzer.lr=1e-3"], ["model.optimzer.lr"]),
        (["logger=paper"], ["logger=paper", "csv, tensorboard, wandb"]),
        (["+logger.paper=1"], ["logger.paper names no class", "logger.paper._target_=CLASS"]),
        (["callbacks=[examples]", "callbacks.examples.every=0"], ["callbacks.examples.every=0"]),
        (["callbacks=[early_stopping]"], ["callbacks.early_stopping.monitor=validation/criterion", "rule=inner_val"]),
        (["callbacks=[coffee]"], ["callbacks=coffee", "early_stopping"]),
        (["-m", "hydra/launcher=bus"], ["hydra/launcher=bus", "processes"]),
        (["-m", "hydra.launcher.n_jobs=0"], ["hydra.launcher.n_jobs=0"]),
        (["-m", "hydra.launcher.n_jobs=many"], ["n_jobs", "many"]),
        (["-m", "model=mol_tiny,nothing"], ["model=nothing", "mol_tiny"]),
        (["+ablation=neighbors"], ["model.network.neighbors has several values", "add -m"]),
        (["+ablation=neighbors", "model.network.neighbors=999"], ["neighbors = 999"]),
        (["+reproduce=mol_casme9"], ["reproduce=mol_casme9", "mol_casme2_five"]),
    ],
)
def test_a_bad_value_stops_a_study_before_it_begins(tiny, tmp_path, stopped, arguments, parts):
    sentence = stopped(*arguments, *tiny.overrides, *(() if "+rep" in arguments[0] else SMALL))
    for part in parts:
        assert part in sentence
    assert not list(tmp_path.glob("outputs/*/study.json"))
