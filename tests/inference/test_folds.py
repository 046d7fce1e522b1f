"""What is spotted in a dataset of recordings is recognised by the folds that test its subjects."""

import pandas as pd
import pytest
from fake_datasets import only, ran, write_face, write_synthetic
from trained import SMOKE, train_study

from mefusion.clips.stream import Stream
from mefusion.commands import train
from mefusion.common.errors import MefusionError
from mefusion.datasets.recordings.samm_long import SammLongRecordings
from mefusion.inference.clips import predict_clips
from mefusion.inference.events import recognise_events
from mefusion.inference.export import export_study
from mefusion.inference.folds import fold_predictor, read_tested
from mefusion.spotting import recording
from mefusion.spotting.recording import read_spotted
from mefusion.spotting_studies.networks import Network, load_network
from mefusion.spotting_studies.recognition import read_recogniser
from mefusion.spotting_studies.record import read_spotting_study
from mefusion.studies.record import planned_runs
from mefusion.training.weights import load_weights


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_face(tmp_path_factory.mktemp("face"))


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    """A study of two subjects that keeps the weights of its folds."""
    return train_study(tmp_path_factory.mktemp("trained"), tiny, "model=ststnet", "keep_weights=true")


def test_a_fold_predicts_its_test_clips_as_in_its_table(tiny, trained, quick_flow):
    study = read_tested(trained)
    assert {*study.runs} == {"synthetic/sub01", "synthetic/sub02"}
    for subject, run in study.runs.items():
        table, _, _ = predict_clips(fold_predictor(study, run), tiny.frames / "manifest.csv", workers=1)
        own = table.assign(subject=table["subject"].str.replace("manifest/", "synthetic/"))
        own = own[own["subject"] == subject].set_index("clip_id").sort_index()
        kept = pd.read_parquet(run.predictions).set_index("clip_id").sort_index()
        columns = [f"probability_{name}" for name in study.facts["classes"]]
        assert own.index.tolist() == kept.index.tolist()
        assert own[columns].to_numpy() == pytest.approx(kept[columns].to_numpy(), abs=1e-4)


def test_each_subject_is_recognised_by_the_fold_that_tests_it(
    trained, video, tmp_path, capsys, monkeypatch, quick_flow
):
    overrides = write_synthetic(tmp_path / "data", video, ["negative", "surprise", "positive"])
    assert ran(*overrides, "--output", tmp_path / "out", "--quiet") == 0
    plain = only(tmp_path / "out")
    monkeypatch.setattr(recording, "measure", None)  # what is spotted already is taken over
    assert ran(*overrides, f"recognise={trained}", "--output", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    (named,) = {*(tmp_path / "out").iterdir()} - {plain}
    result = read_spotting_study(named)
    assert "prediction" not in read_spotting_study(plain).spotted
    study = read_tested(trained)
    columns = [f"probability_{name}" for name in study.facts["classes"]]
    found = result.spotted.set_index("recording")
    for name in ("sub01_01", "sub02_01"):
        folder = result.directory / "recordings" / name
        network = fold_predictor(study, study.runs[f"synthetic/{name[:5]}"])
        (path,) = result.recordings.loc[result.recordings["recording"] == name, "path"]
        events, _ = recognise_events(network, Stream(tmp_path / path), read_spotted(folder))
        assert found.loc[name, columns].to_numpy(float) == pytest.approx(events[columns].to_numpy()[0], abs=1e-6)
    assert found.loc["sub01_01", columns].tolist() != found.loc["sub02_01", columns].tolist()
    # No fold tests sub03: its event is spotted, and not recognised.
    assert result.facts["not_recognised"] == ["sub03_01"]
    assert pd.isna(found.loc["sub03_01", "prediction"])
    recognition = result.scores["recognition"]
    assert (recognition["pairs"], recognition["not_recognised"], recognition["without_emotion"]) == (2, 1, 0)
    right = [found.loc[f"sub0{n}_01", "prediction"] == label for n, label in ((1, "negative"), (2, "surprise"))]
    matrix = recognition["confusion_matrix"]
    assert sum(matrix[n][n] for n in range(3)) == sum(right)
    assert result.scores["all"]["f1"] == 1
    assert recognition["strs"] == pytest.approx(recognition["f1"])
    assert {*recognition["intervals"]} == {"f1", "strs"}
    assert "STRS" in printed
    assert f"not recognised: 1 of 3 recordings, of subjects that no fold of {study.name} tests (sub03_01)" in printed


def test_what_has_seen_the_subjects_is_refused(tiny, trained, video, tmp_path, monkeypatch):
    overrides = [*write_synthetic(tmp_path / "data", video, ["negative"] * 3), "--output", tmp_path / "out"]
    plain = train_study(tmp_path, tiny, "model=ststnet")
    assert "has not kept the weights of its folds: run its mefusion-train command again with keep_weights=true" in str(
        ran(*overrides, f"recognise={plain}")
    )
    everyone = train_study(tmp_path, tiny, "model=ststnet", "protocol=all")
    assert "protocol=loso keep_weights=true" in str(ran(*overrides, f"recognise={everyone}"))
    bundle = export_study(everyone, to=tmp_path / "bundle")
    assert "was trained on synthetic, so it has seen the subjects" in str(ran(*overrides, f"recognise={bundle}"))
    # Subjects of another dataset are all recognised by the bundle's one network.
    recogniser = read_recogniser(bundle, SammLongRecordings(root=str(tmp_path)))
    assert recogniser.network_of("samm/006") == recogniser.network_of("samm/007") == Network(bundle, None)
    assert load_network(Network(bundle, None)).classes == recogniser.classes
    assert not (tmp_path / "out").exists()


def test_a_study_that_is_done_can_keep_its_weights_later(tiny, tmp_path, monkeypatch, capsys):
    study = train_study(tmp_path, tiny, "model=ststnet")
    runs = planned_runs(study)
    before = [pd.read_parquet(run.predictions) for run in runs]
    monkeypatch.chdir(tmp_path)
    arguments = [*tiny.overrides, SMOKE, "model=ststnet"]
    monkeypatch.setattr("sys.argv", ["mefusion-train", *arguments, "keep_weights=true"])
    monkeypatch.setattr(train, "reuse_freed_memory", lambda: None)
    train.main()
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == [study.name]
    for run, table in zip(runs, before, strict=True):
        pd.testing.assert_frame_equal(pd.read_parquet(run.predictions), table)
        assert run.has_own(run.predictions)
        assert run.has_own(run.weights)
        load_weights(run.weights)
    assert {*read_tested(study).runs} == {"synthetic/sub01", "synthetic/sub02"}
    capsys.readouterr()
    monkeypatch.setattr("sys.argv", ["mefusion-train", *arguments])
    train.main()
    assert capsys.readouterr().out.count("done before") == 2
    runs[0].weights.write_bytes(runs[1].weights.read_bytes())
    with pytest.raises(MefusionError, match="was changed after the training"):
        fold_predictor(read_tested(study), runs[0])
