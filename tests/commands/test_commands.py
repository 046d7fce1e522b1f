"""The console scripts, as a user runs them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from composed import experiment_of

from mefusion.commands import prepare, train
from mefusion.configuration import composition

PROGRAMS = ("mefusion-prepare", "mefusion-train", "mefusion-report", "mefusion-check")
SMOKE = ("trainer=smoke", "model.network.image_size=64", "model.network.width=0.0625")
OWN = ("data.name=own", "faces=dlib")  # real data are prepared by face_alignment, whose weights are not here
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def trained(tiny, command, tmp_path_factory):
    """A folder with a smoke study in outputs/, and what the command printed."""
    folder = tmp_path_factory.mktemp("trained")
    return folder, command("mefusion-train", *tiny.overrides, *SMOKE, cwd=folder)


def one_sentence(done, program, *parts):
    """Exit code 1 and one line on stderr that holds every part."""
    assert done.returncode == 1, done.stderr
    lines = done.stderr.strip().splitlines()
    assert "Traceback" not in done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith(f"{program}: ")
    for part in parts:
        assert part in lines[0]
    return lines[0]


# The way through.


def test_prepare_says_what_became_of_the_clips(tiny):
    assert "6 of 6 clips of 2 subjects are in" in tiny.printed
    assert "landmarks against the truth" in tiny.printed
    assert "flow against the truth" in tiny.printed
    assert len(pd.read_csv(tiny.cache / "failures.csv")) == 0


def test_train_runs_every_fold_and_prints_the_pooled_result(trained):
    folder, done = trained
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    (study,) = (folder / "outputs").iterdir()
    lines = done.stdout.strip().splitlines()
    assert f"outputs/{study.name}: 6 clips of 2 subjects, recognition + flow + landmarks" in lines[0]
    assert lines[1].startswith("fold 1/2 synthetic-sub01: ")
    assert lines[2].startswith("fold 2/2 synthetic-sub02: ")
    summary = json.loads((study / "summary.json").read_text())
    assert f"UF1 {summary['uf1']:.3f}" in lines[-1]
    assert "majority class 0.167" in lines[-1]
    assert [path.name for path in folder.iterdir()] == ["outputs"]  # nothing else is left behind


def test_a_rerun_trains_nothing(trained, tiny, command):
    folder, done = trained
    (study,) = (folder / "outputs").iterdir()
    before = {path: path.stat().st_mtime_ns for path in (study / "folds").rglob("*") if path.is_file()}
    again = command("mefusion-train", *tiny.overrides, *SMOKE, cwd=folder)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("done before") == 2
    assert again.stdout.splitlines()[-1] == done.stdout.splitlines()[-1]
    assert {path: path.stat().st_mtime_ns for path in (study / "folds").rglob("*") if path.is_file()} == before


def test_clips_that_preparation_left_out_are_told_by_train_and_study(trained, tiny, command, tmp_path):
    outputs = Path(shutil.copytree(trained[0] / "outputs", tmp_path / "outputs"))
    (study,) = outputs.iterdir()
    assert json.loads((study / "study.json").read_text())["left_out"] == {"clips": [], "of": 6, "lost_subjects": []}
    cache = Path(shutil.copytree(tiny.cache, tmp_path / "cache" / "synthetic" / tiny.cache.name))
    clip = {"dataset": "synthetic", "subject": "synthetic/sub07", "clip_id": "a", "path": "x", "emotion": "surprise"}
    pd.DataFrame([clip | {"problem": "x: no face"}]).to_csv(cache / "failures.csv", index=False)
    # Nothing is left to train: the study is the same, and says what is left out now.
    done = command("mefusion-train", *tiny.overrides, *SMOKE, f"cache_dir={tmp_path / 'cache'}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    phrase = "preparation left out 1 of 7 clips (synthetic/sub07 1; no clip is left of synthetic/sub07)"
    assert lines[1] == f"{phrase}, see {cache / 'failures.csv'}"
    assert lines[-1].endswith(f"; {phrase}")
    summary = json.loads((study / "summary.json").read_text())
    assert summary["provenance"]["left_out"]["clips"][0]["problem"] == "x: no face"


def test_report_shows_what_train_pooled(trained, command, tmp_path):
    outputs = Path(shutil.copytree(trained[0] / "outputs", tmp_path / "outputs"))
    (study,) = outputs.iterdir()
    summary = json.loads((study / "summary.json").read_text())
    done = command("mefusion-report", str(study), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{summary['uf1']:.3f}" in done.stdout
    written = {path.name.removeprefix(f"{study.name}-") for path in (study / "report").rglob("*")}
    assert {"report.html", "report.md", "confusion_matrix.png", "contact_sheet.png"} <= written


def test_the_ablation_is_found_and_sweeps_over_the_tasks(command, tmp_path):
    done = command("mefusion-train", "+ablation=tasks", "--cfg", "hydra", "-p", "hydra.sweeper", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "tasks: all,recognition" in done.stdout


# Help.


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_comes_within_two_seconds_without_torch(program, tmp_path):
    resource = pytest.importorskip("resource")  # not on Windows
    took = []
    while len(took) < 3 and min(took, default=2) >= 2:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        arguments = [sys.executable, "-X", "importtime", BIN / program, "--help"]
        done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0, done.stderr
        assert program in done.stdout
        # Time on the processor: that on the clock depends on what else runs.
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(took) < 2
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "mefusion.common.errors" in imported
    assert not imported & {"torch", "lightning", "cv2", "pandas", "matplotlib", "dlib"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--cfg job", "--help"])
def test_a_reader_that_has_had_enough_ends_a_command_in_silence(option, tmp_path):
    line = f"'{BIN / 'mefusion-train'}' {option} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("program", PROGRAMS[:2])
def test_help_names_the_groups_and_their_options(program, command, tmp_path):
    shown = command(program, "--help", cwd=tmp_path).stdout
    for line in (
        "data: cas_me_2, cas_me_2_long, cas_me_3, cas_me_3_long, casme2, flow_images, manifest, megc2019, pooled, "
        "samm, samm_long, smic, synthetic, synthetic_long, synthetic_motion",
        "faces: default, dlib, face_alignment, none, precomputed",
        "labels: five, four, objective, seven, three, three_wide, values",
    ):
        assert line in shown
    if program == "mefusion-train":
        models = "fdp, fdp_released, fdp_tiny, flow_cnn, hoof_svm, linear_flow, majority, mol, mol_released, mol_tiny, "
        models += "off_apexnet, sssnet, ststnet"
        for line in (
            f"model: {models}",
            "tasks: action_units, all, recognition",
            "trainer: cpu, ddp, gpu, smoke",
            "logger: csv, tensorboard, wandb",
        ):
            assert line in shown


# Bad input: one sentence each.


@pytest.mark.parametrize(
    ("program", "override", "parts"),
    [
        ("mefusion-prepare", "nonsense=1", ["nonsense"]),
        ("mefusion-train", "labels=nine", ["labels", "nine", "five", "seven", "three"]),
        ("mefusion-train", "seeds=[abc]", ["seeds", "abc"]),
        ("mefusion-train", "protocol.folds=[sub99]", ["protocol.folds", "sub99", "sub01", "sub02"]),
    ],
)
def test_a_bad_override_is_one_line_on_stderr(tiny, command, tmp_path, program, override, parts):
    given = tiny.overrides if "folds" in override else []
    one_sentence(command(program, *given, override, cwd=tmp_path), program, *parts)
    assert list(tmp_path.iterdir()) == [] or given


@pytest.mark.parametrize("main", [prepare.main, train.main])
@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("nonsense=1", ["nonsense"]),
        ("data.nonsense=1", ["nonsense"]),
        ("labels=nine", ["labels", "nine", "five", "seven", "three"]),
        ("data=casme9", ["data", "casme9", "manifest", "synthetic"]),
        ("workers=abc", ["workers", "abc"]),
        ("data=manifest", ["data.root"]),
        ("data=pooled", ["data/sources=[casme2,samm]"]),
        ("faces.backend=mediapipe", ["mediapipe", "dlib", "face_alignment"]),
        ("faces.alignment=sideways", ["sideways"]),
        ("data.amplitude=0", ["data.amplitude=0"]),
        ("data.subjects=abc", ["subjects", "abc"]),
        ("data.frames=8", ["data.frames=8"]),
        ("clip_length=[", ["clip_length=["]),
    ],
)
def test_a_bad_override_is_one_sentence(main, tmp_path, monkeypatch, override, parts):
    stopped(main, monkeypatch, tmp_path, [override], parts)


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("model=nothing", ["model", "nothing", "mol", "mol_tiny"]),
        ("model.optimizer.lr=fast", ["lr", "fast"]),
        ("model.network.width=wide", ["width", "wide"]),
        ("protocol.folds=sub01", ["protocol.folds", "sub01"]),
        ("trainer.max_epochs=many", ["max_epochs", "many"]),
        ("trainer.accelerator=abacus", ["abacus"]),
        ("trainer.devices=none", ["trainer.devices=none"]),
        ("+trainer.strategy=fsdp", ["trainer.strategy=fsdp", "auto, ddp"]),
        ("+trainer.sync_batchnorm=true", ["sync_batchnorm", "GPUs"]),
        ("seeds=[]", ["seeds=[]"]),
        ("seeds=[1,1]", ["seeds=[1, 1]", "different whole numbers"]),
        ("rule=best", ["rule=best", "last, inner_val, average, oracle"]),
        ("rule=inner_val", ["rule=inner_val", "synthetic-sub01", "two training subjects"]),
        ("protocol.shard=0/2", ["protocol.shard=0/2"]),
        ("protocol.shard=3/2", ["protocol.shard=3/2"]),
        ("protocol.shard=abc", ["protocol.shard=abc"]),
        ("+trainer.max_steps=5", ["trainer.max_steps", "model.training.max_steps"]),
        ("trainer.max_epochs=0", ["trainer.max_epochs=0"]),
        ("protocol.name=bootstrap", ["protocol.name=bootstrap", "loso", "kfold"]),
        ("protocol=kfold", ["protocol.k=5", "from 2 to 2"]),
        ("protocol=cross_dataset", ["two datasets", "synthetic", "data=pooled"]),
        ("protocol=holdout", ["protocol.test=[]", "2 subjects"]),
        ("protocol.k=3", ["protocol.k=3", "protocol=kfold"]),
        ("protocol.folds=[]", ["protocol.folds"]),
        ("model.optimizer.lr=1e12", ["diverged", "model.optimizer.lr"]),
    ],
)
def test_a_bad_training_override_is_one_sentence(tiny, tmp_path, monkeypatch, override, parts):
    stopped(train.main, monkeypatch, tmp_path, [*tiny.overrides, *SMOKE, override], parts)


def stopped(main, monkeypatch, folder, arguments, parts):
    """As `one_sentence`, in this process: what sys.exit is given is what stderr shows."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["mefusion", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    sentence = stop.value.code
    assert isinstance(sentence, str)
    assert "\n" not in sentence
    for part in parts:
        assert part in sentence


