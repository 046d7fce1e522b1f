"""A dataset of one's own: one class and one YAML, outside the package, through the commands."""

import inspect
import re
from pathlib import Path

import openpyxl
import pytest
from PIL import Image

from mefusion.datasets.reading.counts import Counts
from mefusion.datasets.reading.official import OfficialSource
from mefusion.datasets.reading.tables import Correction


class ToySource(OfficialSource):
    """Toy: 6 clips of 2 subjects; frames as in `frames/p1/c1/1.png`."""

    dataset = "toy"
    fps = 100
    subject_name = "p{}"  # from the number: 1, 01 and p01 in the table are all p1
    subject_folder = re.compile(r"p\d+")
    kinds = {"raw": "frames"}  # data.frames -> a word in the name of a folder above the subjects
    tables = ("toy.xlsx",)
    columns = {
        **{"Subject": "subject", "Clip": "clip", "Emotion": "emotion"},
        **{"Onset": "onset", "Apex": "apex", "Offset": "offset"},
    }
    corrections = (Correction("p2/c3", "offset", "0", "9", "0 is no offset"),)
    counts = {"three": Counts(2, {"negative": 2, "positive": 2, "surprise": 2})}


YAML = f"""\
_target_: {__name__}.ToySource
name: toy
root: ???
allow_partial: false
"""

EMOTIONS = ("disgust", "happiness", "surprise")
GOAL = 100  # lines of class and YAML
DOCS = Path(__file__).parents[2] / "docs" / "datasets.md"


@pytest.fixture
def toy(tmp_path):
    """Overrides for a written download; `conf/data/toy.yaml` lies beside it."""
    book = openpyxl.Workbook()
    book.active.append(["Subject", "Clip", "Onset", "Apex", "Offset", "Emotion"])
    for subject in (1, 2):
        for number, emotion in enumerate(EMOTIONS, start=1):
            offset = 0 if (subject, number) == (2, 3) else 9
            book.active.append([subject, f"c{number}", 1, 5, offset, emotion])
            folder = tmp_path / "toy" / "frames" / f"p{subject}" / f"c{number}"
            folder.mkdir(parents=True)
            for frame in range(1, 10):
                Image.effect_noise((32, 32), 50).save(folder / f"{frame}.png")
    book.save(tmp_path / "toy" / "toy.xlsx")
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "toy.yaml").write_text(YAML)
    return [f"hydra.searchpath=[file://{tmp_path / 'conf'}]", "data=toy", "data.root=toy", "faces=none", "workers=1"]


def test_it_takes_few_lines_which_the_docs_show():
    code = inspect.getsource(ToySource)
    assert len(code.splitlines()) + len(YAML.splitlines()) < GOAL / 2
    assert code in DOCS.read_text()
    assert YAML.replace(__name__, "mefusion.datasets.toy") in DOCS.read_text()


@pytest.mark.usefixtures("quick_flow")
def test_it_is_checked_and_prepared(toy, command, tmp_path):
    checked = command("mefusion-check", *toy, cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert "toy: 6 clips of 2 subjects in toy" in checked.stdout
    assert "toy/p2/c3: offset 0 corrected to 9 (0 is no offset)" in checked.stdout
    rows = [line.replace("│", " ").split() for line in checked.stdout.splitlines()]
    assert ["toy", "negative", "2", "2"] in rows  # of the 2 that are expected
    prepared = command("mefusion-prepare", *toy, cwd=tmp_path)
    assert prepared.returncode == 0, prepared.stderr
    assert "6 of 6 clips of 2 subjects" in prepared.stdout


@pytest.mark.parametrize("program", ["mefusion-check prepared=true", "mefusion-train model=ststnet labels=three"])
def test_messages_name_a_command_that_finds_it(toy, command, tmp_path, program):
    asked = command(*program.split(), *toy, cwd=tmp_path)
    assert asked.returncode == 1
    line = next(line for line in asked.stderr.splitlines() if "mefusion-prepare" in line)
    assert f"mefusion-prepare {toy[0]} " in line


def test_its_counts_are_asserted(toy, command, tmp_path):
    book = openpyxl.load_workbook(tmp_path / "toy" / "toy.xlsx")
    book.active.delete_rows(7)
    book.save(tmp_path / "toy" / "toy.xlsx")
    checked = command("mefusion-check", *toy, cwd=tmp_path)
    assert checked.returncode == 1
    assert "toy: surprise 1 of 2 clips (1 missing)" in checked.stdout
    assert command("mefusion-check", *toy, "data.allow_partial=true", cwd=tmp_path).returncode == 0


def test_it_joins_a_pool(toy, command, tmp_path):
    pool = [toy[0], "data=pooled", "+data@data.sources.toy=toy", "data.sources.toy.root=toy"]
    checked = command("mefusion-check", *pool, cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert "pooled: 6 clips of 2 subjects" in checked.stdout


def test_a_scheme_that_it_has_not_names_those_it_has(toy, command, tmp_path):
    refused = command("mefusion-check", *toy, "labels=five", cwd=tmp_path)
    assert refused.stderr.strip().endswith("choose labels=three")
