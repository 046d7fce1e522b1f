from pathlib import Path

import pandas as pd
import pytest
import yaml

from mefusion.common.errors import MefusionError
from mefusion.datasets.cas_me_3 import CasmeCubedSource
from mefusion.datasets.casme2 import Casme2Source
from mefusion.datasets.labels import label_clips
from mefusion.datasets.reading.counts import Counts, differences
from mefusion.datasets.samm import SammSource
from mefusion.datasets.schemes import DatasetLabels, Scheme
from mefusion.datasets.smic import SmicSource

THREE = {"negative": ["negative", "anger"], "positive": ["positive", "happiness"], "surprise": ["surprise"]}
CONF = Path(__file__).parents[2] / "conf" / "labels"
COUNTS = {source.dataset: source.counts for source in (Casme2Source, SammSource, CasmeCubedSource)} | {
    dataset: counts for dataset, _, counts in SmicSource.cameras.values()
}


def table(*emotions, dataset="mine", subjects=None):
    subjects = subjects or ["s1"] * len(emotions)
    rows = [
        {"dataset": dataset, "subject": f"{dataset}/{subject}", "clip_id": str(i), "emotion": emotion}
        for i, (emotion, subject) in enumerate(zip(emotions, subjects, strict=True))
    ]
    return pd.DataFrame(rows, columns=["dataset", "subject", "clip_id", "emotion", "objective_class"], dtype="string")


def test_emotions_become_classes_and_others_are_left_out():
    labelled = label_clips(table("anger", "Happiness ", "others", "surprise", None), Scheme("three", THREE))
    assert labelled["clip_id"].tolist() == ["0", "1", "3"]
    assert labelled["label"].tolist() == ["negative", "positive", "surprise"]
    assert labelled.index.tolist() == [0, 1, 2]


def test_the_table_itself_stays_as_it_is():
    clips = table("anger", "happiness", "surprise")
    label_clips(clips, Scheme("three", THREE))
    assert "label" not in clips


def test_a_class_without_clips_is_named_with_the_emotions_there_are():
    with pytest.raises(MefusionError) as error:
        label_clips(table("anger", "happiness", "fear"), Scheme("three", THREE))
    for part in ("labels=three", "surprise", "mine", "anger, fear, happiness"):
        assert part in str(error.value)


def test_a_scheme_that_a_dataset_cannot_have_names_those_it_has():
    five = Scheme("five", {name: [name] for name in ("disgust", "surprise", "others")})
    with pytest.raises(MefusionError) as error:
        label_clips(table("negative", "positive", "surprise", dataset="smic"), five, known=COUNTS)
    for part in ("labels=five", "disgust, others", "smic", "choose labels=three or labels=three_wide"):
        assert part in str(error.value)


def test_an_emotion_in_two_classes_is_named():
    scheme = Scheme("mine", {"bad": ["anger"], "worse": ["anger"]})
    with pytest.raises(MefusionError, match=r"labels=mine .*'anger'.* bad .*worse"):
        label_clips(table("anger"), scheme)


def test_a_dataset_may_have_classes_and_omissions_of_its_own():
    own = DatasetLabels(classes={**THREE, "negative": ["disgust"]}, leave_out=["s1/2"])
    scheme = Scheme("three", THREE, datasets={"casme2": own})
    emotions = ("anger", "disgust", "disgust", "happiness", "surprise")
    assert label_clips(table(*emotions, dataset="casme2"), scheme)["clip_id"].tolist() == ["1", "3", "4"]
    mixed = pd.concat([table(*emotions, dataset="casme2"), table(*emotions)], ignore_index=True)
    labelled = label_clips(mixed, scheme)
    assert labelled["subject"].str.cat(labelled["clip_id"], "/").tolist() == [
        *("casme2/s1/1", "casme2/s1/3", "casme2/s1/4", "mine/s1/0", "mine/s1/3", "mine/s1/4"),
    ]
    assert scheme.class_names(mixed) == ["negative", "positive", "surprise"]


