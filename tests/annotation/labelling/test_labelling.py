import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from fake_segments import FakeContents, fake_segments, label_settings
from misbehaving_server import LEAKS, seen, serving

from mefusion.annotation.labelling.answers import FIELDS, read_answers
from mefusion.annotation.labelling.labelling import label_segments
from mefusion.annotation.labelling.settings import BudgetSettings, Modality
from mefusion.annotation.labelling.table import read_labels
from mefusion.common.errors import MefusionError


@pytest.fixture(scope="module")
def server():
    with serving() as address:
        yield address


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", LEAKS)


def label(server, name, folder, *, segments=1, say=lambda text: None, contents=None, **settings):
    chosen = label_settings(f"{server}/{name}/v1", **settings)
    return label_segments(fake_segments(segments), contents or FakeContents(), chosen, folder, say)


def statuses(folder):
    return [line["status"] for line in read_answers(folder)]


def test_an_answer_is_kept_with_all_that_it_was_asked_with(server, tmp_path):
    said = []
    done = label(server, "good-fields", tmp_path, say=said.append, seed=7, runs=2)
    assert (done.answers, done.calls, done.requests, done.problems) == (2, 2, 2, [])
    assert f"{server}/good-fields/v1" in said[0]
    assert "not truth" in said[0]
    first, second = read_answers(tmp_path)
    assert tuple(first) == FIELDS
    assert (first["segment"], first["run"], first["try"], first["status"]) == ("v0-000", 0, 1, "ok")
    assert (first["model"], first["model_returned"], first["fingerprint"]) == ("asked", "returned", "fp")
    assert (first["seed"], second["seed"], first["temperature"]) == (7, 8, 1.0)
    assert (first["tokens_in"], first["tokens_out"]) == (1000, 100)
    assert first["answer"]["emotions"][0] == {"label": "joy", "intensity": 60}
    assert first["key"] != second["key"]
    assert first["notice"] == "labels of a model, not truth"
    (row,) = read_labels(tmp_path, ["neutral", "surprise", "joy"], 2).to_dict("records")
    assert (row["dominant"], row["n_runs"], row["agreement"], row["status"]) == ("joy", 2, 1.0, "ok")
    body = seen(server, "good-fields")["requests"][0]["body"]
    assert body["response_format"]["json_schema"]["strict"]
    assert "minimum" not in json.dumps(body["response_format"])


@pytest.mark.parametrize(
    "fault", ["429x2", "500x3", "503x1", "408x1", "resetx1", "halfx1", "htmlx1", "nochoicesx1", "notjsonx1"]
)
def test_what_may_pass_is_tried_again(server, tmp_path, fault):
    done = label(server, fault, tmp_path)
    assert done.problems == []
    *failed, last = statuses(tmp_path)
    assert (last, {*failed}) == ("ok", {"failed"})
    assert len(failed) == int(fault[-1])


def test_a_time_out_is_tried_again(server, tmp_path):
    assert label(server, "slowx1", tmp_path, timeout_s=1.5).problems == []
    assert statuses(tmp_path) == ["failed", "ok"]
    assert read_answers(tmp_path)[0]["error"] == "no answer within 1.5 s"


def test_after_six_tries_the_segment_is_named(server, tmp_path):
    done = label(server, "500", tmp_path)
    assert len(statuses(tmp_path)) == 6
    (problem,) = done.problems
    assert problem.startswith("v0-000 has no answer after 6 tries: 500: sentence of 500")
    assert done.answers == 0
    label(server, "good", tmp_path)  # another start tries anew
    assert statuses(tmp_path)[-1] == "ok"


@pytest.mark.parametrize("fault", ["malformed", "cutoff", "label", "range", "length"])
def test_a_wrong_answer_is_tried_again_and_kept(server, tmp_path, fault):
    label(server, f"{fault}x2", tmp_path)
    assert statuses(tmp_path) == ["invalid", "invalid", "ok"]
    assert read_answers(tmp_path)[0]["raw"]
    assert read_answers(tmp_path)[0]["answer"] is None
    assert read_answers(tmp_path)[0]["error"]


def test_six_wrong_answers_are_the_end(server, tmp_path):
    done = label(server, "label-six", tmp_path)
    assert (done.problems, done.answers) == ([], 1)
    assert statuses(tmp_path) == ["invalid"] * 6
    label(server, "label-six", tmp_path)
    assert len(statuses(tmp_path)) == 6
    (row,) = read_labels(tmp_path, ["joy"], 1).to_dict("records")
    assert row["status"] == "invalid: the label 'hunger' is not in the vocabulary"
    assert row["dominant"] is None


