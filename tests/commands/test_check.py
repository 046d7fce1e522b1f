"""mefusion-check, as a user runs it, on whole and on damaged downloads."""

import os
import shutil
import sys

import pytest
from imitations import full_plan, write_download, write_small
from PIL import Image

from mefusion.commands import check


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """SMIC with all its clips and frames."""
    root = tmp_path_factory.mktemp("whole")
    write_download("smic", root, full_plan("smic"))
    return root


@pytest.fixture
def small(tmp_path):
    """Two subjects of CASME II, a clip of each emotion, and the overrides that check it."""
    root = tmp_path / "small"
    write_small("casme2", root, subjects=2, clips_per_class=1, frames=(12, 12))
    return root, ["data=casme2", f"data.root={root}", "data.allow_partial=true", "labels=five"]


@pytest.fixture
def checked(monkeypatch, tmp_path, capsys):
    """Run the command: what it printed, and the sentence it stopped with, None where it found nothing wrong."""

    def run(*overrides):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "argv", ["mefusion-check", *map(str, overrides)])
        sentence = None
        try:
            check.main()
        except SystemExit as stop:
            sentence = stop.code
            assert isinstance(sentence, str)  # which sys.exit prints, with exit code 1
            assert "\n" not in sentence
        return capsys.readouterr().out, sentence

    return run


def lines(printed, kind):
    return [line.removeprefix(f"{kind} ") for line in printed.splitlines() if line.startswith(f"{kind} ")]


def test_a_whole_download_is_found_right(checked, whole):
    printed, sentence = checked("data=smic", f"data.root={whole}")
    assert sentence is None
    assert lines(printed, "wrong") == []
    assert f"smic: 164 clips of 16 subjects in {whole}" in printed
    assert "emotion: negative 70, positive 51, surprise 43" in printed
    rows = [line.replace("│", " ").split() for line in printed.splitlines()]
    assert ["smic", "negative", "70", "70"] in rows
    assert ["smic", "all", "164", "164"] in rows
    assert ["smic", "subjects", "16", "16"] in rows
    assert ["smic/s3", "39"] in [[row[0], row[-1]] for row in rows if row]
    assert "164 clips with labels=three" in printed.splitlines()[-1]


def test_a_copy_without_a_clip_lists_what_is_missing(checked, whole, tmp_path):
    root = tmp_path / "partial"
    shutil.copytree(whole, root, copy_function=os.link, ignore=shutil.ignore_patterns("s18_sur_03"))
    printed, sentence = checked("data=smic", f"data.root={root}")
    assert "2 problems in" in sentence
    assert lines(printed, "wrong") == [
        "smic: surprise 42 of 43 clips (1 missing)",
        "smic: smic/s18 6 of 7 clips (1 missing)",
    ]
    printed, sentence = checked("data=smic", f"data.root={root}", "data.allow_partial=true")
    assert sentence is None
    assert len([line for line in lines(printed, "note") if "allowed by allow_partial=true" in line]) == 2


def test_notes_do_not_fail_the_check(checked, small):
    printed, sentence = checked(*small[1], "labels=three", "clip_length=16")
    assert sentence is None
    assert any("12 frames, fewer than a window's 16" in line for line in lines(printed, "note"))


def test_a_subject_without_clips_in_the_scheme_is_noted(checked, whole, tmp_path):
    (tmp_path / "own").mkdir()
    for name in ("a", "b"):
        for number in range(8):
            (tmp_path / "own" / name).mkdir(exist_ok=True)
            Image.new("RGB", (8, 8)).save(tmp_path / "own" / name / f"{number}.png")
    rows = ["s1,c1,a,negative", "s1,c2,a,positive", "s1,c3,a,surprise", "s2,c1,b,others"]
    (tmp_path / "own" / "manifest.csv").write_text("\n".join(["subject,clip_id,path,emotion", *rows]))
    printed, sentence = checked("data=manifest", f"data.root={tmp_path / 'own'}")
    assert sentence is None
    assert "manifest/s2 has no clip with labels=three" in lines(printed, "note")


