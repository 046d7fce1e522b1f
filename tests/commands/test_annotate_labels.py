"""Stages label, export and evaluate of `mefusion-annotate`, and the page, with a server that is none."""

import json

import numpy as np
import pandas as pd
import pytest
from fake_conversations import monologue
from fake_videos import write_video
from misbehaving_server import seen, serving

from mefusion.annotation.labelling.answers import read_answers
from mefusion.commands.annotate import main
from mefusion.datasets.manifest import read_manifest
from mefusion.report import main as report


def ran(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    return ended.value.code


@pytest.fixture(scope="module")
def server():
    with serving() as address:
        yield address


@pytest.fixture(scope="module")
def extracted(tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    talk = monologue(root / "talk.mp4")
    assert ran(f"source.path={talk}", f"output_dir={root / 'out'}", "workers=1", "stage=extract", "--quiet") == 0
    return root / "out"


def settings(server, name, output):
    return [
        f"output_dir={output}", f"api.base_url={server}/{name}/v1", "api.model=m", "vocabulary=meld7", "runs=2",
        "workers=1", "request.size=128",
    ]  # fmt: skip


def test_a_recording_becomes_labelled_clips_and_a_page(server, extracted, tmp_path, capsys):
    chosen = settings(server, "hostile", extracted)
    assert ran(*chosen, "stage=label", "dry_run=true") == 0
    assert "Nothing is sent. 2 of 2 calls are left" in capsys.readouterr().out
    assert not (extracted / "answers.jsonl").exists()
    assert ran(*chosen, "stage=label") == 0
    printed = capsys.readouterr().out
    assert f"to {server}/hostile/v1, model m. Its answers are a model's labels, not truth." in printed
    assert "2 of 2 calls are answered: 2 ok; 2 requests" in printed
    assert json.loads((extracted / "consistency.json").read_text())["kappa"] is None
    body = seen(server, "hostile")["requests"][0]["body"]
    assert [part["type"] for part in body["messages"][1]["content"]].count("image_url") == 6
    assert ran(*chosen, "stage=export") == 0
    assert "labels of a model, not truth" in capsys.readouterr().out
    assert read_manifest(extracted / "manifest.csv", dataset="x")["emotion"].tolist() == ["happiness"]
    (row,) = pd.read_parquet(extracted / "annotations.parquet").to_dict("records")
    assert (row["dominant"], row["n_runs"], row["agreement"]) == ("joy", 2, 1.0)
    truth = tmp_path / "truth.csv"
    truth.write_text("clip_id,emotion\ntalk,joy\nlost,anger\n")
    assert ran(*chosen, "stage=evaluate", "evaluate.truth=manifest", f"evaluate.path={truth}") == 0
    assert "2 utterances, 1 answered, lost: 1 without a segment" in capsys.readouterr().out
    assert report([str(extracted)]) == 0
    page = (extracted / "report" / "report.html").read_text()
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert page.count("data:image/jpeg;base64,") == 6
    assert "labels of a model, not truth" in page
    assert "It is not accuracy" in page


def test_a_vocabulary_of_one_s_own_replaces_the_others(server, extracted):
    own = ["vocabulary=own", "+vocabulary.labels={joy: gladness, surprise: 'a start, good or bad'}", "mapping=none"]
    assert ran(*settings(server, "good-own", extracted), *own, "stage=label", "--quiet") == 0
    body = seen(server, "good-own")["requests"][0]["body"]
    items = body["response_format"]["json_schema"]["schema"]["properties"]["emotions"]["items"]
    assert items["properties"]["label"]["enum"] == ["joy", "surprise"]
    assert "- surprise: a start, good or bad\n" in body["messages"][0]["content"]


def test_recordings_without_speech_leave_nothing_to_ask(server, tmp_path, capsys):
    write_video(tmp_path / "mute.mp4", [np.zeros((64, 64, 3), np.uint8)] * 5)
    assert ran(*settings(server, "good-none", tmp_path / "out"), f"source.path={tmp_path}") == 0
    assert "0 of 0 calls are answered" in capsys.readouterr().out
    assert report([str(tmp_path / "out")]) == 0
    assert "Nothing was asked yet" in (tmp_path / "out" / "report" / "report.html").read_text()


def test_a_server_that_fails_is_an_exit_code_of_1(server, extracted, capsys):
    assert ran(*settings(server, "401", extracted), "stage=label", "api.temperature=0.5") == 1
    assert "says 401: sentence of 401" in capsys.readouterr().err
    assert read_answers(extracted)[-1]["status"] == "failed"


def test_the_last_way_of_asking_counts_though_all_of_it_was_answered_before(server, extracted):
    chosen = settings(server, "good-way", extracted)
    for seldom in ([], ["api.temperature=0.5"], []):
        assert ran(*chosen, *seldom, "stage=label", "--quiet") == 0
    assert len(seen(server, "good-way")["requests"]) <= 4
    assert ran(*chosen, "stage=export", "--quiet") == 0
    assert read_manifest(extracted / "manifest.csv", dataset="x")["emotion"].tolist() == ["happiness"]
    assert "vocabulary=meld7" in ran(f"output_dir={extracted}", "stage=export", "--quiet")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["stage=label"], "api.base_url is not given"),
        (["stage=label", "api.base_url=http://localhost/v1"], "api.model is not given"),
        (
            ["stage=label", "api.base_url=http://localhost/v1", "api.model=m"],
            "has no extracted video: run stage=extract",
        ),
        (["source.path=videos"], "api.base_url is not given"),
        (["api.base_url=http://u:p@host/v1"], "OPENAI_API_KEY"),
        (["api.key=secret"], "api.key"),
        (["vocabulary=plutchik"], "vocabulary=plutchik"),
        (["vocabulary.labels=null"], "vocabulary.labels"),
        (["vocabulary=own"], "vocabulary=own has fewer than two labels"),
        (["budget.max_usd=1"], "budget.max_usd needs the prices"),
        (["runs=0"], "runs=0: give a number from 1 to 100"),
        (["stage=evaluate"], "evaluate.path is not given"),
    ],
)
def test_a_wrong_setting_is_one_sentence(tmp_path, arguments, sentence):
    code = str(ran(*arguments, f"output_dir={tmp_path / 'out'}"))
    assert sentence in code
    assert "\n" not in code.strip()
