"""What a valid answer of the model is."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Percent = Annotated[int, Field(ge=0, le=100)]


class InvalidAnswerError(ValueError):
    """An answer that breaks a rule, which the message names."""


class Emotion(BaseModel):
    """A label with its intensity, 0..100."""

    model_config = ConfigDict(extra="forbid", strict=True)

    label: str
    intensity: Percent


class Answer(BaseModel):
    """An answer: evidence from each source, the emotions, and why; or why there is no judgement."""

    model_config = ConfigDict(extra="forbid", strict=True)

    visual: str
    audio: str
    text: str
    emotions: list[Emotion]
    rationale: str
    usable: bool
    reject_reason: str


def answer_schema(labels: Sequence[str]) -> dict[str, Any]:
    """JSON schema of an answer; without ranges, which not every server takes."""
    string = {"type": "string"}
    emotion = _object({"label": {"type": "string", "enum": [*labels]}, "intensity": {"type": "integer"}})
    return _object(
        {
            "visual": string,
            "audio": string,
            "text": string,
            "emotions": {"type": "array", "items": emotion},
            "rationale": string,
            "usable": {"type": "boolean"},
            "reject_reason": string,
        }
    )


def parse_answer(text: str, labels: Sequence[str]) -> dict[str, Any]:
    """The answer in a model's text: its first JSON object, where its emotions with intensity 0 are left out.

    Args:
        text: of the model.
        labels: of the vocabulary.

    Returns:
        As `Answer`, plain.

    Raises:
        InvalidAnswerError: there is none, or it breaks a rule.
    """
    try:
        found = _first_object(text)
        json.dumps(found, ensure_ascii=False).encode()  # half a character cannot be written to a table
        answer = Answer.model_validate(found)
    except UnicodeEncodeError as error:
        raise InvalidAnswerError("a text holds half a character") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = " ".join(".".join(map(str, first["loc"])).split())
        raise InvalidAnswerError(f"{place[:100]}: {first['msg']}") from error
    given = [emotion.label for emotion in answer.emotions]
    if unknown := [label for label in given if label not in labels]:
        raise InvalidAnswerError(f"the label {unknown[0][:60]!r} is not in the vocabulary")
    if len({*given}) < len(given):
        raise InvalidAnswerError("a label is given twice")
    found = answer.model_dump()
    found["emotions"] = [emotion for emotion in found["emotions"] if emotion["intensity"]]
    if answer.usable and not found["emotions"]:
        raise InvalidAnswerError("no emotion is given, though the segment is called usable")
    if not answer.usable and not answer.reject_reason.strip():
        raise InvalidAnswerError("no reason is given why the segment is not usable")
    return found


def _first_object(text: str) -> Any:
    decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
    place = text.find("{")
    while place >= 0:
        try:
            return decoder.raw_decode(text, place)[0]
        except json.JSONDecodeError as error:
            if error.pos >= len(text.rstrip()) or "Unterminated" in error.msg:
                raise InvalidAnswerError("the JSON object is cut off") from error
            place = text.find("{", max(error.pos, place + 1))
        except RecursionError as error:
            raise InvalidAnswerError("the JSON is nested too deeply") from error
    raise InvalidAnswerError("there is no JSON object")


def _unique(pairs: Sequence[tuple[str, Any]]) -> Mapping[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise InvalidAnswerError("a key is given twice")
    return dict(pairs)


def _no_constant(name: str) -> Any:
    raise InvalidAnswerError(f"{name} is no number")


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [*properties],
        "additionalProperties": False,
    }