@pytest.mark.parametrize("fault", ["refusal", "filter", "filtered"])
def test_a_refusal_is_kept_and_not_tried_again(server, tmp_path, fault):
    for _ in range(2):
        assert label(server, fault, tmp_path).problems == []
        assert statuses(tmp_path) == ["refused"]


def test_an_unusable_segment_is_no_failure(server, tmp_path):
    assert label(server, "unusable", tmp_path).problems == []
    (row,) = read_labels(tmp_path, ["joy"], 1).to_dict("records")
    assert row["status"] == "unusable: no face"


def test_json_within_other_text_is_found(server, tmp_path):
    assert label(server, "fenced", tmp_path, structured=False).problems == []
    assert statuses(tmp_path) == ["ok"]
    assert "response_format" not in seen(server, "fenced")["requests"][0]["body"]


@pytest.mark.parametrize("fault", ["400", "401", "403", "404", "quota", "later"])
def test_what_no_other_call_can_do_better_stops_at_once(server, tmp_path, fault):
    name = f"{fault}-stop"
    done = label(server, name, tmp_path, segments=8, concurrency=1)
    (problem,) = done.problems
    assert problem.endswith("8 of 8 calls are left")
    assert {"quota": "no money", "later": "wait for 86400 s"}.get(fault, f"sentence of {fault}") in problem
    assert len(seen(server, name)["requests"]) == 1
    assert LEAKS not in problem


def test_the_key_is_never_written(server, tmp_path):
    said = []
    label(server, "leak", tmp_path, say=said.append)
    done = label(server, "401-leak", tmp_path, runs=2, say=said.append)
    everything = (tmp_path / "answers.jsonl").read_text() + str(said) + str(done)
    assert LEAKS not in everything
    assert "key Bearer ***" in everything


def test_all_workers_wait_for_the_time_the_server_asks(server, tmp_path):
    done = label(server, "429x1-gate", tmp_path, segments=4, concurrency=1)
    assert done.problems == []
    times = [request["time"] for request in seen(server, "429x1-gate")["requests"]]
    assert 0.2 <= times[1] - times[0] < 3


def test_several_segments_are_asked_about_at_once(server, tmp_path):
    label(server, "pace-many", tmp_path, segments=8, concurrency=4)
    assert 2 <= seen(server, "pace-many")["most"] <= 4


def test_a_server_that_is_not_there_is_given_up(tmp_path):
    done = label("http://127.0.0.1:9", "x", tmp_path, segments=30, concurrency=30)
    assert any("has not answered any call: the connection failed" in problem for problem in done.problems)
    assert done.requests <= 30 * 6


def test_modalities_can_be_left_out(server, tmp_path):
    label(server, "good-words", tmp_path, modalities=[Modality.transcript])
    (request,) = seen(server, "good-words")["requests"]
    system, user = request["body"]["messages"]
    assert [part["type"] for part in user["content"]] == ["text"]
    assert "green box" not in system["content"]


def test_requests_are_limited_over_restarts(server, tmp_path):
    budget = BudgetSettings(max_requests=3)
    done = label(server, "good-limit", tmp_path, segments=5, budget=budget)
    assert done.problems == ["the budget is reached: budget.max_requests=3; 2 of 5 calls are left"]
    assert len(statuses(tmp_path)) == 3
    again = label(server, "good-limit", tmp_path, segments=5, budget=budget)
    assert again.problems == done.problems
    assert len(seen(server, "good-limit")["requests"]) == 3
    assert label(server, "good-limit", tmp_path, segments=5).problems == []
    assert len(seen(server, "good-limit")["requests"]) == 5


def test_dollars_are_limited_and_calls_in_flight_are_reserved_for(server, tmp_path):
    # 1000 tokens read and 100 written: .003 USD; at most .02 or so are reserved for a call.
    prices = {"usd_per_million_input": 2.0, "usd_per_million_output": 10.0}
    budget = BudgetSettings(max_usd=0.031, **prices)
    done = label(server, "pace-usd", tmp_path, segments=20, budget=budget, concurrency=8)
    spent = sum(line["usd"] for line in read_answers(tmp_path))
    assert "budget.max_usd=0.031" in done.problems[-1]
    assert 0.006 <= spent <= 0.031
    assert done.usd == pytest.approx(spent)
    assert seen(server, "pace-usd")["most"] <= 2
    before = len(statuses(tmp_path))
    label(server, "pace-usd", tmp_path, segments=20, budget=budget)
    assert len(statuses(tmp_path)) == before


