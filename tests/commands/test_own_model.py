"""examples/own_model: a model from outside the package, in one Python file and one YAML file."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_model"
SMALL = ("--config-dir", ".", "model=difference", "model.training.max_epochs=1")


@pytest.mark.slow
def test_a_model_of_one_s_own_trains_and_is_swept(tiny, command, tmp_path):
    here = shutil.copytree(EXAMPLE, tmp_path / "own_model")
    done = command("mefusion-train", *SMALL, *tiny.overrides, f"output_dir={tmp_path / 'one'}", cwd=here)
    assert done.returncode == 0, done.stderr
    (study,) = (tmp_path / "one").iterdir()
    assert study.name.startswith("difference-synthetic-three-")
    assert json.loads((study / "study.json").read_text())["tasks"] == {"recognition": 1.0}
    assert len(pd.read_parquet(study / "predictions.parquet")) == 6
    sweep = ("-m", "model.network.width=8,16", f"output_dir={tmp_path / 'one'}")
    done = command("mefusion-train", *SMALL, *sweep, *tiny.overrides, cwd=here)
    assert done.returncode == 0, done.stderr
    assert "complete before" in done.stdout  # 16 is the file's own
    studies = [*(tmp_path / "one").glob("difference-*")]
    assert study in studies
    assert len(studies) == 2


def test_the_recipe_s_goal_is_kept():
    files = [path for path in EXAMPLE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sorted(path.suffix for path in files) == [".py", ".yaml"]
