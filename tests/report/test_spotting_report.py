"""The report of spotting studies."""

import json
import re

import pandas as pd
import pytest

from mefusion.report import main as report
from mefusion.report.spotting.tables import recording_table, subject_table
from mefusion.spotting_studies.record import read_spotting_study, score_study, write_study

CLASSES = ["negative", "positive"]


def write(directory, *, data="samm_long", recognised=True):
    """A study of three people, of whom the third has a recording that could not be read."""
    rows = [("s1", "a1"), ("s1", "a 2"), ("s2", "b1"), ("s3", "c1")]
    recordings = pd.DataFrame(
        [(data, f"{data}/{subject}", name, f"/videos/{name}", 200.0, 900) for subject, name in rows],
        columns=["dataset", "subject", "recording", "path", "fps", "frames"],
    )
    truth = pd.DataFrame(
        [
            ("a1", "micro", 10, 20, 49, "anger", "negative"),
            ("a 2", "macro", 100, 150, 299, "happiness", "positive"),
            ("b1", "micro", 10, 20, 49, "other", None),
            ("c1", "micro", 10, 20, 49, "anger", "negative"),
        ],
        columns=["recording", "kind", "onset", "apex", "offset", "emotion", "label"],
    ).assign(action_units=None)
    spotted = pd.DataFrame(
        [
            ("a1", 1, 1, 15, 20, 54, "micro", 2.0, False, "positive"),
            ("a 2", 1, 1, 120, 150, 299, "macro", 1.5, False, "positive"),
            ("b1", 1, 1, 500, 520, 540, "micro", 1.2, False, "negative"),
            ("b1", 1, 2, 600, 650, 700, "micro", 3.0, True, "negative"),  # does not count
        ],
        columns=["recording", "track", "event", "onset", "apex", "offset", "kind", "score", "speech", "prediction"],
    )
    facts = {
        "study": directory.name,
        "data": data,
        "method": "displacement",
        "spotting": {"method": "displacement", "low_pass": 5.0, "thresholds": {"noise": 4.0}},
        "k": {"a1": [0.1, 0.4], "a 2": [0.2, 0.4]},
        "recognised_by": {"name": "mol-samm", "classes": CLASSES} if recognised else None,
        "not_recognised": ["b1"] if recognised else [],
        "problems": ["samm_long: 4 recordings where the official download has 147"],
        "recording_problems": ["a1: it ends after 4.0 s"],
        "left_out": [{"recording": "c1", "subject": f"{data}/s3", "reason": "c1 cannot be read: replace the file"}],
        "complete": True,
        "command": f"mefusion-spot data={data} data.root=videos",
        "date": "2026-01-02 10:00 +0000",
        "versions": {"mefusion": "0.2.0"},
        "git_revision": None,
        "config_hash": "0123456789",
    }
    if not recognised:
        truth, spotted = truth.drop(columns="label"), spotted.drop(columns="prediction")
    scores = score_study(directory, facts, recordings, truth, spotted)
    for name in ("a1", "b1"):
        (directory / "recordings" / name).mkdir(parents=True)
        (directory / "recordings" / name / "page.html").touch()
    return scores


@pytest.fixture
def study(tmp_path):
    directory = tmp_path / "spot" / "samm_long-displacement-0123456789"
    scores = write(directory)
    # By hand: of 3 true expressions 2 are found by 3 intervals; both are named positive, and one is.
    assert scores["all"]["f1"] == pytest.approx(2 / 3)
    assert scores["recognition"]["confusion_matrix"] == [[0, 1], [0, 1]]
    # Precision 0 and 1 / 2, recall 0 and 1.
    assert scores["recognition"]["f1"] == pytest.approx(2 * 0.25 * 0.5 / 0.75)
    assert scores["recognition"]["strs"] == pytest.approx(2 / 3 * 1 / 3)
    return directory


