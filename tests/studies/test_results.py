import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_studies import CLASSES, fold_table, measures_of, write_run, write_study
from sklearn.metrics import f1_score

from mefusion.common.errors import MefusionError
from mefusion.evaluation.predictions import classes_of, load_predictions
from mefusion.evaluation.scoring import score
from mefusion.studies import record, results


def test_pool_gathers_the_folds(tmp_path):
    directory = write_study(tmp_path / "mol-fake")
    summary = results.pool(directory).summary
    # negative: 2TP 4 of 4 -> 1. positive: TP 2, FP 1 -> 4/5. surprise: TP 1, FN 1 -> 2/3.
    assert summary["uf1"] == pytest.approx((1 + 4 / 5 + 2 / 3) / 3)
    assert summary["uar"] == pytest.approx((1 + 1 + 1 / 2) / 3)
    assert summary["acc"] == pytest.approx(5 / 6)
    # s1: 1. s2: negative 1, positive 2/3, surprise 0 -> 5/9.
    assert summary["mean_of_folds_uf1"] == pytest.approx((1 + 5 / 9) / 2)
    assert summary["flow_epe"] == pytest.approx(0.2)
    assert summary["flow_epe_relative"] == pytest.approx(0.4)
    assert summary["landmarks_nme"] == pytest.approx(6.0)
    assert summary["landmarks_failure_rate"] == pytest.approx(1 / 3)
    assert (summary["clips"], summary["folds"]) == (6, 2)
    assert summary["provenance"]["config_hash"] == "c0ffee"
    assert "datasets" not in summary

    assert json.loads((directory / "summary.json").read_text()) == summary
    pooled = load_predictions(directory)
    assert score(pooled)["uf1"] == summary["uf1"]
    assert pooled["subject"].tolist() == ["s1"] * 3 + ["s2"] * 3
    assert classes_of(pooled) == CLASSES
    assert not [path for path in directory.iterdir() if path.name.startswith(".")]


def test_pooling_again_changes_nothing(tmp_path):
    directory = write_study(tmp_path / "mol-fake")
    first = results.pool(directory).summary
    assert results.pool(directory).summary == first


@pytest.mark.parametrize(("model", "constant"), [("mol", ["s2"]), ("majority", [])])
def test_folds_whose_network_tells_nothing_apart_are_told(tmp_path, model, constant):
    same = fold_table("s2", predictions=["negative"] * 3)
    summary = results.pool(write_study(tmp_path / "mol-fake", [fold_table("s1"), same], model=model)).summary
    assert summary["constant_folds"] == constant
    phrase = "in 1 of 2 folds all clips get the same probabilities"
    assert (phrase in results.headline(summary)) == bool(constant)
    del summary["constant_folds"]  # as in the summaries of older studies
    assert phrase not in results.headline(summary)


def test_recognition_alone_has_no_auxiliary_scores(tmp_path):
    table = fold_table("s1").drop(columns=["flow_epe", "flow_epe_zero", "landmarks_nme"])
    summary = results.pool(write_study(tmp_path / "mol-fake", [table], measures={})).summary
    assert not {"flow_epe", "flow_epe_relative", "landmarks_nme"} & summary.keys()


def test_scores_of_dynamic_image_and_rank_are_means_over_clips(tmp_path):
    columns = {
        "dynamic_image_psnr": [20.0, 22.0, 24.0],
        "dynamic_image_psnr_flat": [15.0, 15.0, 18.0],
        "dynamic_image_ssim": [-0.2, 0.1, 0.4],
        "dynamic_image_cosine": [0.9, 0.8, 1.0],
        "rank_accuracy": [1.0, 0.5, 0.0],
    }
    table = fold_table("s1").assign(**columns)
    measures = {name: measures_of(name) for name in ("dynamic_image", "rank")}
    summary = results.pool(write_study(tmp_path / "mol-fake", [table], measures=measures)).summary
    assert {name: summary[name] for name in columns} == pytest.approx(
        {
            "dynamic_image_psnr": 22,
            "dynamic_image_psnr_flat": 16,
            "dynamic_image_ssim": 0.1,
            "dynamic_image_cosine": 0.9,
            "rank_accuracy": 0.5,
        }
    )
    headline = results.headline(summary)
    assert "dynamic image 22.0 dB (flat grey 16.0); frame pairs in order 0.50 (chance 0.50)" in headline
    bad = table.assign(dynamic_image_ssim=-2.0)
    folder = write_study(tmp_path / "bad" / "mol-fake", [bad], measures=measures)
    with pytest.raises(MefusionError, match=r"dynamic_image_ssim.* not a number from -1 up"):
        results.pool(folder)


