"""The whole path of each dataset, from a rendered download to a report, as a user runs it."""

import json

import pandas as pd
import pytest
from imitations import full_plan, write_download

from mefusion.synthetic.layouts import get_layout
from mefusion.synthetic.rendered_download import act_row, write_rendered_download
from mefusion.synthetic.scene import SyntheticSettings, render_frame

SMALL = ("data.subjects=2", "data.clips_per_class=1", "data.frames=[8,9]", "data.size=160", "workers=1")
SMOKE = ("model=off_apexnet", "trainer=smoke")


def run(command, program, *arguments, cwd):
    done = command(program, *arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


pytestmark = pytest.mark.usefixtures("quick_flow", "no_pictures")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "labels", "clips"),
    [
        ("casme2", "five", 10),
        ("samm", "five", 10),
        ("smic", "three", 6),
        ("cas_me_2", "four", 8),
        ("cas_me_3", "seven", 14),
    ],
)
def test_a_rendered_download_goes_all_the_way(layout, labels, clips, command, tmp_path):
    printed = run(
        command,
        "mefusion-prepare",
        "data=synthetic",
        f"data.layout={layout}",
        "data.write_to=new",
        *SMALL,
        cwd=tmp_path,
    )
    following = printed.strip().splitlines()[-1].split("next command: ")[1].split()
    assert following == ["mefusion-prepare", f"data={layout}", "data.root=new", "data.allow_partial=true", "faces=dlib"]
    data = [*following[1:], f"labels={labels}"]
    assert f"{clips} of {clips} clips of 2 subjects" in run(command, *following, "workers=1", cwd=tmp_path)
    run(command, "mefusion-train", *data, *SMOKE, cwd=tmp_path)
    (study,) = (tmp_path / "outputs").iterdir()
    assert json.loads((study / "study.json").read_text())["clips"] == clips
    run(command, "mefusion-report", str(study), cwd=tmp_path)
    assert (study / "report" / "report.md").exists()
    again = command("mefusion-prepare", "data=synthetic", f"data.layout={layout}", "data.write_to=new", cwd=tmp_path)
    assert again.returncode == 1
    assert again.stderr.strip().startswith("mefusion-prepare: data.write_to=new is not empty")


@pytest.mark.slow
def test_the_composite_of_three_rendered_downloads_goes_all_the_way(command, tmp_path):
    settings = SyntheticSettings(subjects=1, clips_per_class=1, frames=(8, 9), size=160)
    for layout in ("casme2", "samm", "smic"):
        write_rendered_download(layout, tmp_path / layout, settings, workers=1)
    roots = [f"data.sources.{layout}.root={layout}" for layout in ("casme2", "samm", "smic")]
    data = ["data=megc2019", *roots, "data.allow_partial=true", "faces=dlib", "labels=three", "workers=1"]
    run(command, "mefusion-check", *[given for given in data if given != "faces=dlib"], cwd=tmp_path)
    run(command, "mefusion-prepare", *data, cwd=tmp_path)
    printed = run(command, "mefusion-train", *data, *SMOKE, "protocol.folds=[casme2/sub01,smic/s1]", cwd=tmp_path)
    assert printed.count("clips right") == 2
    (study,) = (tmp_path / "outputs").iterdir()
    facts = json.loads((study / "study.json").read_text())
    assert len(facts["folds"]) == 3
    assert facts["partial"]
    tables = pd.concat([pd.read_parquet(path) for path in study.glob("folds/*/predictions.parquet")])
    assert set(tables["dataset"]) == {"casme2", "smic"}


@pytest.mark.slow
def test_clips_that_the_table_has_wrong_are_prepared(command, tmp_path):
    wrong = {("spNO.40", "e"), ("spNO.214", "c"), ("spNO.216", "e")}
    plan = [row for row in full_plan("cas_me_3") if (row.subject, row.clip) in wrong and row.offset < 2500]
    layout, settings = get_layout("cas_me_3"), SyntheticSettings()
    acted = {(row.clip, row.onset): act_row(layout, row, settings) for row in plan}

    def rendered(row, number):
        return render_frame(acted[row.clip, row.onset], number - row.onset, settings)

    write_download("cas_me_3", tmp_path / "new", plan, rendered, variant="nested")
    given = ("data=cas_me_3", "data.root=new", "data.allow_partial=true", "faces=dlib", "workers=1")
    run(command, "mefusion-prepare", *given, cwd=tmp_path)
    (index,) = tmp_path.glob("cache/cas_me_3/*/index.parquet")
    prepared = pd.read_parquet(index).set_index("clip_id")
    known = {"e_0": (1, 12), "e_1812": (1812, 1845), "e_2327": (2327, 2403), "c_5": (5, 34)}
    assert {clip: tuple(prepared.loc[clip, ["onset", "offset"]]) for clip in known} == known
    assert all(prepared["n_frames"] == prepared["offset"] - prepared["onset"] + 1)
