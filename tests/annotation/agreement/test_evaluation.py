import json
from pathlib import Path

import pytest
import yaml
from fake_answers import line_of, write_answers
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from mefusion.annotation.agreement.evaluation import describe, evaluate_run
from mefusion.annotation.extraction.segments import Segment
from mefusion.annotation.labelling.settings import EvaluateSettings, MappingSettings
from mefusion.common.errors import MefusionError

GROUPS = Path(__file__).parents[3] / "conf" / "annotate"
MELD = """Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime
1,"also I was the point person, really",Chandler,neutral,neutral,0,0,8,21,"00:16:16,059","00:16:21,731"
2,You must have had your hands full.,The Interviewer,joy,positive,0,1,8,21,"00:16:21,940","00:16:23,442"
3,That I did.,Chandler,joy,positive,0,2,8,21,"00:16:23,442","00:16:26,389"
4,My duties? All right.,Chandler,surprise,positive,1,0,8,21,"00:16:34,452","00:16:40,917"
5,It is gone.,Chandler,sadness,negative,110,7,8,21,"00:16:34,452","00:16:40,917"
"""
IEMOCAP = (
    "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
    "[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]\nC-E2:\tNeutral;\t()\n\n"
    "[10.0100 - 11.3925]\tSes01F_impro01_F001\tang\t[2.5000, 2.5000, 2.5000]\n"
    "[14.8872 - 18.0175]\tSes01F_impro01_F002\txxx\t[2.5000, 2.5000, 2.5000]\n"
    "[20.0 - 24.0]\tSes01F_impro01_M000\tsad\t[2.5000, 2.5000, 2.5000]\n"
)


def vocabulary(name):
    return [*yaml.safe_load((GROUPS / "vocabulary" / f"{name}.yaml").read_text())["labels"]]


MAPPING = MappingSettings(**yaml.safe_load((GROUPS / "mapping" / "seven.yaml").read_text())).by_label()


def segment(video, start=0.0, end=2.0, number=1):
    return Segment(f"{video}-{number:03d}", video, Path(f"/videos/{video}.mp4"), start, end, 1, "p")


def evaluate(tmp_path, truth, text, segments, labels, runs=1):
    path = tmp_path / "truth.csv"
    path.write_text(text)
    return evaluate_run(tmp_path, segments, labels, MAPPING, runs, EvaluateSettings(truth, str(path)))


def test_meld_with_lost_clips_single_runs_and_majority(tmp_path):
    names = ("dia0_utt0", "dia0_utt1", "dia0_utt2", "dia1_utt0")
    segments = [segment(name) for name in names]
    runs = [
        [{"neutral": 50}, {"joy": 60}, {"anger": 70}],
        [{"joy": 50}, {"joy": 60}, {"joy": 70}],
        [{"anger": 50}, {"joy": 60}, {"anger": 70}],
    ]
    lines = [line_of(segments[n], run, runs[n][run]) for n in range(3) for run in range(3)]
    write_answers(tmp_path, [*lines, *(line_of(segments[3], run, {}, status="refused") for run in range(3))])
    found = evaluate(tmp_path, "meld", MELD, segments, vocabulary("meld7"), runs=3)
    assert (found["utterances"], found["answered"]) == (5, 3)
    assert found["lost"] == {"refused for the model": 1, "without a segment": 1}
    truth, voted = ["neutral", "joy", "joy"], ["anger", "joy", "anger"]
    assert found["majority"]["accuracy_answered"] == pytest.approx(accuracy_score(truth, voted))
    assert found["majority"]["accuracy_all"] == pytest.approx(1 / 5)
    assert found["majority"]["wf1"] == pytest.approx(f1_score(truth, voted, average="weighted"))
    assert found["majority"]["uar"] == pytest.approx(balanced_accuracy_score(truth, voted))
    assert sum(map(sum, found["majority"]["confusion"])) == 3
    assert found["single"]["accuracy_answered"] == {"mean": pytest.approx(5 / 9), "low": 1 / 3, "high": 2 / 3}
    assert json.loads((tmp_path / "evaluation.json").read_text()) == found
    assert "not truth" in found["notice"]
    assert describe(found)[0] == "Labels of a model, not truth, beside those of people (meld)."
    assert "5 utterances, 3 answered, lost: " in describe(found)[1]
    assert "1 refused for the model" in describe(found)[1]
    assert describe(found)[3].split() == ["accuracy", "answered", "0.556", "(0.333", "to", "0.667)", "0.333"]


def test_iemocap_finds_utterances_in_long_videos_and_leaves_other_labels_out(tmp_path):
    segments = [
        segment("Ses01F_impro01", 6.0, 8.0, 1),
        segment("Ses01F_impro01", 11.0, 14.0, 2),  # covers a quarter of the second utterance
        segment("Ses01F_impro01", 20.5, 23.5, 3),
    ]
    emotions = [{"neutral": 50}, {"anger": 20}, {"frustration": 30}]
    write_answers(tmp_path, [line_of(one, 0, own) for one, own in zip(segments, emotions, strict=True)])
    found = evaluate(tmp_path, "iemocap", IEMOCAP, segments, vocabulary("iemocap"))
    assert (found["utterances"], found["left_out"], found["answered"]) == (3, 1, 2)
    assert found["lost"] == {"without a segment": 1}
    assert found["majority"]["accuracy_answered"] == 0.5
    assert found["majority"]["accuracy_all"] == pytest.approx(1 / 3)


def test_a_manifest_with_other_labels_is_compared_after_mapping_both(tmp_path):
    segments = [segment("a"), segment("b")]
    write_answers(tmp_path, [line_of(segments[0], 0, {"Amusement": 50}), line_of(segments[1], 0, {"Horror": 20})])
    text = "clip_id,emotion\na,happiness\nb-001,anger\n"
    found = evaluate(tmp_path, "manifest", text, segments, vocabulary("cowen26"))
    assert len(found["classes"]) == 7
    assert (found["answered"], found["majority"]["accuracy_all"]) == (2, 0.5)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("clip_id,emotion\na,glee\n", "the label glee has no emotion to compare"),
        ("clip_id\na\n", "lacks the column emotion"),
        ("clip_id,emotion\n", "has no labelled utterance"),
        ("clip_id,emotion\na,anger\na,anger\n", "has a twice"),
        ('clip_id,emotion\n"a,anger\n', "cannot be read as a CSV file"),
    ],
)
def test_a_wrong_table_is_named(tmp_path, text, sentence):
    write_answers(tmp_path, [line_of(segment("a"), 0, {"Amusement": 50})])
    with pytest.raises(MefusionError, match=sentence):
        evaluate(tmp_path, "manifest", text, [segment("a")], vocabulary("cowen26"))


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(MefusionError, match=r"evaluate\.path is not given"):
        evaluate_run(tmp_path, [], ["a", "b"], {}, 1, EvaluateSettings("meld"))
    with pytest.raises(MefusionError, match="is not a file"):
        evaluate_run(tmp_path, [], ["a", "b"], {}, 1, EvaluateSettings("meld", str(tmp_path / "none.csv")))
    with pytest.raises(MefusionError, match="has no answers: run stage=label first"):
        evaluate(tmp_path, "meld", MELD, [], vocabulary("meld7"))
