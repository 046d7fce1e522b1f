import pandas as pd
import pytest

from mefusion.data.labels import label_clips
from mefusion.errors import MefusionError

THREE = {"negative": ["negative", "anger"], "positive": ["positive", "happiness"], "surprise": ["surprise"]}


def table(*emotions):
    return pd.DataFrame(
        {"clip_id": [str(i) for i in range(len(emotions))], "emotion": pd.array(emotions, dtype="string")}
    )


def test_emotions_become_classes_and_others_are_left_out():
    labelled = label_clips(table("anger", "Happiness ", "others", "surprise", None), THREE, scheme="three")
    assert labelled["clip_id"].tolist() == ["0", "1", "3"]
    assert labelled["label"].tolist() == ["negative", "positive", "surprise"]
    assert labelled.index.tolist() == [0, 1, 2]


def test_the_table_itself_stays_as_it_is():
    clips = table("anger", "happiness", "surprise")
    label_clips(clips, THREE, scheme="three")
    assert list(clips) == ["clip_id", "emotion"]


def test_a_class_without_clips_is_named_with_the_emotions_there_are():
    with pytest.raises(MefusionError) as error:
        label_clips(table("anger", "happiness", "fear"), THREE, scheme="three")
    for part in ("labels=three", "surprise", "anger, fear, happiness"):
        assert part in str(error.value)


def test_an_emotion_in_two_classes_is_named():
    with pytest.raises(MefusionError, match=r"labels=mine .*'anger'.* bad .*worse"):
        label_clips(table("anger"), {"bad": ["anger"], "worse": ["anger"]}, scheme="mine")
