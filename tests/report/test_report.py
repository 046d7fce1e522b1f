import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from fake_examples import example, save_examples
from fake_studies import CLASSES, fold_table, write_run, write_study
from PIL import Image

from mefusion import report
from mefusion.report.content import choose_examples


@pytest.fixture
def outputs(tmp_path):
    """Two studies as a sweep leaves them: all tasks, with example clips, and recognition only."""
    outputs = tmp_path / "outputs"
    study = write_study(outputs / "mol-all")
    for name in ("s1", "s2"):
        clip = example(subject=name, attention=np.ones((4, 32, 32), dtype=np.float16))
        save_examples(study / "folds" / name / "examples.safetensors", {f"{name}_0": clip})
    tables = [
        fold_table(name, study="mol-recognition").drop(columns=["flow_epe", "flow_epe_zero", "landmarks_nme"])
        for name in ("s1", "s2")
    ]
    write_study(outputs / "mol-recognition", tables, tasks={"recognition": 1.0})
    return outputs


def markdown_tables(path):
    """Each table of a Markdown file by its caption: a dict a row."""
    found = {}
    for caption, block in re.findall(r"^(.+):\n\n((?:\| .*\n)+)", path.read_text(), flags=re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in block.splitlines()]
        found.setdefault(caption, [dict(zip(rows[0], row, strict=True)) for row in rows[2:]])
    return found


RECOGNITION = "Recognition, pooled over all folds"


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell which processes have ended")
def test_a_report_removes_what_killed_ones_left(outputs, left_behind):
    study = outputs / "mol-all"
    mine = left_behind(study / "report" / "figures" / "uf1.png")
    other = left_behind(study / "config.yaml")
    assert report.main([str(study)]) == 0
    assert not mine.exists()
    assert other.exists()  # a report changes nothing in a study


def test_one_study(outputs, capsys):
    study = outputs / "mol-all"
    assert report.main([str(study)]) == 0
    tables = markdown_tables(study / "report" / "report.md")
    # Worked in test_results: F1 1, 4/5 and 2/3; recall 1, 1 and 1/2; majority 2 * 2 / (2 * 2 + 4) / 3.
    assert tables[RECOGNITION] == [
        {
            "study": "mol-all",
            "model": "mol",
            "tasks": "recognition, flow x10, landmarks",
            "clips": "6",
            "UF1": "0.822",
            "UF1 95 % over subjects": "0.556 to 1.000",  # of both subjects, s2 twice or s1 twice
            "UAR": "0.833",
            "ACC": "0.833",
            "WF1": "0.822",
            "majority UF1": "0.167",
        }
    ]
    (errors,) = tables["Other tasks"]
    assert [errors[name] for name in ("flow EPE px", "EPE / zero flow", "landmark NME %")] == ["0.200", "0.40", "6.00"]
    assert tables["Classes"][2] == {"class": "surprise", "clips": "2", "F1": "0.667", "recall": "0.500"}
    assert [row["ACC"] for row in tables["Subjects"]] == ["1.000", "0.667"]
    assert tables["Scores"][-1] == {
        "score": "UF1, mean of folds",
        "pooled": "0.778",
        "95 % over subjects": "-",
        "majority class": "-",
    }
    shown = capsys.readouterr()
    assert not shown.err
    for text in ("mol-all", "0.822", "0.556 to 1.000", "pooled over all folds", "UF1, mean of folds: each fold is"):
        assert text in shown.out
    text = (study / "report" / "report.md").read_text()
    assert re.search(r"seeds \[0\], rule last, config_hash c0ffee, sample_list_hash \w{12}, git_rev\w+ 0123abc", text)
    links = re.findall(r"!\[.*?\]\(<(.*?)>\)", text)
    names = (
        "reliability",
        "confusion_matrix",
        "subjects",
        "subject_spread",
        "learning_curves",
        "contact_sheet",
        "misclassified",
        "attention",
    )
    assert links == [f"figures/mol-all-{name}.png" for name in names]
    for link in links:
        with Image.open(study / "report" / link) as picture:
            assert min(picture.size) > 300


