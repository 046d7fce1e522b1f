"""The benchmarks of experiments/, on less than they are meant for."""

import re
import runpy
import subprocess
import sys

import pytest
from fake_conversations import monologue

from mefusion.configuration.cli import configuration_folder


@pytest.mark.slow
def test_ours_prepares_faster_than_the_published_order_and_says_how_fast_it_reads():
    script = configuration_folder("experiments") / "benchmarks" / "preparation.py"
    done = subprocess.run([sys.executable, script, "8"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(re.search(r"([0-9.]+) times the throughput", done.stdout)[1]) > 2.5
    assert re.search(r"a prepared clip of 8 frames: 0\.\d\d MB", done.stdout)
    assert re.findall(r"for the view (\w+):", done.stdout) == ["canvas", "small", "flow_image"]


@pytest.mark.parametrize(
    ("model", "name", "small"),
    [
        ("mol", "mol_released", ["model.network.width=0.125", "model.network.image_size=64"]),
        ("fdp", "fdp_released", ["model.network.width=0.125", "model.network.image_size=32"]),
        ("ststnet", "ststnet", []),
    ],
)
def test_ours_and_the_authors_order_agree_and_are_timed(model, name, small, capsys):
    script = configuration_folder("experiments") / "benchmarks" / "authors_order.py"
    main = runpy.run_path(str(script))["main"]
    main(["--model", model, "--batch-size", "2", "--steps", "1", "--threads", "1", *small])
    assert f"{name}, batch 2, 1 threads" in capsys.readouterr().out


@pytest.mark.slow
def test_ways_to_train_on_a_gpu_are_timed_also_where_there_is_none(capsys):
    main = runpy.run_path(str(configuration_folder("experiments") / "benchmarks" / "gpu.py"))["main"]
    ways = ["eager", "channels last bf16"]
    small = ["model.network.width=0.125", "model.network.image_size=32", "++model.network.lra_blocks=[1,1,1,1]"]
    main(["--device", "cpu", "--models", "fdp", "--ways", *ways, "--batch-size", "2", "--steps", "1", *small])
    told = capsys.readouterr().out
    rows = re.findall(r"^\| fdp \| 2 \| (.+) \| ([0-9.e+]+) \| ([0-9.e+]+) \| (\d+) \|$", told, re.MULTILINE)
    assert [way for way, *_ in rows] == ways
    for _, milliseconds, clips, _ in rows:
        assert float(clips) * float(milliseconds) == pytest.approx(2000, rel=0.01)
    views = re.findall(r"^\| (\w+) \| [0-9.e+]+ \| [0-9.e+]+ \|$", told, re.MULTILINE)
    assert views == ["canvas", "small", "flow_image"]


@pytest.mark.slow
def test_time_outside_training_steps_is_told(tiny, tmp_path):
    script = configuration_folder("experiments") / "benchmarks" / "fold_overhead.py"
    small = ("model.network.image_size=64", "model.network.width=0.0625", "trainer=smoke", "protocol.folds=[sub01]")
    command = [sys.executable, script, *tiny.overrides, *small]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = re.search(r"folds ([0-9.]+) s, .*steps ([0-9.]+) s: ([0-9.]+)% outside", done.stdout)
    whole, steps, outside = map(float, found.groups())
    assert 0 <= steps < whole
    assert 0 < outside < 100
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_what_a_video_keeps_of_rendered_motion_is_told(capsys, monkeypatch):
    script = configuration_folder("experiments") / "benchmarks" / "recordings.py"
    monkeypatch.setattr(sys, "argv", ["recordings.py", "5"])
    benchmark = runpy.run_path(str(script))
    monkeypatch.setitem(benchmark["main"].__globals__, "SPEEDS", {"small": {"seconds": 1, "micro_per_minute": 0}})
    benchmark["main"]()
    told = capsys.readouterr().out
    assert float(re.search(r"small: (\d+) frames/s", told)[1]) > 20
    error = float(re.search(r"before encoding: error ([0-9.]+) px", told)[1])
    kept = {
        int(quality): float(each) for quality, each in re.findall(r"quality (\d+): .*flow error ([0-9.]+) px", told)
    }
    assert sorted(kept) == [12, 14, 16, 18, 23]
    assert kept[16] < error + 0.05


@pytest.mark.slow
def test_the_speed_of_spotting_is_told_with_where_the_time_goes():
    script = configuration_folder("experiments") / "benchmarks" / "spotting.py"
    done = subprocess.run([sys.executable, script, "2", "--minutes"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = re.search(r"one face: (\d+) frames/s with .*page, (\d+) with the overlay, ([0-9.]+) times", done.stdout)
    assert int(found[1]) > 15  # of two seconds, for which what is done once takes a large share
    assert float(found[3]) < 2.5
    parts = {part: float(each) for part, each in re.findall(r"^([a-z ]+) \| ([0-9.]+)$", done.stdout, re.MULTILINE)}
    assert [*parts][-2:] == ["page", "overlay"]
    assert parts["flow"] == max(parts[part] for part in parts if part != "overlay")


@pytest.mark.slow
def test_the_scores_of_spotting_are_those_of_subjects_on_which_nothing_was_chosen(capsys, monkeypatch):
    script = configuration_folder("experiments") / "benchmarks" / "spotting_accuracy.py"
    benchmark = runpy.run_path(str(script))
    assert benchmark["REPORTED_SEED"] != benchmark["DEVELOPMENT_SEED"]
    seeds, scored = [], benchmark["scores_of_row"]
    known = benchmark["main"].__globals__
    monkeypatch.setitem(known, "scores_of_row", lambda *row, **how: seeds.append(how["seed"]) or scored(*row, **how))
    quiet = {"seconds": 4, "macro_per_minute": 0, "speech_per_minute": 0, "amplitude": 3.0}
    monkeypatch.setitem(known, "ROWS", {"small": quiet})
    benchmark["main"](["--subjects", "1"])
    told = capsys.readouterr().out
    assert re.findall(r"^small \| 1, 0 \| (\w+) \|", told, re.MULTILINE) == ["displacement", "published", "apex_score"]
    assert seeds == [benchmark["REPORTED_SEED"]]


@pytest.mark.slow
def test_the_processor_time_of_annotation_is_told_by_stage(tmp_path):
    script = configuration_folder("experiments") / "benchmarks" / "annotation.py"
    times = runpy.run_path(str(script))["measure"](monologue(tmp_path / "talk.mp4"), tmp_path / "out")
    parts = ("speech", "detection and landmarks", "embedding", "speaker")
    assert 0 < sum(times[part] for part in parts) < times["extraction"]
    assert times["export"] > times["motion and writing"] > 0
    assert times["decoding alone"] > 0
