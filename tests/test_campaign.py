"""The campaign's own parts; it itself takes too long for the tests."""

import signal
import subprocess
import sys

import pytest
from campaign.cases import Case, Expected
from campaign.contents import contents, differences
from campaign.judging import judge
from campaign.kills import SCENARIOS, plan_kills
from campaign.processes import processes_of, survivors
from campaign.report import markdown
from campaign.running import Done, environment_of
from campaign.tables import TABLES

SENTENCE = "mefusion-train: rule=best: choose from last, average\n"


def test_there_are_many_cases_each_with_a_name_of_its_own():
    cases = [case for cases in TABLES.values() for case in cases]
    assert len(cases) >= 300
    assert len({case.title for case in cases}) == len(cases)
    assert all(case.words for case in cases)


def test_the_interruptions_are_those_of_their_seed():
    kills = plan_kills(SCENARIOS, 100, seed=0)
    assert kills == plan_kills(SCENARIOS, 100, seed=0)
    assert kills != plan_kills(SCENARIOS, 100, seed=1)
    assert {kill.how for kill in kills} == {signal.SIGKILL, signal.SIGINT, signal.SIGTERM}
    assert {kill.scenario.name for kill in kills} == {"prepare", "train", "sweep", "report"}


@pytest.mark.parametrize(
    ("expected", "code", "out", "err", "outcome"),
    [
        ("refused", 1, "", SENTENCE, "clear"),
        ("refused", 1, "", "mefusion-train: something is wrong\n", "unclear"),
        ("refused", 1, "", SENTENCE * 2, "unclear"),
        ("refused", 1, "", SENTENCE.removeprefix("mefusion-train: "), "unclear"),
        ("refused", 1, SENTENCE, "", "unclear"),
        ("refused", 2, "", SENTENCE, "unclear"),
        ("refused", 0, "UF1 0.3\n", "", "silent"),
        ("refused", 1, "", "Traceback (most recent call last):\n", "traceback"),
        ("told", 1, "failed rule=best\n", "mefusion-train: 1 of 6 clips\n", "clear"),
        ("told", 0, "note rule=best\n", "", "clear"),
        ("told", 0, "UF1 0.3\n", "", "silent"),
        ("told", 1, "failed rule=best\n", "", "unclear"),
        ("works", 0, "rule=best\n", "", "clear"),
        ("works", 0, "rule=best\n", "a warning\n", "unclear"),
        ("works", 1, "rule=best\n", "", "unclear"),
    ],
)
def test_what_a_command_says_is_judged(expected, code, out, err, outcome):
    case = Case("overrides", "rule", "empty", (("mefusion-train",),), ("rule=best",), expected=Expected(expected))
    assert judge(case, [Done(["mefusion-train"], code, out, err, 1.0)])[0] == outcome


def test_a_word_may_have_another_in_its_place():
    case = Case("overrides", "rule", "empty", (("mefusion-train",),), ("nothing|rule",))
    assert judge(case, [Done(["mefusion-train"], 1, "", SENTENCE, 1.0)])[0] == "clear"


def start_sleeper(environment=None):
    """A process that sleeps, as soon as it runs: before, its environment in /proc may still be that of another."""
    sleeps = "import time; print(flush=True); time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", sleeps], env=environment, start_new_session=True, stdout=subprocess.PIPE
    )
    process.stdout.readline()
    return process


def test_a_process_left_behind_is_found_and_ended():
    process = start_sleeper(environment_of("mine"))
    assert processes_of("another", process.pid + 1) == []
    (found,) = survivors("mine", -1, seconds=0)
    assert found.pid == process.pid
    assert process.wait(5) == -signal.SIGKILL
    assert processes_of("mine", -1) == []


def test_processes_of_others_are_never_taken_for_the_campaign_s():
    process = start_sleeper()
    try:
        assert processes_of("mine", process.pid) == []
        assert processes_of("mine", 0) == []  # the session of system processes in a container
    finally:
        process.kill()
        process.wait()


def test_what_an_interrupted_run_lacks_is_named(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "table.csv").write_text(f"{tmp_path / name},2026-01-0{len(name)}\n")
        (tmp_path / name / "lost.csv").write_text(name)
    assert differences(contents(tmp_path / "a"), contents(tmp_path / "b")) == ["lost.csv differs"]
    (tmp_path / "b" / "lost.csv").unlink()
    (tmp_path / "b" / "more.csv").touch()
    assert differences(contents(tmp_path / "a"), contents(tmp_path / "b")) == [
        "lost.csv is missing",
        "more.csv is more",
    ]


def test_the_table_has_a_row_for_each_kind():
    assert markdown([]).splitlines()[0].startswith("| kind | tried | one clear sentence |")