def test_datasets_with_other_classes_cannot_share_a_scheme():
    scheme = Scheme("five", {"a": ["a"]}, datasets={"samm": DatasetLabels(classes={"b": ["b"]})})
    mixed = pd.concat([table("a"), table("b", dataset="samm")])
    with pytest.raises(MefusionError, match=r"labels=five has the classes a in mine and b in samm"):
        label_clips(mixed, scheme)


def test_a_scheme_without_classes_takes_the_values_of_its_column():
    clips = table("x", "x", "x").assign(objective_class=pd.array(["II", None, "I"], dtype="string"))
    scheme = Scheme("objective", {}, column="objective_class")
    assert label_clips(clips, scheme)["label"].tolist() == ["II", "I"]
    assert scheme.class_names(clips) == ["I", "II"]
    with pytest.raises(MefusionError, match=r"labels=objective .* objective classes are all missing"):
        label_clips(table("x"), scheme)


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_schemes_count_the_classes_that_are_expected(path):
    content = yaml.safe_load(path.read_text())
    assert content["name"] == path.stem
    datasets = {name: DatasetLabels(**own) for name, own in content.pop("datasets", {}).items()}
    scheme = Scheme(**content, datasets=datasets)
    for dataset, counts in COUNTS.items():
        if classes := counts.get(path.stem, Counts(0)).classes:
            assert set(scheme.classes_of(dataset)) == set(classes)


# Expected counts.


def test_the_figures_of_each_dataset():
    totals = {(dataset, name): counts.total for dataset, schemes in COUNTS.items() for name, counts in schemes.items()}
    assert totals["casme2", "five"] == 246
    assert totals["casme2", "three"] == 145
    assert totals["casme2", "three_wide"] == 156
    assert totals["casme2", "seven"] == 255
    assert totals["samm", "five"] == 136
    assert totals["samm", "three"] == 133
    assert totals["smic", "three"] == 164 == sum(COUNTS["smic"]["three"].per_subject.values())
    assert totals["smic_vis", "three"] == totals["smic_nir", "three"] == 71
    assert totals["cas_me_3", "three"] == 699
    assert totals["cas_me_3", "four"] == totals["cas_me_3", "seven"] == 860


KNOWN = {"d": {"three": Counts(2, {"negative": 2, "positive": 1}, per_subject={"d/s1": 2, "d/s2": 1})}}


def labelled(*labels):
    rows = [{"dataset": "d", "subject": f"d/{subject}", "label": label} for subject, label in labels]
    return pd.DataFrame(rows, columns=["dataset", "subject", "label"])


WHOLE = [("s1", "negative"), ("s1", "negative"), ("s2", "positive")]


def phrases(*labels, datasets=KNOWN, scheme="three"):
    return differences(labelled(*labels), scheme=scheme, datasets=datasets)


def test_a_whole_copy_differs_in_nothing():
    assert phrases(*WHOLE) == []


def test_missing_and_surplus_are_told_by_class_and_subject():
    assert phrases(("s1", "negative"), ("s1", "positive"), ("s1", "positive"), ("s9", "negative")) == [
        "d: positive 2 of 1 clips (1 surplus)",
        "d: d/s1 3 of 2 clips (1 surplus)",
        "d: d/s2 0 of 1 clips (1 missing)",
        "d: d/s9 is no subject of the dataset",
    ]
    assert phrases(*WHOLE[:2]) == [
        "d: positive 0 of 1 clips (1 missing)",
        "d: d/s2 0 of 1 clips (1 missing)",
        "d: 1 of 2 subjects (1 missing)",
    ]


@pytest.mark.parametrize("asked", [{"datasets": {}}, {"datasets": {"cas_me_2": {}}}, {"scheme": "mine"}])
def test_what_is_not_known_is_not_counted(asked):
    assert phrases(("s1", "negative"), **asked) == []
