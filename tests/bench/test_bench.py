"""`mefusion-bench`: what it measures, prints and writes."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from composed import settings_of

from mefusion.bench import measuring, table
from mefusion.bench.settings import MEMORY, PRECISIONS, Settings
from mefusion.commands import bench
from mefusion.configuration.building import make_network
from mefusion.configuration.composition import resolve_tasks
from mefusion.training.losses import interocular

BIN = Path(sys.executable).parent


@pytest.fixture(autouse=True)
def _memory_as_it_is(monkeypatch):
    """What `main` sets holds for the whole process: a later test would not see its memory go back to the system."""
    monkeypatch.setattr(bench, "reuse_freed_memory", lambda: None)


@pytest.fixture(scope="module")
def compared(command, tmp_path_factory):
    """What a comparison of the two small models printed and wrote."""
    folder = tmp_path_factory.mktemp("compared")
    done = command(
        *("mefusion-bench", "model=mol_tiny", "--steps", "3", "labels=five", "--warmup", "1", "--batch-size", "2"),
        *("--against", "model=fdp_tiny tasks=recognition", "--json", "out.json"),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((folder / "out.json").read_text())


def a_measurement(**changes):
    measurement = measuring.Measurement(
        overrides=("model=some",),
        model="some",
        batch_size=4,
        device="cpu",
        precision="32-true",
        parameters=1_234_567,
        gflop_per_clip=2.0,
        forward_times=(0.1, 0.3, 0.2),
        training_times=(3.0, 0.5, 1.0),
        peak_memory=5_000_000,
        memory_measure="VmHWM",
    )
    return dataclasses.replace(measurement, **changes)


# The command.


def test_the_table_has_all_columns_and_both_models(compared):
    printed, _ = compared
    for text in (*table.COLUMNS, table.CONVENTION, "mol_tiny", "fdp_tiny"):
        assert text in printed
    assert "A: model=mol_tiny labels=five" in printed
    assert "B: model=fdp_tiny tasks=recognition" in printed


def test_a_comparison_prints_the_ratio_that_it_writes(compared):
    printed, written = compared
    ours, other = written["measurements"]
    for key in ("forward", "training_step"):
        assert written["ratios"][key] == pytest.approx(ours[key] / other[key])
    assert f"training step {written['ratios']['training_step']:.3f}; below 1: A is faster" in printed


def test_the_file_has_all_steps_their_medians_and_what_they_ran_on(compared):
    _, written = compared
    assert written["threads"] == torch.get_num_threads()
    assert {"torch", "device_name", "steps", "warmup", "flops"} <= set(written)
    for measurement in written["measurements"]:
        assert measurement["batch_size"] == 2
        for times, median in (("forward_times", "forward"), ("training_times", "training_step")):
            assert len(measurement[times]) == 3
            assert measurement[median] == sorted(measurement[times])[1]
        assert 0 < measurement["forward"] < measurement["training_step"] < 60
        assert measurement["clips_per_second"] == pytest.approx(2 / measurement["training_step"])
        # Two models in one process: neither's memory can be told.
        assert measurement["peak_memory"] is None


def test_parameters_are_the_networks(compared):
    for measurement, classes in zip(compared[1]["measurements"], (5, 3), strict=True):
        settings = settings_of(*measurement["overrides"])
        network = make_network(settings, resolve_tasks(settings), classes)
        assert measurement["parameters"] == sum(parameter.numel() for parameter in network.parameters())
        assert measurement["gflop_per_clip"] > 0.05


def test_a_model_alone_has_its_memory_measured(script, tmp_path):
    done = script(
        *("mefusion-bench", "model=ststnet", "--batch-size", "2", "--steps", "1", "--warmup", "1"),
        *("--precision", "bf16-mixed", "--profile", "3", "--threads", "1", "--json", "deep/out.json"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (measurement,) = json.loads((tmp_path / "deep" / "out.json").read_text())["measurements"]
    assert measurement["precision"] == "bf16-mixed"
    assert 100e6 < measurement["peak_memory"] < 10e9
    assert MEMORY[measurement["memory_measure"]] in done.stdout
    assert "Self CPU %" in done.stdout
    assert done.stdout.count("aten::") <= 3


def test_a_model_of_one_s_own_is_measured_wherever_its_folder_is_named(monkeypatch, capsys):
    monkeypatch.chdir(Path(__file__).parents[2] / "examples" / "own_model")
    few = ("--batch-size", "2", "--steps", "1", "--warmup", "0")
    bench.main(["model=difference", *few, "--config-dir", ".", "labels=five", "--against", "model=difference"])
    printed = capsys.readouterr().out
    assert "A: model=difference labels=five" in printed
    assert "B: model=difference" in printed


def test_help_comes_within_two_seconds_without_torch(tmp_path):
    resource = pytest.importorskip("resource")  # not on Windows
    times = []
    while len(times) < 3 and min(times, default=2) >= 2:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([BIN / "mefusion-bench", "--help"], cwd=tmp_path, capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0, done.stderr
        assert "--against" in done.stdout
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times) < 2
    code = "import sys, mefusion.commands.bench; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split()
    assert not {"torch", "lightning", "hydra", "rich"} & set(loaded)


def test_a_bad_override_is_one_line_on_stderr(command, tmp_path):
    done = command("mefusion-bench", "nonsense=1", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("mefusion-bench: there is no setting or group called nonsense")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["model=nothing"], ["model=nothing", "mol_tiny"]),
        (["model=ststnet", "--against", "model=nothing"], ["model=nothing", "mol_tiny"]),
        (["--against", "'"], ["--against", "quotation mark"]),
        (["clip_length=["], ["clip_length=["]),
        (["trainer=abacus"], ["trainer=abacus", "cpu"]),
        (["model.network.image_size=33"], ["image_size", "33"]),
        (["--batch-size", "0"], ["--batch-size=0"]),
        (["model.training.batch_size=0"], ["model.training.batch_size=0"]),
        (["--steps", "0"], ["--steps=0"]),
        (["--config-dir", "nowhere"], ["--config-dir=nowhere"]),
        (["--warmup", "-1"], ["--warmup=-1"]),
        (["--threads", "0"], ["--threads=0"]),
        (["model=majority"], ["model=majority", "no parameters"]),
        (["labels=objective"], ["labels=objective", "another scheme"]),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(arguments, parts):
    with pytest.raises(SystemExit) as stop:
        bench.main(arguments)
    sentence = stop.value.code
    assert isinstance(sentence, str)
    assert sentence.startswith("mefusion-bench: ")
    assert "\n" not in sentence
    for part in parts:
        assert part in sentence


def test_a_gpu_that_is_not_there_is_one_sentence(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit, match=r"^mefusion-bench: --device=cuda: torch finds no GPU"):
        bench.main(["--device", "cuda"])


# Its parts.


@pytest.mark.parametrize("override", ["model.channels_last=true", "+ablation=tasks", "imbalance=class_weights"])
def test_configurations_compose_as_for_training(override):
    model = measuring.BenchModel(["model=ststnet", override], Settings(batch_size=2))
    (measurement,) = measuring.measure([model], Settings(batch_size=2, steps=1, warmup=0))
    assert measurement.training_step > 0


def test_compiling_does_not_change_the_count_of_flops():
    settings = Settings(batch_size=2)
    plain, compiled = (
        measuring.BenchModel(["model=ststnet", f"model.compile={value}"], settings) for value in ("false", "true")
    )
    assert plain.gflop_per_clip() == compiled.gflop_per_clip() > 0  # counted without running the compiler


def test_the_count_is_the_published_one_though_the_cpu_multiplies_less():
    model = measuring.BenchModel(["model=fdp_released", "labels=five"], Settings(batch_size=1))
    assert model.gflop_per_clip() == pytest.approx(17.25, abs=0.005)


def test_a_training_step_changes_the_weights_and_a_forward_pass_does_not():
    model = measuring.BenchModel(["model=ststnet"], Settings(batch_size=2))

    def weights():
        return [parameter.detach().clone() for parameter in model.module.parameters()]

    before = weights()
    model.forward()
    assert all((old == new).all() for old, new in zip(before, weights(), strict=True))
    model.training_step()
    assert any((old != new).any() for old, new in zip(before, weights(), strict=True))


@pytest.mark.parametrize(
    ("model", "size", "targets"),
    [
        ("mol_tiny", (4, 1, 64, 64), {"flow": (2, 3, 2, 64, 64), "landmarks": (2, 3, 68, 2)}),
        ("fdp_tiny", (4, 1, 64, 64), {"dynamic_image": (2, 64, 64)}),
        ("ststnet", (3, 64, 64), {}),
    ],
)
def test_a_batch_of_noise_has_what_the_model_sees(model, size, targets):
    settings = settings_of(f"model={model}", "clip_length=4", "model.network.image_size=64")
    batch = measuring.random_batch(settings, 2)
    assert tuple(batch.inputs.shape) == (2, *size)
    assert {name: tuple(target.shape) for name, target in batch.targets.items()} == targets
    assert (len(batch.label), len(batch.clip)) == (2, 2)
    if "landmarks" in targets:
        assert interocular(batch.targets["landmarks"]).numpy() == pytest.approx(0.3 * 144)


def test_actions_take_turns_and_each_waits_for_the_device():
    seen = []
    times = measuring.time_in_turn(
        [lambda: seen.append("a"), lambda: seen.append("b")], steps=2, wait=lambda: seen.append("wait")
    )
    assert seen == ["wait", "a", "wait", "wait", "b", "wait"] * 2
    assert [len(seconds) for seconds in times] == [2, 2]
    assert min(map(min, times)) >= 0


def test_medians_and_what_follows_from_them_by_hand():
    measurement = a_measurement()
    assert measurement.forward == 0.2
    assert measurement.training_step == 1.0
    assert measurement.clips_per_second == 4.0
    assert measurement.training_flops_rate == 3 * 2e9 * 4  # three forward passes of four clips in a second
    assert a_measurement(training_times=(1.0, 2.0)).training_step == 1.5
    row = ["some", "4", "cpu", "32-true", "1,234,567", "2", "0.2", "1", "4", "5"]
    assert table.table_row(measurement) == row
    assert table.table_row(a_measurement(peak_memory=None)) == [*row[:-1], "-"]


def test_the_ratio_is_of_a_clip_where_batches_differ():
    slow, large = a_measurement(training_times=(2.0,)), a_measurement(batch_size=8)
    assert measuring.ratios(slow, a_measurement()) == {"forward": 1.0, "training_step": 2.0}
    assert measuring.ratios(slow, large) == {"forward": 2.0, "training_step": 4.0}


def test_the_share_of_the_matrix_rate_is_said_where_it_was_measured():
    summary = {"steps": 3, "warmup": 1, "device_name": "some GPU", "threads": 1, "torch": "2"}
    summary |= {"matrix_rate": 96e9, "share_of_matrix_rate": [0.25]}
    (line,) = (line for line in table.notes([a_measurement()], summary) if "TFLOP/s" in line)
    assert "some trains at 0.024 TFLOP/s" in line
    assert "25.0% of the 0.096 TFLOP/s" in line


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_matrix_rate_is_plausible(precision):
    assert 1e6 < measuring.matrix_rate("cpu", precision, side=64) < 1e15


PEAK = """
import numpy as np
from mefusion.bench import measuring
measure = measuring.reset_peak_memory("cpu")
peaks = [measuring.peak_memory(measure)]
np.ones(200_000_000, np.uint8)  # written to and freed at once
peaks.append(measuring.peak_memory(measure))
measuring.reset_peak_memory("cpu")
print(measure, *peaks, measuring.peak_memory(measure))
"""


def test_peak_memory_sees_what_came_and_went():
    # In a process of its own: in this one earlier trainings may have asked to keep what is freed.
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    measure, *peaks = done.stdout.split()
    if measure != "VmHWM":
        pytest.skip("the peak cannot be reset here")
    before, after, again = map(int, peaks)
    assert 190e6 < after - before < 250e6
    assert again < after - 150e6