def test_names_in_square_brackets_are_shown_as_they_are(checked, tmp_path):
    root, emotions = tmp_path / "own", ("[b]", "[/red]")
    (root / "a").mkdir(parents=True)
    for number in range(8):
        Image.new("RGB", (8, 8)).save(root / "a" / f"{number}.png")
    rows = [f"s1,c{number},a,{emotion}" for number, emotion in enumerate(emotions)]
    (root / "manifest.csv").write_text("\n".join(["subject,clip_id,path,emotion", *rows]))
    printed, sentence = checked("data=manifest", f"data.root={root}", "labels=values", "data.name='[i]'")
    assert sentence is None
    cells = [line.replace("│", " ").replace("┃", " ").split() for line in printed.splitlines()]
    assert ["subject", "[/red]", "[b]", "all"] in cells
    assert ["[i]", "[/red]", "1", "-"] in cells


def clip_of(root):
    """Folder of sub01's first clip, frames 1 to 12."""
    return root / "CASME2_RAW_selected" / "CASME2_RAW_selected" / "sub01" / "EP01_01"


def cut(path, count=12):
    path.write_bytes(path.read_bytes()[:-count])


def unlink(*paths):
    for path in paths:
        path.unlink()


def renumber(folder):
    for path in list(folder.iterdir()):
        path.rename(path.with_name(f"img9{path.name[3:]}"))


DAMAGES = {
    "img3.jpg is cut off": lambda folder: cut(folder / "img3.jpg", 4),
    "img3.jpg is empty": lambda folder: (folder / "img3.jpg").write_bytes(b""),
    "img3.jpg (and 1 more of the clip's frames) is empty": lambda folder: [
        (folder / f"img{i}.jpg").write_bytes(b"") for i in (3, 4)
    ],
    "img3.jpg is no image": lambda folder: (folder / "img3.jpg").write_text("<html>"),
    "img3.jpg 9x8": lambda folder: Image.new("RGB", (9, 8)).save(folder / "img3.jpg"),
    "have the same frame number": lambda folder: shutil.copy(folder / "img3.jpg", folder / "img03.jpg"),
    "lacks 8 of its 12 frames (1, 2, 3, 4, 5, ...)": lambda folder: unlink(
        *(folder / f"img{i}.jpg" for i in range(1, 9))
    ),
    "has no frame between": renumber,
    "holds no numbered images": lambda folder: unlink(*folder.iterdir()),
    "is not there": shutil.rmtree,
}


@pytest.mark.parametrize("sentence", DAMAGES)
def test_damaged_files_are_named_with_their_clip(checked, small, sentence):
    root, overrides = small
    DAMAGES[sentence](clip_of(root))
    printed, stopped = checked(*overrides)
    assert f"1 problems in data=casme2 ({root})" in stopped
    (line,) = lines(printed, "wrong")
    assert line.startswith("casme2/sub01/EP01_01: ")
    assert sentence in line


def test_a_single_missing_frame_is_noted(checked, small):
    root, overrides = small
    (clip_of(root) / "img3.jpg").unlink()
    printed, sentence = checked(*overrides)
    assert sentence is None
    assert any("lacks 1 of its 12 frames (3)" in line for line in lines(printed, "note"))


def test_a_frame_that_is_a_link_out_of_the_root_is_named(checked, small, tmp_path):
    root, overrides = small
    frame = clip_of(root) / "img3.jpg"
    frame.rename(tmp_path / "img3.jpg")
    frame.symlink_to(tmp_path / "img3.jpg")
    printed, sentence = checked(*overrides)
    assert "1 problems in" in sentence
    assert "img3.jpg is a link that leaves" in lines(printed, "wrong")[0]


def test_in_a_pool_each_source_may_be_partial_by_itself(checked, small, whole):
    pool = ["data=pooled", "data/sources=[casme2,smic]", f"data.sources.smic.root={whole}"]
    pool += [f"data.sources.casme2.root={small[0]}"]
    printed, sentence = checked(*pool, "data.sources.casme2.allow_partial=true")
    assert sentence is None
    assert any(line.startswith("casme2: negative 4 of 88") for line in lines(printed, "note"))
    printed, sentence = checked(*pool, "data.sources.smic.allow_partial=true")
    assert "problems in data=pooled" in sentence
    assert {line.split(":")[0] for line in lines(printed, "wrong")} == {"casme2"}
    assert checked(*pool, "data.allow_partial=true")[1] is None