def test_incomplete_study_is_refused_by_name(tmp_path):
    directory = write_study(tmp_path / "mol-fake")
    (directory / "folds" / "s2" / "DONE").unlink()
    with pytest.raises(MefusionError, match=r"1 of 2 folds are missing \(s2\)"):
        results.pool(directory)
    assert not (directory / "summary.json").exists()
    assert [run.fold for run in record.planned_runs(directory) if run.done] == ["s1"]


def test_the_complete_folds_of_an_incomplete_study_are_pooled_when_asked(tmp_path):
    directory = write_study(tmp_path / "mol-fake")
    (directory / "folds" / "s2" / "DONE").unlink()
    summary = results.read_result(directory, partial=True).summary
    assert (summary["missing_folds"], summary["folds"], summary["clips"]) == (["s2"], 1, 3)
    assert "without the folds s2" in results.headline(summary)
    alone = results.pool(write_study(tmp_path / "alone" / "mol-fake", [fold_table("s1")])).summary
    assert summary["uf1"] == alone["uf1"]
    assert alone["missing_folds"] == []


LEFT_OUT = {
    "clips": [
        {"subject": "m/s1", "clip_id": "a", "problem": "x: no face"},
        {"subject": "m/s9", "clip_id": "b", "problem": "y: is empty"},
        {"subject": "m/s9", "clip_id": "c", "problem": "z: is empty"},
    ],
    "of": 9,
    "lost_subjects": ["m/s9"],
}


def test_clips_that_preparation_left_out_are_in_headline_and_summary(tmp_path):
    directory = write_study(tmp_path / "mol-fake", left_out=LEFT_OUT)
    summary = results.pool(directory).summary
    assert json.loads((directory / "summary.json").read_text())["provenance"]["left_out"] == LEFT_OUT
    phrase = "; preparation left out 3 of 9 clips (m/s1 1, m/s9 2; no clip is left of m/s9)"
    assert results.headline(summary).endswith(phrase)


def test_a_study_without_that_fact_stays_readable(tmp_path):
    for name, entries in (("old", {}), ("none", {"left_out": LEFT_OUT | {"clips": []}})):
        summary = results.pool(write_study(tmp_path / name, **entries)).summary
        assert "left out" not in results.headline(summary)
    with pytest.raises(MefusionError, match="no usable 'left_out'"):
        record.load_study(write_study(tmp_path / "bad", left_out=[3]))


def test_a_fold_that_lacks_a_seed_is_left_out_with_every_seed(tmp_path):
    tables = [fold_table(name, seed=seed) for name in ("s1", "s2") for seed in (3, 4)]
    directory = write_study(tmp_path / "mol-fake", tables)
    (directory / "folds" / "s2" / "seed4" / "DONE").unlink()
    summary = results.read_result(directory, partial=True).summary
    assert (summary["missing_folds"], summary["clips"], summary["folds"]) == (["s2/seed4"], 3, 1)


@pytest.mark.parametrize("partial", [False, True])
def test_study_without_any_fold_is_refused(tmp_path, partial):
    directory = write_study(tmp_path / "mol-fake")
    shutil.rmtree(directory / "folds")
    with pytest.raises(MefusionError, match=r"2 of 2 folds are missing \(s1, s2\)"):
        results.read_result(directory, partial)


def test_validation_clips_are_pooled_over_the_folds(tmp_path):
    two = ["negative", "positive"]
    for fold, guesses in {"one": ["negative", "negative"], "two": ["positive", "positive"]}.items():
        (tmp_path / fold).mkdir()
        fold_table(fold, labels=two, predictions=guesses).to_parquet(tmp_path / fold / "validation.parquet")
    # Negative and positive have TP 1, FP 1, FN 1 each; nobody shows surprise.
    assert results.validation_uf1([tmp_path / "one", tmp_path / "two"]) == pytest.approx((0.5 + 0.5 + 0) / 3)
    (tmp_path / "two" / "validation.parquet").write_bytes(b"PAR1")
    with pytest.raises(MefusionError, match=r"two/validation\.parquet is not a readable Parquet table"):
        results.validation_uf1([tmp_path / "one", tmp_path / "two"])


