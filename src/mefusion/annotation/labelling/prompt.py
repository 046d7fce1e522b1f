"""The prompt, which is made of the template `prompt.txt.j2`."""

import functools
import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2

from mefusion.annotation.labelling.settings import Modality, Picture

TEMPLATE = "prompt.txt.j2"


@dataclass(frozen=True)
class Prompt:
    """What the model is told of every segment.

    Attributes:
        instructions: the task, the labels and the form of the answer.
        hash: of the instructions and the template, 16 hex digits.
    """

    instructions: str
    hash: str


def make_prompt(labels: Mapping[str, str], modalities: Collection[Modality], picture: Picture) -> Prompt:
    """The prompt for a vocabulary.

    Args:
        labels: meaning of each.
        modalities: what is sent of a segment.
        picture: what the pictures show.
    """
    sent = [str(modality) for modality in modalities]
    instructions = _say("instructions", dict(labels), sent, picture == Picture.face)
    source = (resources.files(__package__) / TEMPLATE).read_text(encoding="utf-8")
    return Prompt(instructions, hashlib.sha256(f"{instructions}\0{source}".encode()).hexdigest()[:16])


def say_pictures(count: int, seconds: float) -> str:
    """What stands before the pictures."""
    return _say("pictures", count, seconds)


def say_sound() -> str:
    """What stands before the sound."""
    return _say("sound")


def say_transcript(words: str) -> str:
    """The block of the transcript: a JSON string, which no words can leave, nor begin a tag in."""
    quoted = json.dumps(words, ensure_ascii=False)
    for character in "<>\u2028\u2029":
        quoted = quoted.replace(character, f"\\u{ord(character):04x}")
    return _say("transcript", quoted)


def _say(macro: str, *arguments: Any) -> str:
    return str(getattr(_template(), macro)(*arguments)).strip()


@functools.cache
def _template() -> Any:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mefusion.annotation.labelling", "."),
        autoescape=False,  # it is plain text
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).module
