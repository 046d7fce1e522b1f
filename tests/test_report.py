import json
import os
import re
import subprocess
import sys
import time

import pytest
from PIL import Image
from test_plots import example, save_examples
from test_results import fold_table, write_study

from mefusion import report


@pytest.fixture
def outputs(tmp_path):
    """Two studies as a sweep leaves them: all tasks, with example clips, and recognition only."""
    outputs = tmp_path / "outputs"
    study = write_study(outputs / "mol-all")
    for name in ("s1", "s2"):
        save_examples(study / "folds" / name / "examples.safetensors", {f"{name}_0": example(subject=name)})
    tables = [
        fold_table(name, study="mol-recognition").drop(columns=["flow_epe", "flow_epe_zero", "landmarks_nme"])
        for name in ("s1", "s2")
    ]
    write_study(outputs / "mol-recognition", tables, tasks={"recognition": 1.0, "flow": 0})
    return outputs


def markdown_rows(path):
    """Cells of the first table of a Markdown file, header first."""
    lines = [line for line in path.read_text().splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [rows[0], *rows[2:]]


def test_one_study(outputs, capsys):
    study = outputs / "mol-all"
    assert report.main([str(study)]) == 0
    header, row = markdown_rows(study / "report" / "report.md")
    cells = dict(zip(header, row, strict=True))
    # Worked in test_results: F1 1, 4/5 and 2/3; recall 1, 1 and 1/2; majority 2 * 2 / (2 * 2 + 4) / 3.
    assert cells == {
        "study": "mol-all",
        "model": "mol",
        "tasks": "recognition, flow x10, landmarks",
        "clips": "6",
        "UF1": "0.822",
        "UAR": "0.833",
        "ACC": "0.833",
        "WF1": "0.822",
        "majority UF1": "0.167",
        "flow EPE px": "0.200",
        "EPE / zero flow": "0.40",
        "landmark NME %": "6.00",
    }
    shown = capsys.readouterr()
    assert not shown.err
    for word in ("mol-all", "0.822", "0.167", "pooled over all folds", "`last`"):
        assert word in shown.out
    assert "mean_of_folds_uf1, as older papers report it and not comparable with UF1: 0.778 (mol-all)" in shown.out
    text = (study / "report" / "report.md").read_text()
    assert "sample_list_hash `5a3b1e`" in text
    assert "surprise 0.667 (2 clips)" in text
    assert "![contact sheet](<contact_sheet.png>)" in text
    for name in ("confusion_matrix", "contact_sheet"):
        with Image.open(study / "report" / f"{name}.png") as picture:
            assert min(picture.size) > 400


def test_directory_of_studies_gives_one_table(outputs, capsys):
    assert report.main([str(outputs)]) == 0
    path = outputs / "report" / "report.md"
    _, first, second = markdown_rows(path)
    assert [first[0], second[0]] == ["mol-all", "mol-recognition"]
    assert second[2] == "recognition"
    assert second[4] == "1.000"
    assert second[-3:] == ["-", "-", "-"]
    links = re.findall(r"!\[.*?\]\(<(.*?)>\)", path.read_text())
    assert links == [
        "../mol-all/report/confusion_matrix.png",
        "../mol-all/report/contact_sheet.png",
        "../mol-recognition/report/confusion_matrix.png",
    ]
    assert all((path.parent / link).is_file() for link in links)
    shown = capsys.readouterr().out
    assert "0.778 (mol-all), 1.000 (mol-recognition)" in shown
    assert "do not all cover the same clips" not in shown
    # A second run finds the studies, not its own report/.
    assert report.main([str(outputs)]) == 0


def test_output_and_a_study_given_twice(outputs, tmp_path):
    arguments = [str(outputs), str(outputs / "mol-all"), "--output", str(tmp_path / "tables")]
    assert report.main(arguments) == 0
    assert len(markdown_rows(tmp_path / "tables" / "report.md")) == 3
    assert not (outputs / "report").exists()


def test_different_clips_are_pointed_out(outputs, capsys):
    path = outputs / "mol-all" / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sample_list_hash": "other"}))
    assert report.main([str(outputs)]) == 0
    assert "do not all cover the same clips" in capsys.readouterr().out


def test_broken_studies_get_a_sentence_and_the_others_are_reported(outputs, tmp_path, capsys):
    (write_study(outputs / "half") / "folds" / "s2" / "DONE").unlink()
    (write_study(outputs / "cut") / "folds" / "s1" / "predictions.parquet").write_bytes(b"PAR1")
    (write_study(outputs / "garbled") / "study.json").write_text("{")
    write_study(outputs / "cheat", [fold_table("s1", study="cheat", rule="oracle")], rule="oracle")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert report.main([str(outputs), str(empty), str(tmp_path / "absent")]) == 1
    shown = capsys.readouterr()
    lines = shown.err.splitlines()
    assert len(lines) == 6
    assert all(line.startswith("mefusion-report: ") and line.endswith(".") for line in lines)
    for part in (
        "half is incomplete: 1 of 2 folds are missing (s2)",
        "cut/folds/s1/predictions.parquet is no readable Parquet table",
        "garbled/study.json cannot be read as JSON",
        "cheat follows the rule 'oracle'",
        "empty holds no study",
        "absent is not a directory",
    ):
        assert sum(part in line for line in lines) == 1, part
    names = [row[0] for row in markdown_rows(outputs / "report" / "report.md")[1:]]
    assert names == ["mol-all", "mol-recognition"]


def test_broken_examples_cost_the_contact_sheet_only(outputs, capsys):
    study = outputs / "mol-all"
    assert report.main([str(study)]) == 0
    (study / "folds" / "s2" / "examples.safetensors").write_bytes(b"not safetensors")
    assert report.main([str(study)]) == 1
    shown = capsys.readouterr()
    assert "s2/examples.safetensors has no readable example clips" in shown.err
    assert "0.822" in shown.out
    assert "contact sheet" not in (study / "report" / "report.md").read_text()


def test_nothing_to_report(tmp_path, capsys):
    assert report.main([str(tmp_path)]) == 1
    shown = capsys.readouterr()
    assert not shown.out
    assert not list(tmp_path.iterdir())
    assert f"mefusion-report: {tmp_path} holds no study" in shown.err


def test_place_that_cannot_be_written(outputs, capsys):
    (outputs / "report").write_text("a file where the directory would be")
    assert report.main([str(outputs)]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_names_with_markup_are_shown_as_they_are(tmp_path, capsys):
    study = write_study(tmp_path / "mol[red]|x")
    assert report.main([str(study)]) == 0
    assert "mol[red]|x" in capsys.readouterr().out
    assert "| mol[red]\\|x | mol |" in (study / "report" / "report.md").read_text()


def test_contact_sheet_takes_classes_and_subjects_in_turn():
    clips = [
        {"clip_id": f"{subject}_{label}_{i}", "subject": subject, "label": label}
        for subject in ("s1", "s2")
        for label in ("negative", "positive")
        for i in range(4)
    ]
    chosen = report._choose(clips, ["positive", "negative", "surprise"])
    assert [clip["label"] for clip in chosen] == ["positive", "negative"] * 3
    assert [clip["subject"] for clip in chosen] == ["s1", "s2"] * 3
    assert report._choose(clips[:1], ["positive", "negative"]) == clips[:1]


def test_command_without_traceback_and_help_at_once(tmp_path):
    start = time.monotonic()
    shown = subprocess.run(
        [sys.executable, "-m", "mefusion.report", "--help"], capture_output=True, text=True, check=True
    )
    assert time.monotonic() - start < 2
    assert "--output DIR" in shown.stdout
    failed = subprocess.run(
        [sys.executable, "-m", "mefusion.report", str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ},
    )
    assert failed.returncode == 1
    assert "holds no study" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_narrow_terminal_keeps_the_numbers_whole(outputs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert report.main([str(outputs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.strip().startswith("1 "))
    assert row.split() == ["1", "6", "0.822", "0.833", "0.833", "0.822", "0.167", "0.200", "0.40", "6.00"]
    assert "1: mol-all, mol, recognition, flow x10, landmarks" in lines
    assert len(row) <= 80


def test_report_needs_no_torch(outputs):
    code = (
        "import sys; from mefusion.report import main; status = main(sys.argv[1:]); "
        "sys.exit(status or ('torch' in sys.modules) * 3)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(outputs)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # In a pipe the numbers are whole, however long the names.
    assert re.search(r"mol-recognition .*recognition .* 6 .*1\.000.*1\.000.*0\.167", done.stdout)