def test_failed_write_leaves_the_old_table(tmp_path, monkeypatch):
    directory = write_study(tmp_path / "mol-fake")
    results.pool(directory)
    before = (directory / "predictions.parquet").read_bytes()

    def fail_halfway(self, path, **_):
        path.write_bytes(b"PAR1 half a table")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", fail_halfway)
    with pytest.raises(MefusionError, match="No space left"):
        results.pool(directory)
    assert (directory / "predictions.parquet").read_bytes() == before
    assert not list(directory.glob(".*"))


def test_composite_is_scored_for_each_dataset_too(tmp_path):
    wrong = ["positive", "surprise", "negative"]
    tables = [
        fold_table("s1", dataset="casme2"),
        fold_table("s2", dataset="samm", predictions=wrong),
    ]
    summary = results.pool(write_study(tmp_path / "mol-fake", tables)).summary
    assert summary["uf1"] == pytest.approx(0.5)
    assert {name: part["uf1"] for name, part in summary["datasets"].items()} == {"casme2": 1.0, "samm": 0.0}
    assert summary["datasets"]["samm"]["clips"] == 3


def test_dataset_of_a_composite_is_scored_as_scikit_learn_scores_its_clips(tmp_path):
    generator = np.random.default_rng(0)
    tables = [
        fold_table(
            f"s{i}", dataset=name, **{key: generator.choice(CLASSES, 9).tolist() for key in ("labels", "predictions")}
        )
        for i, name in enumerate(["casme2"] * 4 + ["samm"] * 3)
    ]
    directory = write_study(tmp_path / "mol-fake", tables)
    summary, table = results.pool(directory).summary, load_predictions(directory)
    for name, part in [(None, table), *table.groupby("dataset")]:
        scores = summary["datasets"][name] if name else summary
        expected = f1_score(part["label"], part["prediction"], average="macro")
        assert (scores["uf1"], scores["clips"]) == (pytest.approx(expected), len(part))


def test_dataset_without_a_class_keeps_the_schemes_denominator(tmp_path):
    two = ["negative", "positive"]
    tables = [
        fold_table("s1", dataset="casme2"),
        fold_table("s2", dataset="samm", labels=two, predictions=two),
    ]
    summary = results.pool(write_study(tmp_path / "mol-fake", tables)).summary
    assert summary["uf1"] == 1
    assert summary["datasets"]["samm"]["uf1"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns="epoch"), "no column 'epoch'"),
        (
            lambda table: table[[c for c in table if not c.startswith("prob")]],
            "no column 'probability_<class>'",
        ),
        (lambda table: table.iloc[:0], "has no predictions"),
        (lambda table: table.assign(label=["negative", "joy", "surprise"]), "the label 'joy'"),
        (lambda table: table.assign(prediction="disgust"), "the prediction 'disgust'"),
        (lambda table: table.assign(label=["negative", None, "surprise"]), "empty cell in column 'label'"),
        (lambda table: table.assign(label=[[name] for name in CLASSES]), "in column 'label' that is not a text"),
        (lambda table: table.assign(subject=1), "in column 'subject' that is not a text"),
        (lambda table: table.assign(dataset=b"synthetic"), "in column 'dataset' that is not a text"),
        (lambda table: table.assign(prediction=CLASSES[::-1]), "clip 's1_0' that does not have the largest prob"),
        (lambda table: table.assign(probability_negative=0.9), "whose sum is not 1"),
        (lambda table: table.assign(probability_negative=np.nan), "'probability_negative' that is not a number"),
        (lambda table: table.assign(flow_epe=[0.1, np.inf, 0.1]), "'flow_epe' that is not a number"),
        (lambda table: table.assign(landmarks_nme="4 %"), "'landmarks_nme' that is not a number"),
        (lambda table: table.assign(flow_epe=pd.array([0.1, None, 0.1], "Float64")), "'flow_epe' that is not a number"),
        (lambda table: pd.concat([table, table.iloc[:1]]), "clip 's1_0' of subject 's1' twice"),
    ],
)
def test_broken_table_is_named(tmp_path, change, message):
    path = tmp_path / "table.parquet"
    change(fold_table("s1")).to_parquet(path, index=False)
    with pytest.raises(MefusionError, match=message) as caught:
        load_predictions(path)
    assert str(path) in str(caught.value)


