"""The simple model that a study's headline names."""

from fake_studies import fold_table, write_study

from mefusion.studies import results
from mefusion.studies.references import best_reference, summaries_beside


def test_the_best_simple_model_on_the_same_clips_stands_in_the_headline(tmp_path):
    wrong = ["negative", "positive", "positive"]
    tables = {
        "linear_flow-a": [fold_table("s1", predictions=wrong), fold_table("s2", predictions=wrong)],
        "hoof_svm-b": [fold_table("s1"), fold_table("s2", predictions=wrong)],
        "flow_cnn-other-clips": [fold_table("s1")],
    }
    for name, folds in tables.items():
        folds = [table.assign(study=name) for table in folds]
        results.pool(write_study(tmp_path / name, folds, model=name.partition("-")[0]))
    (tmp_path / "hoof_svm-broken").mkdir()
    (tmp_path / "hoof_svm-broken" / "summary.json").write_text('{"uf1": 1.0, "provenance": []}')
    unfinished = write_study(tmp_path / "hoof_svm-unfinished", model="hoof_svm")
    (unfinished / "folds" / "s1" / "DONE").unlink()
    summary = results.pool(write_study(tmp_path / "mol-fake")).summary
    beside = summaries_beside(tmp_path / "mol-fake")
    assert sorted(other["study"] for other in beside) == ["flow_cnn-other-clips", "hoof_svm-b", "linear_flow-a"]
    # Of six clips, five are right: F1 of negative 1, positive 2 * 2 / 5, surprise 2 / 3.
    expected = (1 + 0.8 + 2 / 3) / 3
    assert f"; best reference hoof_svm {expected:.3f})" in results.headline(summary, beside)
    assert "best reference" not in results.headline(summary)


def test_a_simple_model_has_no_reference_and_the_rule_oracle_is_none(tmp_path):
    own = {"provenance": {"model": "mol", "sample_list_hash": "a"}, "rule": "last", "uf1": 0.5}
    simple = {"provenance": {"model": "hoof_svm", "sample_list_hash": "a"}, "rule": "last", "uf1": 0.5}
    assert best_reference(own, [simple]) is simple
    assert best_reference(simple, [simple]) is None
    assert best_reference(own, [own, simple | {"rule": "oracle"}]) is None


def test_a_reference_has_seen_the_same_pictures_not_only_clips_of_the_same_names():
    small, large = (
        {"provenance": {"model": model, "sample_list_hash": "a", "pictures_hash": pictures}, "rule": "last", "uf1": uf1}
        for model, pictures, uf1 in (("hoof_svm", ".5 px", 0.6), ("hoof_svm", "2 px", 0.8))
    )
    own = {"provenance": small["provenance"] | {"model": "mol"}, "rule": "last", "uf1": 0.5}
    assert best_reference(own, [small, large]) is small
