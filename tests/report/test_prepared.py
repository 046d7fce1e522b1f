"""The page of prepared clips, by `mefusion-check --prepared`."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest

from mefusion.clips.cache import RECORDED_COLUMNS, save_clip
from mefusion.report.prepared import check_clips


@pytest.fixture
def cache(tiny, tmp_path):
    """A copy of the tiny set's cache, to be changed; without the record that holds the index's checksum."""
    folder = tmp_path / "cache" / "synthetic" / tiny.cache.name
    return shutil.copytree(tiny.cache, folder, ignore=shutil.ignore_patterns("source.txt"))


@pytest.fixture
def checked(tiny, command, tmp_path):
    """Run the command on the copy: what it printed, and the page's text."""

    def run(cache):
        given = ["--prepared", *tiny.overrides, f"cache_dir={tmp_path / 'cache'}", "workers=1"]
        done = command("mefusion-check", *given, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout, (cache / "check.html").read_text()

    return run


def articles(page):
    """Each clip of the page, as text."""
    return re.findall(r"<article.*?</article>", page, flags=re.DOTALL)


def warned_clips(printed):
    """Names of the clips that the command told to look at; some rendered heads move."""
    return {line.removeprefix("look ").partition(":")[0] for line in printed.splitlines() if line.startswith("look ")}


def test_every_clip_has_a_strip_with_landmarks(checked, cache, tiny):
    printed, page = checked(cache)
    warned = warned_clips(printed)
    assert f"{len(warned)} of 6 prepared clips have warnings; 0 are left out" in printed
    assert f"Page: {cache / 'check.html'}" in printed
    shown = articles(page)
    assert len(shown) == 6
    for row in tiny.index.itertuples():
        (clip,) = (each for each in shown if row.clip_id in each)
        assert clip.count("<image ") == 1
        (dots,) = re.findall(r'<path d="(.*)"/>', clip)
        # 6 pictures of 68 landmarks, of which some of the chin may lie below the picture.
        assert 5 * 68 < dots.count("h0") <= 6 * 68
        assert ("warned" in clip) == (f"{row.subject}/{row.clip_id}" in warned)
    reasons = ("the head moves", "the landmarks' shape jumps")
    assert all(any(reason in line for reason in reasons) for line in printed.splitlines() if line.startswith("look "))
    assert not re.search(r'(src|href)="(?!data:|#)', page)  # it needs no other file
    assert len(page) < 6 * 60_000


def test_warned_clips_come_first_and_are_counted(checked, cache):
    index = pd.read_parquet(cache / "index.parquet")
    index.loc[4, ["faces", "frames_past_end"]] = (2, 5)
    index.to_parquet(cache / "index.parquet")
    damaged = cache / index["file"][2]
    damaged.write_bytes(damaged.read_bytes()[:1000])
    clip = {
        "dataset": "synthetic",
        "subject": "synthetic/<b>",
        "clip_id": "x",
        "path": "p",
        "problem": "no face & hair",
    }
    pd.DataFrame([clip]).to_csv(cache / "failures.csv", index=False)
    printed, page = checked(cache)
    name = "{0.subject}/{0.clip_id}".format
    assert f"look {name(index.loc[4])}: 2 faces in the picture" in printed
    assert f"look {name(index.loc[4])}: the clip ends 5 frames before its offset" in printed
    assert f"look {name(index.loc[2])}: {damaged} cannot be read" in printed
    warned = warned_clips(printed)
    assert f"{len(warned)} of 6 prepared clips have warnings; 1 are left out" in printed
    shown = articles(page)
    assert ["warned" in clip for clip in shown] == [True] * len(warned) + [False] * (6 - len(warned))
    (changed,) = (clip for clip in shown if index["clip_id"][4] in clip)
    assert re.match('<article class="warned[a-z_ ]* faces past_end[a-z_ ]*">', changed)
    (lost,) = (clip for clip in shown if index["clip_id"][2] in clip)
    assert '<article class="warned damaged">' in lost
    assert "<image" not in lost
    assert "<td>synthetic/&lt;b&gt;</td><td>x</td><td>no face &amp; hair</td>" in page


def test_a_cache_of_version_0_1_says_what_is_not_recorded(checked, cache):
    index = pd.read_parquet(cache / "index.parquet").drop(columns=[*RECORDED_COLUMNS])
    index.to_parquet(cache / "index.parquet")
    printed, page = checked(cache)
    assert f"{len(warned_clips(printed))} of 6 prepared clips have warnings" in printed
    assert page.count("Not recorded for 6 clips.") == 4
    assert "6 clips were prepared by an older version" in page


def test_clips_that_are_not_prepared_are_one_sentence(tiny, command, tmp_path):
    done = command("mefusion-check", "--prepared", *tiny.overrides, f"cache_dir={tmp_path}", cwd=tmp_path)
    assert done.returncode == 1
    (sentence,) = done.stderr.strip().splitlines()
    assert "prepare the data first with mefusion-prepare data.subjects=2" in sentence
    assert "prepared=true" not in sentence


def test_flow_images_and_clips_without_landmarks_are_shown(tmp_path):
    rng = np.random.default_rng(0)
    save_clip(tmp_path / "a", {"flow_image": rng.integers(0, 256, (3, 28, 28), dtype=np.uint8)}, {})
    cut = {"frames": rng.integers(0, 256, (8, 48, 48), dtype=np.uint8), "flow": np.ones((7, 2, 48, 48), np.float16)}
    save_clip(tmp_path / "b", cut, {})
    index = pd.DataFrame({"file": ["a", "b"], "stride": 1, "n_frames": [1, 8], "subject": "s", "clip_id": ["a", "b"]})
    image, frames = check_clips(index, tmp_path, workers=1)
    assert (image.strip.shown, image.strip.dots, image.warnings) == ([1, 2, 3], "", [])
    assert (len(frames.strip.shown), frames.strip.dots) == (6, "")
    assert frames.kinds == ["head"]  # all of it moves by 1.4 px