def test_a_folder_without_a_manifest_is_named(command, tmp_path):
    done = command("mefusion-prepare", "data=manifest", f"data.root={tmp_path}", cwd=tmp_path)
    one_sentence(done, "mefusion-prepare", f"{tmp_path}/manifest.csv", "data.root")


def test_a_folder_without_portraits_is_named(command, tmp_path):
    done = command("mefusion-prepare", f"data.portraits={tmp_path}", cwd=tmp_path)
    one_sentence(done, "mefusion-prepare", f"data.portraits={tmp_path}", "no images")


def test_training_before_preparing_names_the_command(tiny, command, tmp_path):
    done = command("mefusion-train", *tiny.overrides, f"cache_dir={tmp_path / 'empty'}", cwd=tmp_path)
    one_sentence(done, "mefusion-train", f"{tmp_path}/empty", "mefusion-prepare")


@pytest.mark.usefixtures("quick_flow")
def test_bad_clips_fail_the_command_after_the_good_ones(tiny, command, tmp_path):
    root = tmp_path / "own"
    whole = sorted(tiny.frames.glob("frames/sub01/*"))[0]
    shutil.copytree(whole, root / "good")
    (root / "empty").mkdir()
    rows = ["clip_id,subject,path,emotion", "c1,006,good,surprise", "c2,006,empty,surprise"]
    (root / "manifest.csv").write_text("\n".join(rows))
    done = command("mefusion-prepare", "data=manifest", f"data.root={root}", *OWN, "workers=1", cwd=tmp_path)
    one_sentence(done, "mefusion-prepare", "1 of 2 clips could not be prepared", "failures.csv")
    assert "holds no numbered images" in done.stdout
    assert "1 of 2 clips of 1 subjects are in" in done.stdout
    (failures,) = tmp_path.glob("cache/own/*/failures.csv")
    assert pd.read_csv(failures, dtype=str)["clip_id"].tolist() == ["c2"]
    (index,) = tmp_path.glob("cache/own/*/index.parquet")
    assert pd.read_parquet(index)["subject"].tolist() == ["own/006"]


