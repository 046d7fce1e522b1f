from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_answers import line_of, write_answers
from fake_segments import fake_segments

from mefusion.annotation.labelling.answers import is_annotation_run
from mefusion.report import main
from mefusion.report.annotation import page, run
from mefusion.report.annotation.page import write_page
from mefusion.report.annotation.run import read_run

HOSTILE = "</p><script>alert(1)</script><img src=x onerror=alert(2)>"
CONFIG = "runs: 2\nvocabulary: {name: own, labels: {neutral: a, surprise: b, joy: c, anger: d}}\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A run of five segments, of which two have a label; their videos are not there."""
    segments = fake_segments(5, transcript=HOSTILE)
    monkeypatch.setattr(run, "read_segments", lambda output: segments)
    (tmp_path / "config.yaml").write_text(CONFIG)
    rows = [
        {"stage": "extract", "video": "v0", "segment": None, "start": np.nan, "end": np.nan, "reason": "no sound"},
        {"stage": "extract", "video": "v1", "segment": "v1-9", "start": 1.0, "end": 3.5, "reason": "nobody speaks"},
        {"stage": "label", "video": "v1", "segment": "old", "start": 1.0, "end": 3.5, "reason": "of an earlier start"},
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "rejected.csv", index=False)
    lines = [line_of(segments[n], number, {"joy": 60}, rationale=HOSTILE) for n in range(2) for number in range(2)]
    lines += [line_of(segments[2], number, {}, status="unusable") for number in range(2)]
    lines += [line_of(segments[3], 0, {}, status="failed")]
    write_answers(tmp_path, lines)
    return tmp_path


def test_what_was_kept_rejected_and_spent_is_counted(folder):
    found = read_run(folder)
    assert is_annotation_run(folder)
    assert found.kept == {"segments": 2, "seconds": 5.0, "found": 6, "found_seconds": 15.0}
    assert found.distribution == {"neutral": 0, "surprise": 0, "joy": 2, "anger": 0}
    told = [(row["stage"], row["reason"], row["count"]) for row in found.rejected]
    assert told == [
        ("extract", "no sound", 1), ("extract", "nobody speaks", 1), ("label", "unusable", 1), ("label", "failed", 1),
        ("label", "not asked about yet", 1),
    ]  # fmt: skip
    assert found.cost["requests"] == 7
    assert found.cost["failed"] == 1
    assert found.cost["usd"] == pytest.approx(0.021)
    assert found.cost["usd_per_hour"] == pytest.approx(0.021 / 5 * 3600)
    assert found.consistency["segments"] == 3
    assert found.consistency["left_out"] == 1


def test_rejections_of_an_earlier_labelling_do_not_count(folder):
    write_answers(folder, [line_of(segment, 0, {"joy": 60}) | {"model": "new"} for segment in fake_segments(5)])
    found = read_run(folder)
    assert found.kept["segments"] == 5
    assert {row["stage"] for row in found.rejected} == {"extract"}
    assert found.model == "new"


def test_text_of_a_model_or_of_people_is_no_code(folder):
    write_page(folder / "page.html", read_run(folder), f"mefusion-report {HOSTILE}")
    text = (folder / "page.html").read_text()
    assert "<script" not in text
    assert "<img src=x" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "default-src 'none'" in text
    assert text.count("No pictures") == 4  # two with a label, two without
    assert "unusable: too dark" in text
    assert "nan" not in text.replace("n't", "").split("<h2>Segments")[1]
    for sentence in ("labels of a model, not truth", "It is not accuracy", "agreement between people"):
        assert sentence in text


def test_a_long_run_shows_segments_from_all_of_it(folder, monkeypatch):
    monkeypatch.setattr(page, "MOST", 1)
    write_page(folder / "page.html", read_run(folder))
    text = (folder / "page.html").read_text()
    assert "Segments: 1 of 2, at equal distances" in text
    assert "Rejected by the model: 1 of 2" in text


def test_the_command_writes_a_page_for_each_run_and_names_what_is_none(folder, tmp_path, capsys):
    (other := tmp_path / "empty").mkdir()
    assert main([str(folder), str(other)]) == 1
    out, err = capsys.readouterr()
    assert Path(out.removeprefix("Report: ").strip()).is_file()
    assert f"{other} is no annotation run" in err
    assert main([str(folder), "--reference", "x"]) == 1
    (folder / "config.yaml").write_text("runs: 2\n")
    assert main([str(folder)]) == 1
    assert "config.yaml is missing or damaged" in capsys.readouterr().err
