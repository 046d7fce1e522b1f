"""`mefusion-train ... --estimate`: what a study takes, before it is run."""

import tempfile
import time

import pytest
from composed import experiment_of

from mefusion.bench.estimate import Costs, Stopwatch, Work, duration, estimate, size, work_of
from mefusion.configuration.building import make_builder
from mefusion.configuration.composition import load_clips, plan_study
from mefusion.studies.study import run_study

SMALL = ("model.network.image_size=64", "model.network.width=0.0625")
QUICK = ("model=majority", "trainer=smoke")


@pytest.fixture
def planned(tmp_path):
    """Experiment, study and clips of overrides, with the outputs in `tmp_path`."""

    def planned(*overrides):
        experiment = experiment_of(*overrides, f"output_dir={tmp_path}")
        clips = load_clips(experiment)
        return experiment, plan_study(experiment, clips), clips

    return planned


def test_the_estimate_is_near_the_time_that_the_study_takes(tiny, planned, tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    experiment, study, clips = planned(*tiny.overrides, *SMALL, "model.training.max_epochs=9")
    seconds, lines = estimate(experiment, study, clips, study.runs)
    assert [*tmp_path.rglob("*")] == [temporary]
    start = time.perf_counter()
    run_study(study, study.runs, clips, make_builder(experiment, clips, study, []), lambda line: None)
    taken = time.perf_counter() - start
    assert taken / 3 < seconds < taken * 3
    assert f"2 folds x 9 steps of 8 windows: {duration(seconds)} here" in lines[0]
    assert "measured on fold synthetic-sub01, in " in lines[1]
    written = sum(path.stat().st_size for path in study.directory.rglob("*") if path.is_file())
    assert lines[3].startswith("disk: ")
    assert float(lines[3].split()[1]) == pytest.approx(written / 1e6, rel=0.1)  # MB


def test_the_command_says_it_and_writes_nothing(tiny, command, tmp_path):
    own = (*tiny.overrides, *QUICK, "trainer=debug/profile", f"output_dir={tmp_path / 'outputs'}")
    done = command("mefusion-train", "--estimate", *own, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, *others = done.stdout.splitlines()
    assert "2 folds x 0 steps of 256 windows: " in first  # it only counts, so it has no steps
    assert [line.split()[0] for line in others] == ["measured", "memory:", "disk:"]
    assert "training step" not in others[0]
    assert list(tmp_path.iterdir()) == []


def test_what_is_done_is_not_counted(tiny, command, tmp_path):
    for given in ("protocol.folds=[sub01]", "--estimate"):
        done = command("mefusion-train", *tiny.overrides, *QUICK, given, cwd=tmp_path)
    assert ": 1 fold x " in done.stdout
    assert "measured on fold synthetic-sub02" in done.stdout
    done = command("mefusion-train", *tiny.overrides, *QUICK, "--estimate", "protocol.folds=[sub01]", cwd=tmp_path)
    assert done.stdout.endswith("none is left to run\n")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["-m", "seeds=[0],[1]"], "without -m"),
        (["--multirun", "seeds=[0],[1]"], "without -m"),
        (["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"], "trainer.devices=1"),
    ],
)
def test_one_study_on_one_device_is_measured(tiny, command, tmp_path, arguments, part):
    done = command("mefusion-train", *tiny.overrides, *QUICK, *arguments, "--estimate", cwd=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("mefusion-train: ")
    assert "--estimate measures one" in line
    assert part in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("overrides", "work"),
    [
        # Two of three subjects with two clips each train; each clip has one window.
        (["model.training.max_epochs=5"], Work(epochs=5, steps=5, validated=0, tested=2)),
        (["model.training.max_epochs=5", "model.training.batch_size=3"], Work(5, 10, 0, 2)),
        (
            ["model.training.max_epochs=-1", "model.training.max_steps=7", "model.training.batch_size=3"],
            Work(4, 7, 0, 2),
        ),
        (
            ["model.training.max_epochs=2", "model.training.max_steps=70", "model.training.batch_size=1"],
            Work(2, 8, 0, 2),
        ),
        (["trainer=smoke", "rule=inner_val"], Work(1, 1, 2, 4)),
        (["trainer=smoke", "rule=oracle"], Work(1, 1, 2, 2)),
        (["model.training.batch_size=1", "trainer=smoke", "+trainer.limit_train_batches=3"], Work(1, 3, 0, 2)),
        (["model.training.batch_size=1", "trainer=smoke", "+trainer.limit_train_batches=0.5"], Work(1, 2, 0, 2)),
        (["model.training.batch_size=1", "trainer=smoke", "+trainer.limit_train_batches=null"], Work(1, 4, 0, 2)),
    ],
)
def test_the_work_of_a_fold_by_hand(three, planned, overrides, work):
    experiment, study, clips = planned(*three, *overrides)
    assert work_of(experiment, study, clips, study.runs[0]) == work


def test_the_time_of_a_fold_by_hand():
    costs = Costs(
        **{"step": 2, "epoch": 10, "validated": 0.5, "tested": 0.25, "rest": 100},
        **{"memory": 1, "memory_measure": "VmHWM", "disk": 1, "measuring": 1},
    )
    assert (
        costs.seconds(Work(epochs=3, steps=30, validated=4, tested=8)) == 100 + 30 * 2 + 3 * (10 + 4 * 0.5) + 8 * 0.25
    )


def test_parts_are_told_by_the_marks_between_them():
    watch = Stopwatch()
    watch.marks = [("epoch", 0), ("step", 2), ("step", 3), ("validation", 3.5), ("validated", 5), ("epoch", 6)]
    watch.marks += [("step", 7), ("trained", 9), ("prediction", 10), ("predicted", 12)]
    assert watch.between(["epoch", "step"], ["step"]) == [2, 1, 1]
    assert watch.between(["step", "validated"], ["validation", "epoch", "trained"]) == [0.5, 1, 2]
    assert watch.between(["validation"], ["validated"]) == [1.5]
    assert watch.between(["prediction"], ["predicted"]) == [2]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0314, "0.031 s"),
        (17.3, "17 s"),
        (100, "1.7 min"),
        (7200, "2 h"),
        (447_000, "5.2 days"),
        (1e8, "1157.4 days"),
    ],
)
def test_durations_are_read_at_once(seconds, text):
    assert duration(seconds) == text


def test_sizes_are_read_at_once():
    assert [size(count) for count in (46_200_000, 2_150_000_000)] == ["46.2 MB", "2.1 GB"]
