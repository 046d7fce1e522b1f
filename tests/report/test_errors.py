"""What a report says of errors: those of all studies, subjects unlike the rest, confidence."""

import pytest
from fake_examples import example, save_examples
from fake_studies import CLASSES, fold_table, write_study

from mefusion.report import main

pytestmark = pytest.mark.usefixtures("no_pictures")


def report_of(folder, status=0):
    assert main([str(folder)]) == status
    return (folder / "report" / "report.md").read_text()


@pytest.fixture
def outputs(tmp_path):
    """Three studies of two models that miss the surprise of s2 alike."""
    for name, model in (("mol-a", "mol"), ("mol-b", "mol"), ("fdp-a", "fdp")):
        write_study(tmp_path / name, model=model, config={"model": {"name": model}, "note": name})
    return tmp_path


def test_unanimous_errors_are_listed_with_the_pictures_that_are_kept(outputs):
    fold = outputs / "mol-b" / "folds" / "s2"
    missed = example(subject="s2", clip_id="s2_2", label="surprise")
    save_examples(fold / "examples.safetensors", {"s2_2": missed, "s2_0": example(subject="s2", clip_id="s2_0")})
    text = report_of(outputs)
    assert "| dataset | subject | clip | label | all say | studies | mean probability |" in text
    assert "| synthetic | s2 | s2_2 | surprise | positive | 3 | 0.800 |" in text
    assert "candidates for labels that the motion does not bear out, or for something that all models miss" in text
    sentence = "synthetic: 1 of 6 clips are such errors of all 3 studies (models: "
    assert sentence in text
    assert "Pictures: 1 of these 1." in text
    assert text.count("figures/unanimous-") == 1


def test_without_kept_examples_there_is_no_picture(outputs):
    text = report_of(outputs)
    assert "Pictures: 0 of these 1." in text
    assert "figures/unanimous-" not in text


def test_a_broken_file_of_examples_costs_the_picture_only(outputs, capsys):
    (outputs / "mol-b" / "folds" / "s2" / "examples.safetensors").write_bytes(b"no")
    assert "| synthetic | s2 | s2_2 |" in report_of(outputs, status=1)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len({*lines}) == 1


def test_two_studies_and_studies_of_other_clips_are_not_called_unanimous(outputs):
    other = outputs / "mol-b"
    for file in sorted(other.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    other.rmdir()
    write_study(outputs / "mol-c", [fold_table("s7", study="mol-c", predictions=["surprise"] * 3)])
    assert "Unanimous" not in report_of(outputs)


def test_subjects_outside_the_binomial_range_are_marked(tmp_path):
    labels = ["negative"] * 10
    tables = [
        fold_table(name, study="mol", labels=labels, predictions=["negative"] * right + ["surprise"] * (10 - right))
        for name, right in (("s1", 1), ("s2", 9), ("s3", 5))
    ]
    text = report_of(write_study(tmp_path / "mol", tables))
    assert "| s1 | synthetic | 10 | 1 | 0.100 | 2 to 8 | below |" in text
    assert "| s2 | synthetic | 10 | 9 | 0.900 | 2 to 8 | above |" in text
    assert "| s3 | synthetic | 10 | 5 | 0.500 | 2 to 8 |  |" in text
    # 3 times 22 / 1024 by chance.
    assert "2 of 3 are outside; below: s1; above: s2; 0.1 would be by chance." in text


def test_confidence_of_a_study_that_is_not_calibrated(tmp_path):
    study = write_study(tmp_path / "mol")
    text = report_of(study)  # each answer has .8, and 5 of 6 are right
    assert "| ECE | mean confidence | ACC |" in text
    assert "| 0.033 | 0.800 | 0.833 |" in text
    assert "Not calibrated" in text
    assert "figures/mol-reliability.png" in text
    assert CLASSES[0] in text
