"""`mefusion-spot data=NAME`: the real command on small imitations of the downloads."""

import json
import shutil

import pandas as pd
import pytest
from fake_datasets import MOUTH, only, ran, write_face, write_samm
from imitations import full_plan, write_download
from imitations.cas_me_3 import write_macro_table

from mefusion.spotting.event_table import EVENT_COLUMNS
from mefusion.spotting.recording import Spotted
from mefusion.spotting_studies import work
from mefusion.spotting_studies.record import read_spotting_study


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_face(tmp_path_factory.mktemp("face"))


@pytest.fixture(scope="module")
def samm(video, tmp_path_factory):
    folder = tmp_path_factory.mktemp("samm")
    write_samm(folder, video)
    return folder


@pytest.fixture(scope="module")
def spotted(samm, tmp_path_factory):
    """The folder of results, and what was printed."""
    output = tmp_path_factory.mktemp("spot")
    with pytest.MonkeyPatch.context() as patch:
        printed, told = [], []
        patch.setattr("builtins.print", lambda *texts, file=None, **_: (told if file else printed).append(texts[0]))
        code = ran("data=samm_long", f"data.root={samm}", "--output", output)
    assert code == 1  # a recording could not be read
    return output, printed, told


def test_a_dataset_is_spotted_and_scored(spotted):
    output, printed, told = spotted
    result = read_spotting_study(only(output))
    # By hand: of the micro-expressions of 006_1 and 007_1 the first is found, and nothing else is spotted; that of
    # 008_1 is left out with its recording.
    micro, macro, whole = (result.scores[kind] for kind in ("micro", "macro", "all"))
    assert (micro["true"], micro["found"], micro["spotted"], micro["right"]) == (2, 1, 1, 1)
    assert (micro["precision"], micro["recall"], micro["f1"]) == (1, 0.5, pytest.approx(2 / 3))
    assert (macro["true"], macro["spotted"], macro["f1"]) == (0, 0, 0)
    assert whole["f1"] == pytest.approx(2 / 3)
    assert (result.scores["recordings"], result.scores["subjects"]) == (3, 2)
    # Both of two subjects, or one of them twice.
    assert micro["intervals"]["f1"] == [0, 1]
    left_out = {"recordings": ["008_1"], "of": 4, "expressions": 1, "lost_subjects": ["samm_long/008"]}
    assert result.scores["left_out"] == left_out
    assert printed[-2].startswith(
        "samm_long, displacement, 3 recordings of 2 subjects: micro F1 0.667 (95 % interval over 2 subjects 0.000 to "
        "1.000), precision 1.000 (1 of 1 spotted), recall 0.500 (1 of 2); macro none, and none spotted; all F1 0.667"
    )
    assert printed[-2].endswith(
        "left out 1 of 4 recordings that could not be read (008_1), with 1 expression; no recording is left of "
        "samm_long/008"
    )
    assert any(text.startswith("mefusion-spot: 008_1 is left out: ") and "008_1_0001.jpg" in text for text in told)


def test_what_is_written_can_be_read_again(spotted, samm):
    output, _, _ = spotted
    result = read_spotting_study(only(output))
    assert result.recordings["recording"].tolist() == ["006_1", "006_2", "007_1", "008_1"]
    assert len(result.truth) == 3
    (event,) = result.spotted.to_dict("records")
    assert (event["recording"], event["kind"]) == ("006_1", "micro")
    # In the dataset's frames, from 0: 7 of them for each that was drawn.
    assert abs(event["apex"] - 7 * MOUTH.apex) <= 14
    assert event["onset"] < event["apex"] < event["offset"]
    assert result.facts["command"].startswith("mefusion-spot data=samm_long")
    assert result.facts["versions"]["mefusion"]
    assert any("147" in text for text in result.facts["problems"])
    assert result.facts["spotting"]["low_pass"] == 5
    folder = result.directory / "recordings"
    assert sorted(path.name for path in folder.iterdir()) == ["006_1", "006_2", "007_1"]
    names = {"events.csv", "frames.parquet", "recording.json", "page.html", "done.json"}
    assert {path.name for path in (folder / "006_1").iterdir()} == names
    assert "mefusion-spot data=samm_long" in (folder / "006_1" / "page.html").read_text()