@pytest.mark.usefixtures("no_pictures")
def test_the_best_reference_on_the_same_clips_stands_beside_a_model(tmp_path, capsys):
    outputs = tmp_path / "outputs"
    right = [fold_table(name, study="linear_flow-right") for name in ("s1", "s2")]
    other = [fold_table(name, study="flow_cnn-other") for name in ("s3", "s4")]
    settings = {name: {"model": {"name": name}} for name in ("ststnet", "hoof_svm", "linear_flow", "flow_cnn")}
    write_study(outputs / "ststnet-some", config=settings["ststnet"], model="ststnet")
    write_study(outputs / "hoof_svm-some", config=settings["hoof_svm"], model="hoof_svm")
    write_study(outputs / "linear_flow-right", right, config=settings["linear_flow"], model="linear_flow")
    write_study(outputs / "flow_cnn-other", other, config=settings["flow_cnn"], model="flow_cnn")
    assert report.main([str(outputs)]) == 0
    rows = markdown_tables(outputs / "report" / "report.md")[RECOGNITION]
    assert {row["study"]: row["best reference UF1"] for row in rows} == {
        "ststnet-some": "linear_flow 1.000",
        "hoof_svm-some": "-",
        "linear_flow-right": "-",
        "flow_cnn-other": "-",
    }
    assert "Best reference: the best on the same clips of the simple models linear_flow" in capsys.readouterr().out


@pytest.mark.usefixtures("no_pictures")
def test_an_incomplete_study_is_reported_when_asked_and_says_so(outputs, capsys):
    study = outputs / "mol-all"
    (study / "folds" / "s2" / "DONE").unlink()
    assert report.main([str(study)]) == 1
    assert "give mefusion-report --partial" in capsys.readouterr().err
    assert report.main([str(study), "--partial"]) == 0
    assert "Warning: mol-all is incomplete: its scores leave out s2." in capsys.readouterr().out
    assert "mol-all is incomplete" in (study / "report" / "report.md").read_text()


@pytest.mark.parametrize("options", [[], ["--partial"]])
def test_a_report_leaves_the_study_as_it_is(outputs, options):
    def files():
        return {
            path.relative_to(outputs): (path.read_bytes(), path.stat().st_mtime_ns)
            for path in outputs.rglob("*")
            if path.is_file() and "report" not in path.parts
        }

    for missing in ("summary.json", "predictions.parquet"):
        (outputs / "mol-all" / missing).unlink(missing_ok=True)
    if options:
        (outputs / "mol-all" / "folds" / "s2" / "DONE").unlink()
    before = files()
    assert report.main([str(outputs / "mol-all"), *options]) == 0
    assert files() == before


def test_page_needs_no_other_file(outputs):
    write_study(outputs / "mol<b>&", tasks={"recognition": 1.0})
    assert report.main([str(outputs)]) == 0
    page = (outputs / "report" / "report.html").read_text()
    assert re.findall(r'(?:src|href)="(?!data:image/png;base64,|#)', page) == []
    # Words stay whole in a narrow window, where the table scrolls; names of studies may break.
    assert "tbody th { font-weight: normal; overflow-wrap: break-word;" in page
    assert page.count("<img ") == len(list((outputs / "report" / "figures").iterdir()))
    assert "url(" not in page
    assert "mol&lt;b&gt;&amp;" in page
    assert "mol<b>" not in page


@pytest.mark.usefixtures("no_pictures")
def test_latex_tables_are_whole_and_escaped(outputs):
    assert report.main([str(outputs)]) == 0
    text = (outputs / "report" / "tables.tex").read_text()
    assert text.count(r"\begin{table}") == text.count(r"\bottomrule") == len(re.findall(r"\\caption\{.*\}\n", text))
    assert r"UF1, mean of folds & 0.778" in text
    assert r"95 \%" in text
    for caption in ("Scores", "Classes", "Subjects"):
        assert rf"\caption{{{caption} of mol-all}}" in text


@pytest.mark.usefixtures("no_pictures")
def test_csv_has_the_numbers_in_full(outputs):
    assert report.main([str(outputs)]) == 0
    table = pd.read_csv(outputs / "report" / "results.csv").set_index("study")
    assert table.loc["mol-all", "uf1"] == pytest.approx((1 + 4 / 5 + 2 / 3) / 3)
    assert table.loc["mol-all", ["intervals_uf1_low", "intervals_uf1_high"]].tolist() == pytest.approx([5 / 9, 1])
    assert table.loc["mol-recognition", "config_hash"] == "c0ffee"
    assert table["flow_epe"].isna().tolist() == [True, False]
    assert "setting_tasks.flow" in table