def manifest_of(tiny, folder):
    """The tiny set's clips as somebody's own data."""
    shutil.copytree(tiny.frames, folder)
    return ["data=manifest", f"data.root={folder}", *OWN, f"cache_dir={folder.parent / 'cache'}"]


@pytest.mark.usefixtures("quick_flow")
def test_a_manifest_that_changed_after_preparing_is_noticed(tiny, command, tmp_path, monkeypatch):
    overrides = [*manifest_of(tiny, tmp_path / "own"), "workers=1"]
    assert command("mefusion-prepare", *overrides, cwd=tmp_path).returncode == 0
    manifest = tmp_path / "own" / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(",positive,", ",happiness,"))
    stopped(train.main, monkeypatch, tmp_path, [*overrides, *SMOKE], ["own", "changed", "mefusion-prepare"])


def test_the_same_ids_with_other_pictures_are_another_study(tiny, tmp_path, monkeypatch):
    from mefusion.windows.store import ClipStore
    from mefusion.windows.views import make_view

    experiment = experiment_of(*tiny.overrides)
    index, view = tiny.index.assign(label=tiny.index["emotion"]), make_view("canvas", image_size=128)
    stores = [
        ClipStore(table, tiny.cache, classes=("negative", "positive", "surprise"), clip_length=8, view=view)
        for table in (
            index,
            index,
            index.assign(content="another"),
            index.assign(content=index["content"][::-1].values),
        )
    ]
    names = [composition.plan_study(experiment, store).name for store in stores]
    assert names[0] == names[1]
    assert len(set(names)) == 3  # other pictures, and the same ones with their clips mixed up


def test_an_opencv_without_flow_stops_preparing_before_it_begins(tiny, command, tmp_path, monkeypatch):
    import cv2

    monkeypatch.delattr(cv2, "optflow")
    done = command("mefusion-prepare", "data.seed=7", cwd=tmp_path)
    one_sentence(done, "mefusion-prepare", "TV-L1", "--force-reinstall --no-deps opencv-contrib-python-headless")
    assert list(tmp_path.iterdir()) == []