class Stop(Exception):
    pass


def test_the_same_command_goes_on_with_what_is_missing(spotted, samm, tmp_path, monkeypatch):
    output, _, _ = spotted
    whole = only(output)
    study = tmp_path / "out" / whole.name
    shutil.copytree(whole, study)
    for name in ("006_2", "007_1"):
        shutil.rmtree(study / "recordings" / name)
    (study / "scores.json").unlink()
    measured = []
    spot_recording = work.spot_recording

    def once(stream, folder, settings):
        measured.append(folder.name)
        if len(measured) == 2:
            raise Stop
        return spot_recording(stream, folder, settings)

    monkeypatch.setattr(work, "spot_recording", once)
    command = ("data=samm_long", f"data.root={samm}", "--output", tmp_path / "out", "--quiet")
    with pytest.raises(Stop):
        ran(*command)
    assert measured == ["006_2", "007_1"]
    assert not (study / "scores.json").exists()
    assert json.loads((study / "spotting.json").read_text())["complete"] is False
    assert ran(*command) == 1
    assert measured[2:] == ["007_1", "008_1"]
    for name in ("scores.json", "spotted.csv", "truth.csv", "recordings.csv"):
        assert (study / name).read_text() == (whole / name).read_text()


def test_a_recording_that_is_mended_is_added(spotted, samm, tmp_path):
    output, _, _ = spotted
    shutil.copytree(output, tmp_path / "out")
    shutil.copytree(samm, tmp_path / "samm", copy_function=shutil.copy2)
    frames = tmp_path / "samm" / "SAMM_longvideos" / "008_1"
    shutil.copy(frames / "008_1_0002.jpg", frames / "008_1_0001.jpg")
    assert ran("data=samm_long", f"data.root={tmp_path / 'samm'}", "--output", tmp_path / "out", "--quiet") == 0
    scores = read_spotting_study(only(tmp_path / "out")).scores
    assert scores["left_out"] == {"recordings": [], "of": 4, "expressions": 0, "lost_subjects": []}
    described = (only(tmp_path / "out") / "spotting.json").read_text()
    assert ran("data=samm_long", f"data.root={tmp_path / 'samm'}", "--output", tmp_path / "out") == 0
    assert (only(tmp_path / "out") / "spotting.json").read_text() == described  # with the command that made it
    assert (scores["macro"]["true"], scores["macro"]["found"], scores["all"]["true"]) == (1, 0, 3)


@pytest.fixture
def spotted_at(monkeypatch):
    """Let each recording have events at given frames, without looking at it: `spotted_at({recording: [(0, 5)]})`."""

    def spotted_at(found):
        def fake(stream, folder, settings):
            folder.mkdir(parents=True, exist_ok=True)
            rows = [
                dict.fromkeys(EVENT_COLUMNS, 1)
                | {"event": number, "onset_frame": onset, "apex_frame": onset, "offset_frame": offset, "kind": "micro"}
                | {"speech": False}
                for number, (onset, offset) in enumerate(found.get(folder.name, []), 1)
            ]
            events = pd.DataFrame(rows, columns=[*EVENT_COLUMNS])
            events.to_csv(folder / "events.csv", index=False)
            settled.append((folder.name, settings.k))
            return Spotted(folder, folder.name, stream.facts(), 1, 0, 1.0, {}, {}, events, None)

        settled = []
        monkeypatch.setattr(work, "spot_recording", fake)
        monkeypatch.setattr("mefusion.report.recording.result.show_result", lambda stream, spotted, **_: None)
        return settled

    return spotted_at