def test_unreadable_and_missing_tables(tmp_path):
    path = tmp_path / "predictions.parquet"
    with pytest.raises(MefusionError, match="does not exist"):
        load_predictions(tmp_path)
    path.write_bytes(b"PAR1 cut off")
    with pytest.raises(MefusionError, match="not a readable Parquet table"):
        load_predictions(path)
    # What pandas notes of the columns is damaged: it stumbles over it in ways of its own.
    for note in ('{"index_columns": [], "columns": [{}]}', '{"index_columns": [{"kind": "range"}], "columns": []}'):
        table = pa.Table.from_pandas(fold_table("s1")).replace_schema_metadata({"pandas": note})
        pq.write_table(table, path)
        with pytest.raises(MefusionError, match="not a readable Parquet table"):
            load_predictions(path)


def test_seeds_are_scored_one_by_one_and_averaged(tmp_path):
    wrong = ["negative", "positive", "positive"]
    tables = [
        fold_table(fold, seed=seed, predictions=guesses)
        for seed, guesses in ((3, CLASSES), (4, wrong))
        for fold in ("s1", "s2")
    ]
    directory = write_study(tmp_path / "mol-fake", tables)
    assert (directory / "folds" / "s2" / "seed4" / "DONE").exists()
    summary = results.pool(directory).summary
    # Seed 4: negative 1, positive 2 * 2 / (4 + 2) = 2/3, surprise 0.
    assert {seed: scores["uf1"] for seed, scores in summary["seeds"].items()} == pytest.approx({"3": 1, "4": 5 / 9})
    assert summary["uf1"] == pytest.approx((1 + 5 / 9) / 2)
    assert summary["sd"]["uf1"] == pytest.approx((1 - 5 / 9) / 2**0.5)
    assert summary["intervals"]["uf1"] == pytest.approx([summary["uf1"]] * 2)  # the subjects are alike
    assert summary["per_class"]["surprise"] == pytest.approx({"f1": 0.5, "recall": 0.5, "clips": 2})
    assert summary["confusion_matrix"] == [[4, 0, 0], [0, 4, 0], [0, 2, 2]]
    assert (summary["clips"], summary["folds"]) == (6, 2)
    assert summary["subjects"][0] == {"dataset": "synthetic", "subject": "s1", "clips": 3, "acc": pytest.approx(5 / 6)}
    assert len(load_predictions(directory)) == 12
    assert (
        "6 clips and 2 seeds: UF1 0.778 (sd over seeds 0.314; 95 % interval over 2 subjects 0.778 to 0.778; "
        "majority class 0.167), UAR"
    ) in results.headline(summary)

    (directory / "folds" / "s2" / "seed4" / "DONE").unlink()
    with pytest.raises(MefusionError, match=r"1 of 4 folds are missing \(s2/seed4\)"):
        results.pool(directory)


def test_oracle_is_named_so_in_every_metric(tmp_path):
    tables = [
        fold_table(name, rule="oracle", dataset=dataset, seed=seed)
        for name, dataset in (("s1", "casme2"), ("s2", "casme2"), ("s3", "samm"))
        for seed in (0, 1)
    ]
    summary = results.pool(write_study(tmp_path / "mol-fake", tables, rule="oracle")).summary
    assert summary["oracle_uf1"] == 1
    assert summary["intervals"].keys() == {"oracle_uf1", "oracle_uar", "oracle_acc", "oracle_wf1"}
    assert summary["subjects"][0]["oracle_acc"] == 1
    assert summary["majority"]["uf1"] == pytest.approx(1 / 6)  # for which nothing was chosen

    def names(value):
        if isinstance(value, dict):
            return {*value} | set().union(*(names(part) for key, part in value.items() if key not in PLAIN))
        return set().union(*map(names, value)) if isinstance(value, list) else set()

    PLAIN = ("majority", "provenance")
    metrics = {"uf1", "uar", "acc", "wf1", "f1", "recall", "mean_of_folds_uf1", "confusion_matrix"}
    found = names(summary)
    assert not found & (metrics | {"flow_epe", "flow_epe_relative", "landmarks_nme", "landmarks_failure_rate"})
    assert {f"oracle_{name}" for name in metrics} <= found
    assert results.headline(summary).startswith("the epoch was chosen on the test subjects, so this is not a result")


