import json

import pytest
from misbehaving_server import GOOD

from mefusion.annotation.labelling.answer import InvalidAnswerError, answer_schema, parse_answer

LABELS = ("neutral", "surprise", "joy")


def changed(**changes):
    return json.dumps(GOOD | changes)


def emotions(*pairs):
    return [{"label": label, "intensity": intensity} for label, intensity in pairs]


def test_zeros_are_left_out():
    answer = parse_answer(changed(emotions=emotions(("joy", 40), ("surprise", 0))), LABELS)
    assert answer["emotions"] == [{"label": "joy", "intensity": 40}]


@pytest.mark.parametrize(
    "text",
    [
        changed(),
        f"Thinking {{of it}}...\n```json\n{changed()}\n``` {{}}",
        changed(emotions=emotions(("joy", 100))),
        changed(emotions=[], usable=False, reject_reason="no face"),
    ],
)
def test_valid(text):
    assert parse_answer(text, LABELS)["visual"] == "A smile."


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no JSON object"),
        ("joy", "no JSON object"),
        ("[1, 2]", "no JSON object"),
        (changed()[:-1], "cut off"),
        (changed()[:70], "cut off"),
        ('{"a":' * 100_000, "nested too deeply|cut off"),
        (changed(mood="good"), "mood: Extra inputs"),
        (json.dumps({name: value for name, value in GOOD.items() if name != "audio"}), "audio: Field required"),
        (changed(visual=None), "visual: "),
        (changed(emotions={}), "emotions: "),
        (changed(emotions=emotions(("joy", 101))), "less than or equal to 100"),
        (changed(emotions=emotions(("joy", -1))), "greater than or equal to 0"),
        (changed(emotions=emotions(("joy", 0.5))), "valid integer"),
        (changed(emotions=emotions(("joy", "50"))), "valid integer"),
        (changed(emotions=emotions(("joy", True))), "valid integer"),
        (changed(emotions=emotions(("joy", float("nan")))), "NaN is no number"),
        (changed(emotions=emotions(("Joy", 50))), "'Joy' is not in the vocabulary"),
        (changed(emotions=emotions(("joy", 50), ("joy", 60))), "given twice"),
        (changed(emotions=[]), "no emotion is given"),
        (changed(emotions=emotions(("joy", 0))), "no emotion is given"),
        (changed(usable="yes"), "usable: "),
        (changed(usable=False, emotions=[]), "no reason is given"),
        ('{"usable": true, ' + changed()[1:], "a key is given twice"),
        (changed(rationale="\ud800"), "half a character"),
        (changed(**{"\udfff": 1}), "half a character"),
    ],
)
def test_invalid(text, why):
    with pytest.raises(InvalidAnswerError, match=why):
        parse_answer(text, LABELS)


def test_the_schema_asks_for_what_is_valid_without_ranges():
    schema = answer_schema(LABELS)
    assert {*schema["required"]} == {*GOOD}
    assert schema["additionalProperties"] is False
    emotion = schema["properties"]["emotions"]["items"]
    assert emotion["properties"] == {"label": {"type": "string", "enum": [*LABELS]}, "intensity": {"type": "integer"}}