@pytest.mark.usefixtures("no_pictures")
def test_folds_whose_network_tells_nothing_apart_are_named(tmp_path, capsys):
    same = fold_table("s2", study="mol-all", predictions=["negative"] * 3)
    assert report.main([str(write_study(tmp_path / "mol-all", [fold_table("s1", study="mol-all"), same]))]) == 0
    sentence = "Warning: mol-all: in 1 of 2 folds all clips get the same probabilities: its network tells nothing apart"
    assert f"{sentence} in s2." in " ".join(capsys.readouterr().out.split())


@pytest.mark.usefixtures("no_pictures")
def test_clips_that_preparation_left_out_are_listed(tmp_path, capsys):
    clip = {"subject": "m/s1", "clip_id": "a", "problem": "x: no face"}
    left_out = {"clips": [clip], "of": 7, "lost_subjects": []}
    study = write_study(tmp_path / "mol-all", left_out=left_out)
    assert report.main([str(study)]) == 0
    sentence = "Warning: mol-all: preparation left out 1 of 7 clips (m/s1 1)."
    assert sentence in capsys.readouterr().out
    text = (study / "report" / "report.md").read_text()
    assert sentence in text
    assert "| m/s1 | a | x: no face |" in text
    assert pd.read_csv(study / "report" / "results.csv")["clips_left_out"].tolist() == [1]


@pytest.mark.usefixtures("no_pictures")
def test_sweep_gives_one_table_with_its_settings(outputs, capsys):
    assert report.main([str(outputs)]) == 0
    path = outputs / "report" / "report.md"
    first, second = markdown_tables(path)[RECOGNITION]
    # Sorted by the settings, in which a task that is off has the weight 0.
    assert (first["study"], first["tasks.flow"], first["tasks.landmarks"]) == ("mol-recognition", "0", "0")
    assert (second["study"], second["tasks.flow"], second["tasks.landmarks"]) == ("mol-all", "10", "1")
    assert "model" not in first
    assert markdown_tables(path)["Other tasks"][0]["flow EPE px"] == "-"
    assert {"uf1.png", "weights.png"} <= {file.name for file in (outputs / "report" / "figures").iterdir()}
    assert "Warning" not in capsys.readouterr().out
    # A second run finds the studies, not its own report/.
    assert report.main([str(outputs)]) == 0


@pytest.mark.usefixtures("no_pictures")
def test_model_stands_for_the_settings_that_go_with_it(tmp_path):
    for name, tasks, width in (("mol", {"flow": 10.0}, 4), ("fdp", {"rank": 0.1}, 1)):
        for lr in (0.01, 0.1):
            config = {"model": {"name": name, "width": width, "task_weights": tasks, "lr": lr}}
            weights = {"recognition": 1.0} | tasks
            write_study(tmp_path / f"{name}-{lr}", config=config, model=name, tasks=weights, measures={})
    assert report.main([str(tmp_path)]) == 0
    rows = markdown_tables(tmp_path / "report" / "report.md")[RECOGNITION]
    keys = ("model", "model.lr", "tasks")
    assert [tuple(row[key] for key in keys) for row in rows] == [
        ("fdp", "0.01", "recognition, rank x0.1"),
        ("fdp", "0.1", "recognition, rank x0.1"),
        ("mol", "0.01", "recognition, flow x10"),
        ("mol", "0.1", "recognition, flow x10"),
    ]
    assert not {"model.width", "tasks.flow", "tasks.rank"} & {*rows[0]}


@pytest.mark.usefixtures("no_pictures")
def test_places_and_devices_are_no_settings(tmp_path):
    for name in ("a", "b"):
        trainer = {"accelerator": name, "devices": 1, "max_epochs": 3}
        write_study(tmp_path / name, config={"cache_dir": name, "trainer": trainer, "data": {"root": name}})
    assert report.main([str(tmp_path)]) == 0
    row = markdown_tables(tmp_path / "report" / "report.md")[RECOGNITION][0]
    assert list(row)[:4] == ["study", "model", "tasks", "clips"]


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("reference", ["mol-rec", "tasks.flow=0", "tasks.flow=0,tasks.landmarks=0"])
def test_comparison_with_a_reference(outputs, capsys, reference):
    assert report.main([str(outputs), "--reference", reference]) == 0
    (row,) = markdown_tables(outputs / "report" / "report.md")["Compared with mol-recognition"]
    # mol-all misses one of six clips: UF1 .822 against 1; p of 1 of 1 is 1.
    assert row == {
        "study": "mol-all",
        "tasks.flow": "10",
        "tasks.landmarks": "1",
        "common clips": "6",
        "UF1 difference": "-0.178",
        "95 % over subjects": "-0.444 to +0.000",
        "only this correct": "0",
        "only reference correct": "1",
        "McNemar p": "1.000",
    }
    assert "-0.444 to +0.000" in capsys.readouterr().out