def test_rules_are_not_scored_as_one(tmp_path):
    table = pd.concat([fold_table("s1"), fold_table("s2", rule="average")])
    with pytest.raises(MefusionError, match="mixes rule average, last"):
        score(table)


def test_same_clip_name_of_two_subjects_is_two_clips(tmp_path):
    path = tmp_path / "table.parquet"
    tables = [fold_table(subject, clip_id=["EP01", "EP02", "EP03"]) for subject in ("s1", "s2")]
    pd.concat(tables).to_parquet(path, index=False)
    assert score(load_predictions(path))["clips"] == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"study": "another"}, "has study another instead of mol-fake"),
        ({"seed": 7}, "has seed 7 instead of 0"),
        ({"rule": "oracle"}, "has rule oracle instead of last"),
        ({"fold": "s9"}, "has fold s9 instead of s1"),
    ],
)
def test_fold_of_another_study_is_refused(tmp_path, change, message):
    directory = write_study(tmp_path / "mol-fake")
    path = directory / "folds" / "s1" / "predictions.parquet"
    fold_table("s1").assign(**change).to_parquet(path, index=False)
    with pytest.raises(MefusionError, match=message) as caught:
        results.pool(directory)
    assert f"delete {path.parent}" in str(caught.value)


def test_folds_without_a_task_s_column_or_of_other_classes_are_refused(tmp_path):
    directory = write_study(tmp_path / "mol-fake")
    write_run(directory, fold_table("s2").drop(columns="landmarks_nme"))
    with pytest.raises(MefusionError, match=r"s2/predictions\.parquet has no column 'landmarks_nme'"):
        results.pool(directory)
    write_run(directory, fold_table("s2").assign(probability_fear=0.0))
    with pytest.raises(MefusionError, match="other classes than the study"):
        results.pool(directory)


def test_folds_of_different_code_are_told(tmp_path):
    directory = write_study(tmp_path / "mol-fake", code="b0")
    write_run(directory, fold_table("s1"), code="b0")
    assert results.pool(directory).summary["folds_differ"] == {}  # the code of s2 is not known
    write_run(directory, fold_table("s2"), code="a1+b0")
    summary = results.pool(directory).summary
    assert summary["folds_differ"] == {"code": ["a1+b0", "b0"]}
    assert results.headline(summary).endswith("; made by different code: a1+b0, b0")
    chosen = {"rule": "oracle", "oracle_uf1": 1, "oracle_uar": 1, "oracle_acc": 1, "oracle_wf1": 1}
    assert results.headline(summary | chosen).endswith("; made by different code: a1+b0, b0")


def test_folds_of_different_origins_are_told(tmp_path):
    directory = write_study(tmp_path / "mol-fake")
    assert results.pool(directory).summary["folds_differ"] == {}
    write_run(directory, fold_table("s2"), git_revision=None, device="cuda:1", versions={"torch": "2.12.1"})
    told = {"git_revision": ["0123abc", "None"], "device": ["cpu", "cuda"], "torch": ["2.12.1", "2.13.0"]}
    assert results.pool(directory).summary["folds_differ"] == told
    write_run(directory, fold_table("s1"), git_revision=None, device="cuda:0", versions={"torch": "2.12.1"})
    assert results.pool(directory).summary["folds_differ"] == {}


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"device": 1}', "[" * 100_000, None])
def test_fold_without_its_origin_is_refused(tmp_path, content):
    path = write_study(tmp_path / "mol-fake") / "folds" / "s2" / "fold.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(MefusionError, match=r"s2/fold\.json does not say where the fold was run .* delete .*/s2 and"):
        results.pool(tmp_path / "mol-fake")


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.iloc[1:],
        lambda table: table.assign(label=["positive", "positive", "surprise"]),
        lambda table: table.assign(clip_id=["s2_0", "s2_1", "s2_9"]),
    ],
)
def test_other_clips_or_labels_than_the_study_is_about_are_refused(tmp_path, change):
    """Also where it is one seed of two."""
    for name, seeds in (("one", [0]), ("two", [3, 4])):
        tables = [fold_table(fold, study=name, seed=seed) for fold in ("s1", "s2") for seed in seeds]
        directory = write_study(tmp_path / name, tables)
        assert results.pool(directory).summary["uf1"] == 1
        write_run(directory, change(tables[-1]), several=len(seeds) > 1)
        with pytest.raises(MefusionError, match=f"the folds of seed {seeds[-1]} have other clips or labels"):
            results.pool(directory)


