"""What is shown of the folds of a study where no one looks at a terminal."""

import time

import pytest

from mefusion.processes.assignments import Event
from mefusion.studies.display import FoldDisplay


@pytest.fixture
def at(monkeypatch):
    """Sets the time, s."""
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    return lambda now: monkeypatch.setattr(time, "monotonic", lambda: float(now))


def test_the_time_that_is_left_is_told_where_it_is_long(at, capsys):
    display = FoldDisplay(list("abcdefg"), 7, None)
    for number, fold in enumerate("ab"):
        at(50 * number)
        display.show(Event("step", fold=fold, text="begins"))
        at(50 * (number + 1))
        display.show(Event("ended", fold=fold, text="3 of 4 clips right", share=1.0))
    # Five folds of 50 s are left, then as many fewer.
    assert capsys.readouterr().out.splitlines() == [
        "fold 1/7 a: 3 of 4 clips right, 50 s, about 5 min left",
        "fold 2/7 b: 3 of 4 clips right, 50 s, about 4 min left",
    ]
    at(100)
    display.show(Event("ended", fold="c", text="3 of 4 clips right", share=1.0))
    for fold in "de":
        display.show(Event("ended", fold=fold, text="3 of 4 clips right", share=1.0))
    assert capsys.readouterr().out.splitlines()[-1] == "fold 5/7 e: 3 of 4 clips right, 0 s"


def test_a_fold_that_is_not_run_here_takes_no_time(at, capsys):
    display = FoldDisplay(["a", "b"], 1, None)
    display.show(Event("step", fold="a", text="begins"))
    at(500)
    display.show(Event("ended", fold="a", text="done before"))
    assert capsys.readouterr().out == "fold 1/2 a: done before\n"


def test_a_further_process_of_the_same_training_is_silent(at, capsys):
    FoldDisplay(["a"], 1, None, silent=True).show(Event("ended", fold="a", text="trained", share=1.0))
    assert capsys.readouterr().out == ""
