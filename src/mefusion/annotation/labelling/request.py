"""The request about a segment: pictures, sound and words, as chat completions have them."""

import base64
import hashlib
import io
import json
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np

from mefusion.annotation.extraction.segments import Segment
from mefusion.annotation.labelling.answer import answer_schema
from mefusion.annotation.labelling.prompt import Prompt, make_prompt, say_pictures, say_sound, say_transcript
from mefusion.annotation.labelling.settings import ApiSettings, LabelSettings, Modality

RATE = 16_000
TRY_STEP = 1000  # of the seed; there are fewer runs
OVERHEAD = 200  # tokens of a message that are no text of ours


class Contents(Protocol):
    """What segments show and sound like, as `mefusion.annotation.extraction.contents.VideoContents` reads it."""

    def pictures(self, segment: Segment) -> list[np.ndarray]:
        """Pictures in the order of time, [H, W, 3] uint8 RGB."""
        ...

    def sound(self, segment: Segment) -> np.ndarray:
        """The sound, float32 mono at 16 kHz."""
        ...


@dataclass(frozen=True)
class Message:
    """What is sent of a segment.

    Attributes:
        parts: of the user's message.
        hash: of the segment's name and their content.
        size: bytes of pictures and sound, as files.
        tokens: upper bound of what the model reads, the instructions excluded.
    """

    parts: Sequence[Mapping[str, Any]]
    hash: str
    size: int
    tokens: int


@dataclass(frozen=True)
class Asker:
    """Makes requests.

    Attributes:
        settings: of labelling.
        prompt: see there.
        schema: of the answer.
    """

    settings: LabelSettings
    prompt: Prompt
    schema: Mapping[str, Any]

    @classmethod
    def of(cls, settings: LabelSettings) -> "Asker":
        """The asker for settings."""
        labels, api = settings.vocabulary.labels, settings.api
        prompt = make_prompt(labels, api.modalities, settings.request.picture)
        return cls(settings, prompt, answer_schema([*labels]))

    def message(self, segment: Segment, contents: Contents) -> Message:
        """What is sent of a segment.

        Raises:
            MefusionError: its video cannot be read any more.
        """
        request, budget, sent = self.settings.request, self.settings.budget, self.settings.api.modalities
        parts: list[dict[str, Any]] = []
        size = tokens = 0
        if Modality.pictures in sent:
            files = [jpeg_bytes(picture, request.quality) for picture in contents.pictures(segment)]
            parts.append(_text(say_pictures(len(files), segment.end - segment.start)))
            for file in files:
                url = f"data:image/jpeg;base64,{base64.b64encode(file).decode()}"
                parts.append({"type": "image_url", "image_url": {"url": url}})
            size += sum(map(len, files))
            tokens += len(files) * budget.tokens_per_picture
        if Modality.sound in sent:
            sound = contents.sound(segment)
            file = wav_bytes(sound)
            parts.append(_text(say_sound()))
            data = base64.b64encode(file).decode()
            parts.append({"type": "input_audio", "input_audio": {"data": data, "format": "wav"}})
            size += len(file)
            tokens += round(len(sound) / RATE * budget.tokens_per_second)
        if Modality.transcript in sent:
            parts.append(_text(say_transcript(segment.transcript)))
        tokens += OVERHEAD + sum(len(part.get("text", "")) for part in parts)
        # With the name: two segments may be the same to a model that is sent words alone.
        digest = hashlib.sha256(json.dumps([segment.name, *parts], sort_keys=True).encode()).hexdigest()
        return Message(parts, digest, size, tokens)

    def seed(self, run: int, number: int) -> int | None:
        """The seed of a try: with that of the try before, a wrong answer would come again."""
        seed = self.settings.api.seed
        return None if seed is None else seed + run + TRY_STEP * (number - 1)

    def body(self, message: Message, run: int, number: int) -> dict[str, Any]:
        """Arguments of a chat completion.

        Args:
            message: of the segment.
            run: its number, from 0.
            number: of the try, from 1.
        """
        api = self.settings.api
        body: dict[str, Any] = {
            "model": api.model,
            "messages": [
                {"role": "system", "content": self.prompt.instructions},
                {"role": "user", "content": list(message.parts)},
            ],
            str(api.token_limit): api.max_tokens,
        }
        if api.temperature is not None:
            body["temperature"] = api.temperature
        if (seed := self.seed(run, number)) is not None:
            body["seed"] = seed
        if api.structured:
            schema = {"name": "emotions", "strict": True, "schema": self.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body

    def key(self, message: Message, run: int) -> str:
        """What a call is known again by, 32 hex digits: model, prompt, schema, sampling, contents and run."""
        api = self.settings.api
        schema = self.schema if api.structured else None
        told = [api.model, self.prompt.hash, schema, *sampling_of(api), message.hash, run]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]

    def tokens(self, message: Message) -> int:
        """Upper bound of what the model reads in a call: at most a token a character of text."""
        return message.tokens + len(self.prompt.instructions) + len(json.dumps(self.schema))


def sampling_of(api: ApiSettings) -> tuple[float | None, int | None, int]:
    """Temperature, seed, and the limit of an answer's length."""
    return api.temperature, api.seed, api.max_tokens


def jpeg_bytes(picture: np.ndarray, quality: int) -> bytes:
    """A picture [H, W, 3] uint8 RGB as a JPEG file."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return data.tobytes()


def wav_bytes(sound: np.ndarray) -> bytes:
    """Sound, float32 mono at 16 kHz in -1..1, as a WAV file of 16 bits."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(sound, -1, 1) * 32767).round().astype("<i2").tobytes())
    return buffer.getvalue()


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}