def test_clip_in_two_folds_is_refused(tmp_path):
    tables = [fold_table("s1"), fold_table("s1", fold="s2")]
    directory = write_study(tmp_path / "mol-fake", tables)
    with pytest.raises(MefusionError, match="clip 's1_0' of subject 's1' twice"):
        results.pool(directory)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "no usable 'study'"),
        ("[" * 100_000, "cannot be read as JSON"),
        ('{"seeds": [' + 5000 * "9" + "]}", "cannot be read as JSON"),
        ('{"study": "a", "model": "mol", "tasks": {"recognition": 1}}', "no usable 'classes'"),
    ],
)
def test_broken_study_json(tmp_path, text, message):
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(MefusionError, match=message):
        record.load_study(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("study", "../elsewhere"),
        ("study", ".."),
        ("tasks", {"recognition": "much"}),
        ("tasks", {"flow": {"weight": 1}}),
        ("tasks", {}),
        ("classes", ["negative", 2]),
        ("classes", ["negative", "negative"]),
        ("classes", []),
        ("folds", ["/s1", "s2"]),
        ("folds", [{"name": "s1"}]),
        ("folds", ["s1", "s1"]),
        ("seeds", [[0]]),
        ("seeds", [0, 0]),
        ("seeds", [0.0]),
        ("seeds", [False]),
        ("seeds", ["0"]),
        ("sample_list_hash", None),
        ("partial", 3),
        ("versions", ["torch"]),
        ("measures", ["flow"]),
        ("measures", {"flow": {"measures": [{"name": "flow_epe"}], "headline": "", "note": ""}}),
        (
            "measures",
            {"flow": {"measures": [{"name": "a", "title": "b", "form": "no form"}], "headline": "", "note": ""}},
        ),
    ],
)
def test_value_of_study_json_that_cannot_be(tmp_path, key, value):
    directory = write_study(tmp_path / "mol-fake", **{key: value})
    with pytest.raises(MefusionError, match=f"study.json has no usable '{key}'"):
        results.pool(directory)


def test_find_studies(tmp_path):
    with pytest.raises(MefusionError, match="contains no study"):
        record.find_studies(tmp_path)
    with pytest.raises(MefusionError, match="is not a directory"):
        record.find_studies(tmp_path / "absent")
    second, first = write_study(tmp_path / "b"), write_study(tmp_path / "a")
    (tmp_path / "report").mkdir()
    assert record.find_studies(tmp_path) == [first, second]
    assert record.find_studies(second) == [second]


def test_study_that_cannot_be_read_is_not_left_out(tmp_path, monkeypatch):
    pooled, closed = write_study(tmp_path / "a"), write_study(tmp_path / "b")
    results.pool(pooled)
    (pooled / "study.json").unlink()
    is_file = Path.is_file

    def refused(path):
        if closed in path.parents:
            raise PermissionError(13, "Permission denied")
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refused)
    assert record.find_studies(tmp_path) == [pooled, closed]
    with pytest.raises(MefusionError, match=r"a has no study\.json"):
        results.pool(pooled)


def test_a_table_that_is_not_the_one_the_fold_was_completed_with_is_refused(tmp_path):
    directory = write_study(tmp_path / "mol")
    (run, *_) = record.planned_runs(directory)
    run.mark_done(run.predictions)
    results.read_result(directory)
    content = bytearray(run.predictions.read_bytes())
    content[0] ^= 1  # Parquet's readers look at the end only
    run.predictions.write_bytes(content)
    with pytest.raises(MefusionError, match=f"{re.escape(str(run.predictions))} is not .*another checksum.*; delete"):
        results.read_result(directory)