@pytest.mark.usefixtures("no_pictures")
def test_a_reference_whose_setting_is_null(tmp_path, capsys):
    for name, start in (("mol-own", None), ("mol-started", "bundles/one")):
        write_study(tmp_path / name, config={"model": {"name": "mol", "init_from": start}})
    assert report.main([str(tmp_path), "--reference", "model.init_from=null"]) == 0
    assert "Compared with mol-own" in capsys.readouterr().out
    assert report.main([str(tmp_path), "--reference", "model.init_from=two"]) == 1
    assert "choose from mol-own (model.init_from=null), mol-started (" in capsys.readouterr().err


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(("reference", "message"), [("mol", "fits 2 studies"), ("fdp", "fits no study")])
def test_reference_that_singles_out_no_study(outputs, capsys, reference, message):
    assert report.main([str(outputs), "--reference", reference]) == 1
    line = capsys.readouterr().err.strip()
    assert line.startswith(f"mefusion-report: --reference {reference} {message}; choose from mol-")
    assert "mol-all (tasks.flow=10, tasks.landmarks=1)" in line


@pytest.mark.usefixtures("no_pictures")
def test_different_clips_and_rules_are_pointed_out(outputs, capsys):
    tables = [fold_table("s1", study="fewer", rule="average")]
    write_study(outputs / "fewer", tables, rule="average")
    assert report.main([str(outputs), "--reference", "mol-all"]) == 0
    shown = capsys.readouterr().out
    assert "Warning: the studies do not all cover the same clips" in shown
    assert "Warning: the studies follow different rules" in shown
    rows = markdown_tables(outputs / "report" / "report.md")["Compared with mol-all"]
    assert {row["study"]: row["common clips"] for row in rows} == {"fewer": "3", "mol-recognition": "6"}


@pytest.mark.usefixtures("no_pictures")
def test_folds_of_two_revisions_or_codes_are_pointed_out(outputs, capsys):
    write_run(outputs / "mol-all", fold_table("s1", study="mol-all"), git_revision="4567def", code="a1")
    write_run(outputs / "mol-all", fold_table("s2", study="mol-all"), code="b0")
    assert report.main([str(outputs)]) == 0
    printed = capsys.readouterr().out
    assert "Warning: folds of mol-all were run with different git_revision: 0123abc, 4567def." in printed
    assert "Warning: folds of mol-all were run with different code: a1, b0." in printed
    assert not [name for name in pd.read_csv(outputs / "report" / "results.csv") if "differ" in name]


@pytest.mark.usefixtures("no_pictures")
def test_studies_of_other_classes_are_not_compared(outputs, capsys):
    two = ["negative", "positive"]
    table = fold_table("s1", study="two", labels=two, predictions=two).drop(columns="probability_surprise")
    table = table.assign(probability_negative=[0.9, 0.1], probability_positive=[0.1, 0.9])
    write_study(outputs / "two", [table], classes=two)
    assert report.main([str(outputs), "--reference", "mol-all"]) == 0
    assert "two is not compared with mol-all: its classes are negative, positive, not" in capsys.readouterr().out


@pytest.mark.usefixtures("no_pictures")
def test_seeds_are_told(tmp_path, capsys):
    tables = [fold_table("s1", study="mol", seed=seed) for seed in (0, 1)]
    assert report.main([str(write_study(tmp_path / "mol", tables))]) == 0
    tables = markdown_tables(tmp_path / "mol" / "report" / "report.md")
    assert tables[RECOGNITION][0]["sd over seeds"] == "0.000"
    assert tables[RECOGNITION][0]["UF1 95 % over subjects"] == "-"  # of one subject
    assert (tables["Scores"][0]["seed 0"], tables["Scores"][0]["seed 1"]) == ("1.000", "1.000")
    assert "sd over seeds is the standard deviation" in capsys.readouterr().out


