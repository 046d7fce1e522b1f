"""The two orders of computation that experiments/benchmarks/authors_order.py times."""

import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "experiments" / "benchmarks" / "authors_order.py"
SMALL = {
    "mol": ["model.network.width=0.125", "model.network.image_size=64"],
    "fdp": ["model.network.width=0.125", "model.network.image_size=32"],
}


@pytest.mark.parametrize("model", ["mol", "fdp"])
def test_both_orders_agree_and_are_timed(model, capsys):
    main = runpy.run_path(str(SCRIPT))["main"]
    main(["--model", model, "--batch-size", "2", "--steps", "1", "--threads", "1", *SMALL[model]])
    printed = capsys.readouterr().out
    assert f"{model}_released, batch 2, 1 threads" in printed
    assert "times" in printed
