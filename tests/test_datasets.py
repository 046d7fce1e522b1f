"""The whole path of each dataset, from a rendered download to a report, as a user runs it."""

import json

import pytest

SMALL = ("data.subjects=2", "data.clips_per_class=1", "data.frames=[8,9]")
SMOKE = ("model=mol_tiny", "trainer=smoke", "model.network.image_size=64", "model.network.width=0.0625")


def run(command, program, *arguments, cwd):
    done = command(program, *arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


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
    following = printed.strip().splitlines()[-1].split("next: ")[1].split()
    assert following == ["mefusion-prepare", f"data={layout}", "data.root=new", "data.allow_partial=true"]
    data = [*following[1:], f"labels={labels}"]
    assert f"{clips} of {clips} clips of 2 subjects" in run(command, *following, cwd=tmp_path)
    run(command, "mefusion-train", *data, *SMOKE, cwd=tmp_path)
    (study,) = (tmp_path / "outputs").iterdir()
    assert json.loads((study / "study.json").read_text())["clips"] == clips
    run(command, "mefusion-report", str(study), cwd=tmp_path)
    assert (study / "report" / "report.md").exists()
    again = command("mefusion-prepare", "data=synthetic", f"data.layout={layout}", "data.write_to=new", cwd=tmp_path)
    assert again.returncode == 1
    assert again.stderr.strip().startswith("mefusion-prepare: data.write_to=new is not empty")