def test_a_study_is_reported_in_every_form(study, capsys, no_pictures):
    assert report([str(study)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Spotting: displacement on samm_long\n")
    assert re.search(r"micro +2 +1 +2 +1 +0\.500", printed)
    assert re.search(r"all +3 +2 +3 +2 +0\.667", printed)
    assert "0.222" in printed  # STRS
    assert "Published on samm_long, by others' protocols" in printed
    assert "context, not a comparison" in printed
    assert "left out 1 of 4 recordings that could not be read (c1), with 1 expression" in printed
    assert "no recording is left of samm_long/s3" in printed
    assert "not recognised: 1 of 4 recordings" in printed
    assert "not counted: 1 of the events, which are stretches of speech" in printed
    folder = study / "report"
    html, markdown, latex = ((folder / name).read_text() for name in ("report.html", "report.md", "tables.tex"))
    assert '<a href="../recordings/a1/page.html">a1</a>' in html
    assert "[a1](<../recordings/a1/page.html>)" in markdown
    for text in (html, markdown):
        assert "mefusion-spot data=samm_long data.root=videos" in text
        assert "2026-01-02 10:00 +0000" in text
        assert "c1 cannot be read: replace the file" in text
        assert "4 recordings where the official download has 147" in text
        assert "thresholds.noise" in text
    assert r"\caption{Spotting, pooled over all recordings}" in latex
    table = pd.read_csv(folder / "results.csv")
    assert table["all_f1"].tolist() == pytest.approx([2 / 3])
    assert table["recognition_strs"].tolist() == pytest.approx([2 / 9])
    assert table[["recordings_left_out", "data"]].to_numpy().tolist() == [[1, "samm_long"]]


def test_stretches_of_speech_count_in_no_table(study):
    result = read_spotting_study(study)
    assert subject_table(result).rows == [
        ["samm_long/s1", "2", "2", "2", "2", "2", "1.000", "1.000", "1.000"],
        ["samm_long/s2", "1", "1", "0", "1", "0", "0.000", "0.000", "0.000"],
    ]
    assert recording_table(result, study / "report").rows == [
        ["a1", "samm_long/s1", "1", "0", "1", "1"],
        ["a 2", "samm_long/s1", "0", "1", "1", "1"],
        ["b1", "samm_long/s2", "1", "0", "0", "1"],
    ]


def test_several_studies_stand_side_by_side(study, capsys, no_pictures):
    other = study.parent / "synthetic_long-displacement-0123456789"
    write(other, data="synthetic_long", recognised=False)
    facts = json.loads((other / "spotting.json").read_text())
    facts["spotting"] |= {"low_pass": 4.0}
    write_study(other, facts)
    assert report([str(study.parent)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Spotting: displacement on samm_long, synthetic_long: 2 studies\n")
    assert (study.parent / "report" / "report.html").is_file()
    html = (study.parent / "report" / "report.html").read_text()
    assert f'<a href="../{other.name}/recordings/a1/page.html">' in html
    assert printed.count("Published on") == 1
    assert printed.count("low_pass=5") == printed.count("low_pass=4") == 3


def test_what_cannot_be_reported_is_one_sentence(study, tmp_path, capsys, no_pictures):
    facts = json.loads((study / "spotting.json").read_text())
    half = study.parent / "half"
    half.mkdir()
    write_study(half, facts | {"study": "half", "complete": False})
    assert report([str(half)]) == 1
    assert "half is incomplete: run its command again, which goes on: mefusion-spot data=samm_long" in (
        capsys.readouterr().err
    )
    assert report([str(study), str(tmp_path)]) == 1
    assert "has no spotting study" in capsys.readouterr().err
    assert report([str(study), "--reference", "x"]) == 1
    assert "--reference compares studies of recognition" in capsys.readouterr().err
    (study / "scores.json").write_text("{")
    assert report([str(study)]) == 1
    (sentence,) = capsys.readouterr().err.strip().splitlines()
    assert "scores.json cannot be read" in sentence