@pytest.mark.usefixtures("no_pictures")
def test_a_report_explains_its_scores_and_says_what_made_it(outputs, capsys):
    arguments = [str(outputs), "--reference", "tasks.flow=0"]
    assert report.main(arguments) == 0
    shown, page = capsys.readouterr().out, (outputs / "report" / "report.html").read_text()
    for explained in ("UF1: mean F1", "UAR: mean recall", "ACC: share", "WF1: mean F1", "Landmarks failed: per cent"):
        assert explained in shown
        assert explained in page
    assert "mol on synthetic: 2 studies" in shown
    for fact in (
        "<title>mol on synthetic: 2 studies</title>",
        "<dt>Data</dt><dd>synthetic, labels three, 6 clips of 2 subjects</dd>",
        "<dt>Models</dt><dd>mol</dd>",
        f"<dt>Command</dt><dd>mefusion-report {outputs} --reference tasks.flow=0</dd>",
    ):
        assert fact in page
    assert re.search(r"<dt>Made</dt><dd>\d{4}-\d\d-\d\d \d\d:\d\d [+-]\d{4}, mefusion \d", page)


@pytest.mark.usefixtures("no_pictures")
def test_what_is_tested_of_several_seeds_is_told(tmp_path, capsys):
    for name in ("a", "b"):
        tables = [fold_table(subject, study=name, seed=seed) for subject in ("s1", "s2") for seed in (0, 1)]
        write_study(tmp_path / name, tables, config={"model": {"lr": name}})
    assert report.main([str(tmp_path), "--reference", "a"]) == 0
    assert "the class of the largest mean probability" in capsys.readouterr().out


@pytest.mark.usefixtures("no_pictures")
def test_oracle_has_a_table_of_its_own(tmp_path, capsys):
    """Of which the headline and the comparison know nothing."""
    for rule, guesses in (("last", ["negative"] * 3), ("oracle", CLASSES)):
        tables = [fold_table(name, study=f"mol-{rule}", rule=rule, predictions=guesses) for name in ("s1", "s2")]
        write_study(tmp_path / f"mol-{rule}", tables, config={"rule": rule}, rule=rule)
    write_study(tmp_path / "other", config={"rule": "last", "imbalance": "focal"})
    assert report.main([str(tmp_path), "--reference", "mol-last"]) == 0
    tables = markdown_tables(tmp_path / "report" / "report.md")
    assert {row["study"] for row in tables[RECOGNITION]} == {"mol-last", "other"}
    assert {row["study"] for row in tables["Compared with mol-last"]} == {"other"}
    (row,) = tables["Epoch chosen on the test subjects: not results"]
    assert (row["study"], row["oracle UF1"], row["compared with"]) == ("mol-oracle", "1.000", "mol-last")
    assert row["oracle UF1 minus UF1"] == "+0.833"  # 1 - 2 / (2 + 4) / ... of always negative: 1 / 6
    assert not {"UF1", "UAR", "ACC", "WF1"} & {*row}
    csv = pd.read_csv(tmp_path / "report" / "results.csv").set_index("study")
    assert pd.isna(csv.loc["mol-oracle", "uf1"])
    assert csv.loc["mol-oracle", "oracle_uf1"] == 1
    assert report.main([str(tmp_path), "--reference", "mol-oracle"]) == 1
    assert "fits no study" in capsys.readouterr().err


@pytest.mark.usefixtures("no_pictures")
def test_oracle_is_not_compared_with_a_study_of_other_clips(tmp_path):
    for rule, subject in (("last", "s1"), ("oracle", "s2")):
        table = fold_table(subject, study=f"mol-{rule}", rule=rule)
        write_study(tmp_path / f"mol-{rule}", [table], config={"rule": rule}, rule=rule)
    assert report.main([str(tmp_path)]) == 0
    (row,) = markdown_tables(tmp_path / "report" / "report.md")["Epoch chosen on the test subjects: not results"]
    assert (row["study"], row["compared with"]) == ("mol-oracle", "-")


