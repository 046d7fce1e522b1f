"""`mefusion-report --pivot`: one table of a score by one or two settings."""

import pytest
from fake_studies import fold_table, write_study

from mefusion.report import main

HALF = ["negative", "positive", "positive"]


@pytest.fixture
def outputs(tmp_path):
    """Models mol and fdp on a, mol alone on b. Of a, fdp is always right; mol takes a surprise for positive once."""
    for model, data in (("mol", "a"), ("fdp", "a"), ("mol", "b")):
        subjects = ("s1", "s2") if data == "a" else ("s8", "s9")
        answers = {} if model == "fdp" else {"predictions": HALF}
        name = f"{model}-{data}"
        tables = [fold_table(subjects[0], study=name), fold_table(subjects[1], study=name, **answers)]
        tables = [table.assign(dataset=data) for table in tables]
        config = {"model": {"name": model, "lr": 0.1}, "data": {"name": data}}
        write_study(tmp_path / name, tables, model=model, data=data, config=config)
    return tmp_path


def pivot(folder, *options, status=0):
    assert main([str(folder), "--pivot", *options]) == status


def rows(text):
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:1] == "|"]


def test_two_settings(outputs, capsys):
    pivot(outputs, "model,data")
    text = (outputs / "report" / "pivot.md").read_text()
    # UF1 of mol: F1 1, 4/5 and 2/3; its interval is that of either subject alone, 5/9 to 1.
    assert rows(text) == [
        ["model", "a", "b"],
        ["---", "---:", "---:"],
        ["fdp", "**1.000** [1.000, 1.000]", "-"],
        ["mol", "0.822 [0.556, 1.000]", "0.822 [0.556, 1.000]"],
    ]
    assert "Warning" not in text
    assert text in capsys.readouterr().out
    latex = (outputs / "report" / "pivot.tex").read_text()
    for line in (
        r"\begin{tabular}{lrr}",
        r"model & a & b \\",
        r"fdp & \textbf{1.000} {[}1.000, 1.000] & -- \\",
        r"\bottomrule",
    ):
        assert line in latex.splitlines()
    assert not (outputs / "report" / "report.html").exists()


def test_one_setting_over_different_clips_has_no_best(outputs):
    for name in ("fdp-a",):
        (outputs / name).rename(outputs.parent / name)
    pivot(outputs, "data", "--metric", "acc")
    text = (outputs / "report" / "pivot.md").read_text()
    assert rows(text)[0] == ["data", "ACC"]
    assert [row[1].partition(" ")[0] for row in rows(text)[2:]] == ["0.833", "0.833"]
    assert "Warning: studies of one column do not cover the same clips" in text


def test_measures_of_tasks_and_their_direction(outputs):
    write_study(
        outputs / "tiny-a",
        [fold_table(name, study="tiny-a", dataset="a", flow_epe=0.1) for name in ("s1", "s2")],
        config={"model": {"name": "tiny", "lr": 0.1}, "data": {"name": "a"}},
    )
    pivot(outputs, "model,data", "--metric", "flow_epe")
    found = {row[0]: row[1] for row in rows((outputs / "report" / "pivot.md").read_text())}
    assert (found["tiny"], found["mol"]) == ("**0.100**", "0.200")


def test_seeds(tmp_path):
    tables = [
        fold_table(subject, study="mol", seed=seed, **({"predictions": HALF} if seed and subject == "s2" else {}))
        for seed in (0, 1)
        for subject in ("s1", "s2")
    ]
    pivot(write_study(tmp_path / "mol", tables), "model")
    # UF1 1 and 37/45: mean 41/45 = .911, sd 8/45 / sqrt 2 = .126.
    assert "| mol | 0.911 (0.126) [" in (tmp_path / "mol" / "report" / "pivot.md").read_text()


def test_printed_names(outputs, tmp_path):
    names = tmp_path / "names.yaml"
    names.write_text("model: Network\nmodel=mol: MOL & co\na: CASME II\nuf1: F1\n")
    pivot(outputs, "model,data", "--names", str(names))
    text = (outputs / "report" / "pivot.md").read_text()
    assert text.startswith("F1 by Network and data:")
    assert rows(text)[0] == ["Network", "CASME II", "b"]
    assert [row[0] for row in rows(text)[2:]] == ["fdp", "MOL & co"]
    assert r"MOL \& co & 0.822" in (outputs / "report" / "pivot.tex").read_text()


def test_studies_of_one_cell_are_not_averaged(outputs, capsys):
    config = {"model": {"name": "mol", "lr": 0.2}, "data": {"name": "a"}}
    tables = [fold_table(name, study="mol-a2", dataset="a") for name in ("s1", "s2")]
    write_study(outputs / "mol-a2", tables, config=config)
    pivot(outputs, "model,data", status=1)
    (line,) = capsys.readouterr().err.splitlines()
    assert "2 studies have model=mol, data=a (mol-a, mol-a2), and they differ in model.lr:" in line
    assert not (outputs / "report").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["modell"], "--pivot modell: the studies have no such setting; choose from model, data,"),
        (["model,data,seeds"], "give one setting, or two different ones"),
        (["model,model"], "give one setting, or two different ones"),
        (["model,"], "give one setting, or two different ones"),
        (["model,data", "--metric", "f2"], "--metric f2: choose from uf1, uar, acc, wf1, mean_of_folds_uf1, flow_epe,"),
        (["model,data", "--reference", "mol-a"], "--reference is for the report"),
        (["model,data", "--names", "absent.yaml"], "--names absent.yaml cannot be read (No such file"),
    ],
)
def test_what_cannot_be_told_is_one_sentence(outputs, capsys, options, message):
    pivot(outputs, *options, status=1)
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()
    assert line.startswith("mefusion-report: ")
    assert message in line
    assert line.endswith(".")


def test_names_that_are_no_list_and_metric_without_pivot(outputs, tmp_path, capsys):
    names = tmp_path / "names.yaml"
    for content in ("- a", "a: [b]", "a: {b: c}", "a: [", "7"):
        names.write_text(content)
        pivot(outputs, "model,data", "--names", str(names), status=1)
        assert "names.yaml" in capsys.readouterr().err
    assert main([str(outputs), "--metric", "acc"]) == 1
    assert "--metric belongs to --pivot" in capsys.readouterr().err
