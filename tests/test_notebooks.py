"""That notebooks run is seen by `make notebooks`."""

import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_has_parameters_and_no_output(path):
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["metadata"].get("tags") for cell in cells].count(["parameters"]) == 1
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    assert not any("def " in "".join(cell["source"]) for cell in cells)  # logic is in the package, where it is tested


def test_all_are_there():
    assert [path.stem for path in NOTEBOOKS] == ["01_data", "02_results", "03_ablation", "04_recording"]