def test_cas_me_2_is_scored_in_its_own_frame_numbers(tmp_path, spotted_at):
    plan = [row for row in full_plan("cas_me_2") if row.subject in ("s15", "s16")]
    write_download("cas_me_2", tmp_path / "data", plan, variant="rawpic")
    # Its folder has the frames 550 to 562 (micro) and 600 to 639 (macro): indices 0 to 12 and 13 to 52.
    spotted_at({"15_0401girlcrashing": [(0, 12), (20, 52), (3, 4)]})
    assert ran("data=cas_me_2_long", f"data.root={tmp_path / 'data'}", "--output", tmp_path / "out", "--quiet") == 0
    scores = read_spotting_study(only(tmp_path / "out")).scores
    kinds = [sum(row.cells["type"].startswith(kind) for row in plan) for kind in ("micro", "macro")]
    micro, macro = scores["micro"], scores["macro"]
    # 13 frames are micro at 30 frames/s, 33 are macro; 33 of 40 frames are an IoU above .5.
    assert [micro[name] for name in ("true", "found", "spotted", "right")] == [kinds[0], 1, 2, 1]
    assert [macro[name] for name in ("true", "found", "spotted", "right")] == [kinds[1], 1, 1, 1]
    assert scores["all"]["f1"] == pytest.approx(2 * 2 / (len(plan) + 3))
    assert scores["subjects"] == 2


def test_cas_me_3_has_a_table_for_each_kind(tmp_path, spotted_at):
    plan = [row for row in full_plan("cas_me_3") if row.subject in ("spNO.14", "spNO.149")]
    write_download("cas_me_3", tmp_path / "data", plan)
    write_macro_table(tmp_path / "data", [])
    spotted_at({f"{row.subject}_{row.clip}": [] for row in plan} | {"spNO.149_d": [(0, 0)]})
    assert ran("data=cas_me_3_long", f"data.root={tmp_path / 'data'}", "--output", tmp_path / "out", "--quiet") == 0
    scores = read_spotting_study(only(tmp_path / "out")).scores
    assert scores["micro"]["true"] == len(plan)
    assert (scores["micro"]["spotted"], scores["macro"]["true"]) == (1, 0)


def test_k_comes_from_the_labels_of_other_subjects(samm, tmp_path, spotted_at):
    settled = spotted_at({})
    ran("data=samm_long", f"data.root={samm}", "spotting=apex_score", "--output", tmp_path / "out", "--quiet")
    # 007's micro-expression has 30 frames, 006's 78: half of them, at 200 frames/s; 008's, a macro-expression, has 20.
    k = {"006": [15 / 200, 10 / 200], "007": [39 / 200, 10 / 200]}
    assert settled[:3] == [("006_1", k["006"]), ("006_2", k["006"]), ("007_1", k["007"])]
    facts = json.loads((only(tmp_path / "out") / "spotting.json").read_text())
    assert facts["k"]["008_1"] == [27 / 200, 0.6]  # 008 sees the micro-expressions of both, and no macro-expression
    assert ran("data=samm_long", f"data.root={samm}", "spotting=apex_score", "spotting.k=[0.1,0.5]", "--output",
               tmp_path / "given", "--quiet") == 1  # fmt: skip
    assert all(k == [0.1, 0.5] for _, k in settled[4:])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["data=samm_long", "data.root=x", "talk.mp4"],
            "data=samm_long and talk.mp4: give the recordings of a dataset",
        ),
        (["data=samm_long"], "data.root"),
        (["data=samm_long", "data.root=nowhere"], "nowhere"),
        (["data=casme2", "data.root=x"], "data=casme2 has clips that are cut already, and no recordings: choose from"),
        (["recognise=outputs/study"], "recognise=outputs/study is for a dataset of recordings: give data= too"),
        (["data=samm_long", "data.root={samm}", "spotting.k=[0,1]"], "spotting.k=[0.0, 1.0]"),
        (["data=samm_long", "data.root={samm}", "recognise=nothing"], "nothing"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(samm, arguments, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = ran(*(text.format(samm=samm) for text in arguments))
    assert sentence in str(code)
    assert "\n" not in str(code).strip()