@pytest.mark.usefixtures("no_pictures")
def test_a_study_of_two_places_is_reported_once(tmp_path, capsys):
    """Its name is that of its content: settings, figures and references could not tell the two apart."""
    for place in ("a", "b"):
        write_study(tmp_path / place / "mol")
    arguments = [str(tmp_path / "a"), str(tmp_path / "b"), "--output", str(tmp_path / "report")]
    assert report.main(arguments) == 1
    line = f"mefusion-report: {tmp_path}/b/mol is the same study as {tmp_path}/a/mol; give one of them.\n"
    assert capsys.readouterr().err == line
    assert len(markdown_tables(tmp_path / "report" / "report.md")[RECOGNITION]) == 1


def test_oracle_alone_has_no_headline(tmp_path, capsys):
    study = write_study(tmp_path / "cheat", [fold_table("s1", study="cheat", rule="oracle")], rule="oracle")
    assert report.main([str(study)]) == 0
    shown = capsys.readouterr().out
    assert "oracle UF1" in shown
    assert "UF1: mean F1 over the classes" in shown
    assert list(markdown_tables(study / "report" / "report.md")) == ["Epoch chosen on the test subjects: not results"]


@pytest.mark.usefixtures("no_pictures")
def test_composite_is_told_for_each_dataset(tmp_path):
    wrong = ["positive", "surprise", "negative"]
    tables = [
        fold_table("s1", study="mol", dataset="casme2"),
        fold_table("s2", study="mol", dataset="samm", predictions=wrong),
    ]
    study = write_study(tmp_path / "mol", tables)
    assert report.main([str(study)]) == 0
    rows = markdown_tables(study / "report" / "report.md")["Datasets"]
    assert [(row["dataset"], row["clips"], row["UF1"]) for row in rows] == [
        ("casme2", "3", "1.000"),
        ("samm", "3", "0.000"),
    ]


@pytest.mark.usefixtures("no_pictures")
def test_output_and_a_study_given_twice(outputs, tmp_path):
    arguments = [str(outputs), str(outputs / "mol-all"), "--output", str(tmp_path / "tables")]
    assert report.main(arguments) == 0
    assert len(markdown_tables(tmp_path / "tables" / "report.md")[RECOGNITION]) == 2
    assert not (outputs / "report").exists()


@pytest.mark.usefixtures("no_pictures")
def test_broken_studies_get_a_sentence_and_the_others_are_reported(outputs, tmp_path, capsys):
    (write_study(outputs / "half") / "folds" / "s2" / "DONE").unlink()
    (write_study(outputs / "cut") / "folds" / "s1" / "predictions.parquet").write_bytes(b"PAR1")
    (write_study(outputs / "garbled") / "study.json").write_text("{")
    (write_study(outputs / "bare") / "config.yaml").unlink()
    (write_study(outputs / "odd") / "config.yaml").write_text("a: [")
    (write_study(outputs / "listed") / "config.yaml").write_text("- a")
    (write_study(outputs / "nested") / "config.yaml").write_text("[" * 100_000)
    (write_study(outputs / "counted") / "config.yaml").write_text("tasks: 3")
    (write_study(outputs / "looped") / "config.yaml").write_text("model: &a {again: *a}")
    bomb = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))  # 9^11 values
    (write_study(outputs / "bomb") / "config.yaml").write_text(f"a0: &a0 x\n{bomb}")
    write_study(outputs / "endless", folds=["s1", "s" * 5000])
    empty = tmp_path / "empty"
    empty.mkdir()
    assert report.main([str(outputs), str(empty), str(tmp_path / "absent")]) == 1
    shown = capsys.readouterr()
    lines = shown.err.splitlines()
    assert len(lines) == 13
    assert all(line.startswith("mefusion-report: ") and line.endswith(".") for line in lines)
    for part in (
        "half is incomplete: 1 of 2 folds are missing (s2)",
        "cut/folds/s1/predictions.parquet is not a readable Parquet table",
        "garbled/study.json cannot be read as JSON",
        "bare/config.yaml cannot be read (No such file or directory)",
        "odd/config.yaml cannot be read (while parsing",
        "listed/config.yaml is not a configuration",
        "nested/config.yaml has an alias, or settings in more than 50 others",
        "counted/config.yaml is not a configuration",
        "looped/config.yaml has an alias, or settings in more than 50 others",
        "bomb/config.yaml has an alias, or settings in more than 50 others",
        "endless cannot be read (File name too long)",
        "empty contains no study",
        "absent is not a directory",
    ):
        assert sum(part in line for line in lines) == 1, part
    names = {row["study"] for row in markdown_tables(outputs / "report" / "report.md")[RECOGNITION]}
    assert names == {"mol-all", "mol-recognition"}


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(
    ("file", "content", "message", "figure"),
    [
        ("examples.safetensors", b"no", "s2/examples.safetensors has no readable example clips", "contact_sheet"),
        ("metrics.csv", b'a,"b\n', "s2/metrics.csv is not a readable CSV file", "learning_curves"),
        (
            "metrics.csv",
            b"epoch,train/loss\n0,high\n",
            "s2/metrics.csv has a value in column 'train/loss'",
            "learning_curves",
        ),
        (
            "metrics.csv",
            b"epoch,train/loss\n" + 400 * b"9" + b",1\n",
            "has a value in column 'epoch'",
            "learning_curves",
        ),
        ("metrics.csv", b"a,b\n1,2\n", "s2/metrics.csv has no column 'epoch'", "learning_curves"),
    ],
)
def test_broken_extras_cost_their_figure_only(outputs, capsys, file, content, message, figure):
    study = outputs / "mol-all"
    (study / "folds" / "s2" / file).write_bytes(content)
    assert report.main([str(study)]) == 1
    shown = capsys.readouterr()
    assert message in shown.err
    assert "0.822" in shown.out
    assert figure not in (study / "report" / "report.md").read_text()


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("put", [os.mkdir, *([os.mkfifo] if hasattr(os, "mkfifo") else [])])
def test_folders_and_pipes_are_not_read(outputs, capsys, put):
    fold = outputs / "mol-all" / "folds" / "s2"
    for name in ("metrics.csv", "examples.safetensors"):
        (fold / name).unlink(missing_ok=True)
        put(fold / name)
    (other := write_study(outputs / "pipe") / "study.json").unlink()
    put(other)
    assert report.main([str(outputs)]) == 1
    shown = capsys.readouterr()
    for part in (
        "metrics.csv is no regular file",
        "examples.safetensors has no readable",
        "pipe/study.json is no regular",
    ):
        assert shown.err.count(part) == 1
    assert "0.822" in shown.out


