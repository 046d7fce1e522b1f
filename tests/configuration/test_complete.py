"""A complete study says so at once, and only where nothing that it depends on has changed."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from composed import config_of

from mefusion.configuration import complete

SMALL = ("model=ststnet", "trainer=smoke", "processes=1")


@pytest.fixture(scope="module")
def study(tiny, command, tmp_path_factory):
    """A complete study on clips of its own, and the arguments that made it."""
    folder = tmp_path_factory.mktemp("study")
    shutil.copytree(tiny.cache, folder / "cache" / "synthetic" / tiny.cache.name)
    arguments = [*tiny.overrides, *SMALL, f"cache_dir={folder / 'cache'}", f"output_dir={folder / 'outputs'}"]
    done = command("mefusion-train", *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, arguments, done.stdout


def note_of(folder, arguments, monkeypatch):
    monkeypatch.chdir(folder)
    path = complete.note_path(config_of(*arguments))
    return path and complete.read_note(path)


def test_what_is_said_is_what_is_said_without_the_note(study, command, monkeypatch):
    folder, arguments, first = study
    with monkeypatch.context() as patch:
        patch.setattr(complete, "read_note", lambda path: None)
        looked = command("mefusion-train", *arguments, cwd=folder)
    with monkeypatch.context() as patch:
        patch.setattr("mefusion.configuration.composition.load_clips", lambda *_: pytest.fail("it looked at the clips"))
        noted = command("mefusion-train", *arguments, cwd=folder)
    assert looked.returncode == noted.returncode == 0, noted.stderr
    assert noted.stdout == looked.stdout
    assert noted.stdout.count(": done before") == 2
    assert noted.stdout.splitlines()[-1] == first.splitlines()[-1]  # the headline


def test_a_sweep_starts_no_process_for_it(study, command, monkeypatch):
    folder, arguments, _ = study
    alone = command("mefusion-train", *arguments, cwd=folder)
    monkeypatch.setattr("hydra_plugins.mefusion_launcher.Scheduler", lambda *_: pytest.fail("it starts processes"))
    sweep = command("mefusion-train", "-m", *arguments, cwd=folder)
    assert sweep.returncode == 0, sweep.stderr
    said = [line.removeprefix("[0] ") for line in sweep.stdout.splitlines() if line.startswith("[0] ")]
    assert said[0].endswith(arguments[-1])  # its overrides
    assert said[1:] == alone.stdout.splitlines()
    assert "complete before" in sweep.stdout
    (log,) = (folder / "outputs").rglob("0.log")
    assert log.read_text() == alone.stdout


def test_a_job_that_cannot_be_asked_is_run(study, command, monkeypatch):
    folder, arguments, _ = study
    monkeypatch.setattr(complete, "note_path", lambda config: config.nothing)  # as where a setting has no value
    sweep = command("mefusion-train", "-m", *arguments, cwd=folder)
    assert sweep.returncode == 0, sweep.stderr
    assert "complete before" in sweep.stdout


def test_a_sweep_is_told_the_same(study, command, tmp_path, monkeypatch):
    folder, arguments, _ = study
    result = tmp_path / "result"
    told = []
    for _ in range(2):
        done = command("mefusion-train", *arguments, cwd=folder, env={"MEFUSION_RESULT_FILE": str(result)})
        assert done.returncode == 0, done.stderr
        told.append(json.loads(result.read_text()))
        monkeypatch.setattr(complete, "read_note", lambda path: None)
    assert told[0] == told[1]
    assert told[0]["complete"]
    assert told[0]["trained"] == 0


@pytest.mark.parametrize("file", ["study.json", "summary.json", "predictions.parquet", "DONE", "fold.json"])
def test_a_changed_or_missing_file_of_the_result_is_looked_at(study, monkeypatch, file):
    folder, arguments, _ = study
    assert note_of(folder, arguments, monkeypatch)
    path = next(path for path in sorted((folder / "outputs").rglob(file)))
    whole = path.read_bytes()
    try:
        path.write_bytes(whole + b" ")
        assert note_of(folder, arguments, monkeypatch) is None
        path.unlink()
        assert note_of(folder, arguments, monkeypatch) is None
    finally:
        path.write_bytes(whole)
    assert note_of(folder, arguments, monkeypatch)


def test_other_settings_code_packages_or_clips_are_looked_at(study, monkeypatch, three_index):
    folder, arguments, _ = study
    assert note_of(folder, arguments, monkeypatch)
    for other in ("seeds=[1]", "model.optimizer.lr=0.1", "protocol.folds=[sub01]", "labels.name=other"):
        assert note_of(folder, [*arguments, other], monkeypatch) is None
    for name in ("_digests_of_code", "versions"):
        with monkeypatch.context() as patch:
            patch.setattr(complete, name, lambda: ["other"])
            assert note_of(folder, arguments, patch) is None
    (index,) = folder.glob("cache/synthetic/*/index.parquet")
    whole = index.read_bytes()
    try:
        three_index.assign(apex_place=0).to_parquet(index)
        assert note_of(folder, arguments, monkeypatch) is None
    finally:
        index.write_bytes(whole)
    assert note_of(folder, arguments, monkeypatch)


def test_a_missing_or_damaged_clip_is_looked_at(study, monkeypatch):
    folder, arguments, _ = study
    clip = min(folder.glob("cache/synthetic/*/**/*.safetensors"))
    whole, times = clip.read_bytes(), (clip.stat().st_atime_ns, clip.stat().st_mtime_ns)
    try:
        clip.write_bytes(whole[:-1])
        assert note_of(folder, arguments, monkeypatch) is None
        clip.unlink()
        assert note_of(folder, arguments, monkeypatch) is None
    finally:
        clip.write_bytes(whole)
        os.utime(clip, ns=times)
    assert note_of(folder, arguments, monkeypatch)


@pytest.mark.parametrize(
    "other",
    [
        *("again=true", "accept_code=true", "keep_weights=true", "logger=wandb", "+callbacks.own._target_=own.Own"),
        "model.init_from=rendered-motion",
    ],
)
def test_where_it_is_not_certain_there_is_no_note(study, monkeypatch, other):
    folder, arguments, _ = study
    monkeypatch.chdir(folder)
    assert complete.note_path(config_of(*arguments)) is not None
    assert complete.note_path(config_of(*arguments, other)) is None


def test_the_source_must_be_the_one_that_was_prepared(study, monkeypatch):
    folder, arguments, _ = study
    assert note_of(folder, arguments, monkeypatch)
    monkeypatch.setattr("mefusion.datasets.synthetic.SyntheticSource.digest", lambda self: "another")
    assert note_of(folder, arguments, monkeypatch) is None


def test_code_is_every_module_of_the_package():
    files = [line.split()[0] for line in complete._digests_of_code()]
    assert {"mefusion/commands/train.py", "mefusion/models/baselines/network.py"} <= {*map(str, files)}
    assert any(file.endswith("mefusion_launcher.py") for file in files)


def test_it_does_not_import_torch():
    code = "import sys, mefusion.configuration.complete; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_simple_model_beside_it_changes_the_headline(study, monkeypatch):
    folder, arguments, _ = study
    assert note_of(folder, arguments, monkeypatch)
    beside = folder / "outputs" / "linear_flow-other" / "summary.json"
    beside.parent.mkdir()
    try:
        beside.write_text("{}")
        assert note_of(folder, arguments, monkeypatch) is None
    finally:
        shutil.rmtree(beside.parent)
    assert note_of(folder, arguments, monkeypatch)
