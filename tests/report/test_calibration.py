"""What a report says of calibration."""

import pytest
from fake_studies import fold_table, write_study

from mefusion.report import main
from mefusion.studies.results import read_calibration

pytestmark = pytest.mark.usefixtures("no_pictures")

WRONG = ["negative", "positive", "positive"]


@pytest.fixture
def study(tmp_path):
    """Rule inner_val; each answer has the probability .8, and two of three validation answers are right."""
    name = "mol-fake"
    tables = [fold_table(subject, study=name, rule="inner_val") for subject in ("s1", "s2")]
    directory = write_study(tmp_path / name, tables, rule="inner_val")
    for subject in ("s1", "s2"):
        validation = fold_table("s3", study=name, rule="inner_val", predictions=WRONG)
        validation.to_parquet(directory / "folds" / subject / "validation.parquet")
    return directory


def test_the_error_before_and_after_is_reported(study, capsys):
    # The odds 8 : 1 : 1 become x : 1 : 1, where x / (x + 2) = 2/3: x = 4, and T = log 8 / log 4 = 1.5.
    calibration = read_calibration(study)
    assert calibration.temperatures == pytest.approx([1.5, 1.5], abs=1e-3)
    assert calibration.errors == pytest.approx((0.2, 1 / 3), abs=1e-3)  # all test answers are right
    assert main([str(study)]) == 0
    report = (study / "report" / "report.md").read_text()
    assert "| ECE before | ECE after | median temperature | of the folds |" in report
    assert "| 0.200 | 0.333 | 1.50 | 1.50 to 1.50 |" in report
    assert "never on its test subjects" in report
    assert f"{study.name}-reliability.png" in report


def test_a_broken_validation_table_is_told_and_all_else_reported(study, capsys):
    (study / "folds" / "s1" / "validation.parquet").write_bytes(b"x")
    assert main([str(study)]) == 1
    assert "validation.parquet is not a readable Parquet table" in capsys.readouterr().err
    assert "ECE" not in (study / "report" / "report.md").read_text()


def test_other_rules_have_no_subjects_to_fit_it_on(tmp_path):
    assert read_calibration(write_study(tmp_path / "mol-fake")) is None