def test_without_a_count_of_tokens_the_bound_is_what_was_spent(server, tmp_path):
    budget = BudgetSettings(usd_per_million_input=2.0, usd_per_million_output=10.0)
    done = label(server, "nousage", tmp_path, budget=budget)
    assert done.usd > 0.003


def test_a_dry_run_sends_nothing(server, tmp_path):
    said = []
    budget = BudgetSettings(usd_per_million_input=2.0, usd_per_million_output=10.0)
    done = label(server, "good-dry", tmp_path, segments=3, runs=5, dry_run=True, budget=budget, say=said.append)
    assert (done.answers, done.calls) == (0, 15)
    assert "15 of 15 calls are left" in said[0]
    assert "At most 0." in said[1]
    assert seen(server, "good-dry")["requests"] == []
    assert not (tmp_path / "answers.jsonl").exists()


def test_what_is_answered_is_not_asked_again_unless_it_changes(server, tmp_path):
    label(server, "good-again", tmp_path, segments=2)
    label(server, "good-again", tmp_path, segments=3)
    assert len(seen(server, "good-again")["requests"]) == 3
    label(server, "good-again", tmp_path, segments=3, temperature=0.5)
    assert len(seen(server, "good-again")["requests"]) == 6
    settings = label_settings(f"{server}/good-again/v1")
    changed = [replace(segment, transcript="bye") for segment in fake_segments(1)]
    label_segments(changed, FakeContents(), settings, tmp_path, lambda text: None)
    assert len(seen(server, "good-again")["requests"]) == 7


def test_half_a_last_line_is_dropped_and_a_damaged_one_is_named(server, tmp_path):
    label(server, "good-half", tmp_path, segments=2)
    path = tmp_path / "answers.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert len(read_answers(tmp_path)) == 1
    label(server, "good-half", tmp_path, segments=2)
    assert statuses(tmp_path) == ["ok", "ok"]
    path.write_text("{\n" + path.read_text())
    with pytest.raises(MefusionError, match="damaged in line 1"):
        label(server, "good-half", tmp_path, segments=2)


def test_each_try_has_another_seed_and_equal_words_are_asked_about_for_each_segment(server, tmp_path):
    name = "labelx2-seeds"
    label(server, name, tmp_path, segments=2, seed=5, modalities=[Modality.transcript], concurrency=1)
    assert [request["body"]["seed"] for request in seen(server, name)["requests"]] == [5, 1005, 2005, 5]
    assert [line["segment"] for line in read_answers(tmp_path)] == ["v0-000"] * 3 + ["v1-001"]


def test_a_video_that_cannot_be_read_is_named_and_the_others_go_on(server, tmp_path):
    class Broken(FakeContents):
        def pictures(self, segment):
            if segment.name == "v1-001":
                raise MefusionError("v1.mp4 is gone")
            return super().pictures(segment)

    done = label(server, "good-gone", tmp_path, segments=3, contents=Broken())
    assert done.problems == ["v1-001 cannot be sent: v1.mp4 is gone"]
    assert len(statuses(tmp_path)) == 2


KILLED = """
import sys
from pathlib import Path
from fake_segments import FakeContents, fake_segments, label_settings
from mefusion.annotation.labelling.labelling import label_segments
settings = label_settings(sys.argv[1], seed=0, runs=3, concurrency=3)
label_segments(fake_segments(12), FakeContents(), settings, Path(sys.argv[2]), print)
"""


def test_a_run_that_is_killed_loses_calls_in_flight_alone(server, tmp_path):
    command = [sys.executable, "-c", KILLED, f"{server}/pace-kill/v1", str(tmp_path)]
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths, "PYTHONHASHSEED": "0"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    limit = time.monotonic() + 100
    while len(read_answers(tmp_path)) < 8:
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = len(read_answers(tmp_path))
    assert kept < 36
    assert subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False).returncode == 0
    lines = read_answers(tmp_path)
    assert len(lines) == 36
    assert len({line["key"] for line in lines}) == 36
    assert len(seen(server, "pace-kill")["requests"]) <= 36 + 3