def test_in_a_pool_a_link_may_not_lead_into_another_source(checked, small, whole):
    root, frame = small[0], clip_of(small[0]) / "img3.jpg"
    other = next(whole.rglob("*.jpg"))
    frame.unlink()
    frame.symlink_to(other)
    pool = ["data=pooled", "data/sources=[casme2,smic]", f"data.sources.smic.root={whole}", "data.allow_partial=true"]
    printed, sentence = checked(*pool, f"data.sources.casme2.root={root}")
    assert "1 problems in data=pooled" in sentence
    assert f"img3.jpg is a link that leaves {root}:" in lines(printed, "wrong")[0]


@pytest.mark.parametrize(("suffix", "format"), [("png", "PNG"), ("bmp", "BMP")])
def test_cut_images_of_other_kinds_are_seen(checked, tmp_path, suffix, format):
    root = tmp_path / "own"
    for emotion in ("negative", "positive", "surprise"):
        for number in range(8):
            (root / emotion).mkdir(parents=True, exist_ok=True)
            Image.effect_noise((32, 32), 50).save(root / emotion / f"{number}.{suffix}", format)
    rows = [f"s1,{emotion},{emotion},{emotion}" for emotion in ("negative", "positive", "surprise")]
    (root / "manifest.csv").write_text("\n".join(["subject,clip_id,path,emotion", *rows]))
    assert checked("data=manifest", f"data.root={root}")[1] is None
    cut(root / "positive" / f"5.{suffix}")
    printed, sentence = checked("data=manifest", f"data.root={root}")
    assert "1 problems in" in sentence
    assert f"manifest/s1/positive: {root / 'positive'}/5.{suffix} is cut off" in lines(printed, "wrong")[0]


@pytest.mark.parametrize(
    ("numbers", "part"),
    [("1,9,5", "apex 9 lies outside 1..5"), ("5,3,1", "onset 5 lies after offset 1"), (",,", None)],
)
def test_numbers_of_a_manifest_are_checked(checked, tmp_path, numbers, part):
    (tmp_path / "own" / "a").mkdir(parents=True)
    for number in range(1, 9):
        Image.new("RGB", (8, 8)).save(tmp_path / "own" / "a" / f"{number}.png")
    rows = [f"s1,{emotion},a,{emotion},,," for emotion in ("negative", "positive")] + [f"s1,c,a,surprise,{numbers}"]
    header = "subject,clip_id,path,emotion,onset,apex,offset"
    (tmp_path / "own" / "manifest.csv").write_text("\n".join([header, *rows]))
    printed, sentence = checked("data=manifest", f"data.root={tmp_path / 'own'}")
    assert [line.split(": ")[1] for line in lines(printed, "wrong")] == ([part] if part else [])
    assert (sentence is None) == (part is None)


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["data=casme2"], ["data.root"]),
        (["data=casme2", "data.root=nowhere"], ["nowhere is no folder"]),
        (["data=casme2", "data.root=."], ["official download"]),
        (["data=smic", "data.root=.", "data.modality=UV"], ["UV", "HS, VIS, NIR"]),
        (["data=flow_images", "data.root=."], ["must have one CSV"]),
        (["data=megc2019", "data.sources.casme2.root=."], ["data.sources.samm.root"]),
        (["data=casme9"], ["casme9", "cas_me_2", "flow_images", "megc2019"]),
    ],
)
def test_what_cannot_be_read_is_one_sentence(checked, overrides, parts):
    printed, sentence = checked(*overrides)
    assert printed == ""
    assert sentence.startswith("mefusion-check: ")
    for part in parts:
        assert part in sentence


def test_a_scheme_that_the_dataset_has_not_is_one_sentence(checked, whole):
    _, sentence = checked("data=smic", f"data.root={whole}", "labels=five")
    assert "labels=five has no clip of class" in sentence
    assert "choose labels=three" in sentence