def test_nothing_to_report(tmp_path, capsys):
    assert report.main([str(tmp_path)]) == 1
    shown = capsys.readouterr()
    assert not shown.out
    assert not list(tmp_path.iterdir())
    assert f"mefusion-report: {tmp_path} contains no study" in shown.err


@pytest.mark.usefixtures("no_pictures")
def test_place_that_cannot_be_written(outputs, capsys):
    (outputs / "report").write_text("a file where the directory would be")
    assert report.main([str(outputs)]) == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.usefixtures("no_pictures")
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
    chosen = choose_examples(clips, ["positive", "negative", "surprise"])
    assert [clip["label"] for clip in chosen] == ["positive", "negative"] * 2
    assert [clip["subject"] for clip in chosen] == ["s1", "s2"] * 2
    assert choose_examples(clips[:1], ["positive", "negative"]) == clips[:1]


def test_command_without_traceback_and_help_at_once(tmp_path):
    before = sum(os.times()[2:4])  # of children; time on the clock depends on what else runs
    shown = subprocess.run(
        [sys.executable, "-m", "mefusion.report", "--help"], capture_output=True, text=True, check=True
    )
    assert sum(os.times()[2:4]) - before < 2
    assert "--output DIR" in shown.stdout
    failed = subprocess.run(
        [sys.executable, "-m", "mefusion.report", str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ},
    )
    assert failed.returncode == 1
    assert "contains no study" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.usefixtures("no_pictures")
def test_narrow_terminal_keeps_the_numbers_whole(outputs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert report.main([str(outputs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.strip().startswith("1 "))
    assert row.split()[:3] == ["1", "6", "1.000"]
    assert row.split()[-5:] == ["1.000", "1.000", "1.000", "1.000", "0.167"]
    assert "1: mol-recognition, 0, 0" in lines
    assert len(row) <= 80


def test_report_needs_no_torch(outputs):
    code = (
        "import sys; from mefusion.report import main; status = main(sys.argv[1:]); "
        "sys.exit(status or ('torch' in sys.modules) * 3)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(outputs)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # In a pipe the numbers are whole, however long the names.
    assert re.search(r"mol-recognition +0 +0 +6 +1\.000.*1\.000.*0\.167", done.stdout)
