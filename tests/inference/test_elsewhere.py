"""A bundle in a folder where there is nothing else, used as the documentation says."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from fake_videos import write_video
from trained import manifest_of, train_study

from mefusion.clips.video import read_clip
from mefusion.inference.export import export_study

ROOT = Path(__file__).parents[2]


def examples(text):
    """The Python code of a page that loads a bundle."""
    return [code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "load_bundle" in code]


@pytest.fixture(scope="module")
def study(tiny, tmp_path_factory):
    return train_study(tmp_path_factory.mktemp("study"), tiny, "protocol=all", "model=ststnet")


def test_examples_of_the_documentation_run_where_there_is_a_bundle_alone(study, tiny, tmp_path):
    bundle = export_study(study, to=tmp_path / "bundle")
    codes = [
        *examples((bundle / "README.md").read_text()),
        *examples((ROOT / "docs" / "bundles.md").read_text()),
        *examples((ROOT / "README.md").read_text()),
    ]
    assert len(codes) == 3
    # What the examples name, in a folder of its own.
    here = tmp_path / "elsewhere"
    manifest = manifest_of(tiny, tmp_path / "clips", count=1)
    row = pd.read_csv(manifest, dtype=str).iloc[0]
    clip = read_clip(manifest.parent / row["path"], onset=int(row["onset"]), offset=int(row["offset"]))
    joined = "\n".join(codes)
    loaded = re.findall(r'load_bundle\("([^"]+)"', joined)
    for name in loaded:
        shutil.copytree(bundle, here / name)
    for name in {*re.findall(r'"([^"]+)"', joined)} - {*loaded}:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".mp4"):
            write_video(here / name, clip, 50)
        else:
            shutil.copytree(manifest.parent / row["path"], here / name)
    shutil.rmtree(tmp_path / "clips")
    done = subprocess.run([sys.executable, "-c", joined], cwd=here, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("{'negative': ") == 3
    assert not (here / "cache").exists()


def test_nothing_in_a_bundle_names_a_place_or_a_person(study, tiny, tmp_path):
    bundle = export_study(study, to=tmp_path / "bundle")
    whole = b"".join(path.read_bytes() for path in bundle.iterdir())
    for word in (str(tmp_path), str(tiny.frames), str(study.parent), str(Path.home()), "sub01"):
        assert word.encode() not in whole
