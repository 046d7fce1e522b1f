"""One try of a call, and what came of it."""

import asyncio
import email.utils
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import openai

from mefusion.annotation.labelling.answers import Status
from mefusion.annotation.labelling.settings import ApiSettings
from mefusion.common.errors import first_line

KEY = "OPENAI_API_KEY"
LONGEST = 500  # characters of a server's sentence
AGAIN = (408, 409, 425, 429)  # of 4xx, those that another try may mend


@dataclass(frozen=True)
class Reply:
    """What came of a try.

    Attributes:
        status: `ok` if there is a text, which may still be invalid; else invalid, refused or failed.
        text: of the model.
        error: what was wrong, one sentence.
        wait: what the server asks to wait, s.
        limited: whether it has had too many requests.
        stops: whether no other call can do better.
        billed: whether the server may charge for it.
        model, fingerprint: as the server names them.
        tokens: read and written; None if the server does not tell.
    """

    status: Status
    text: str = ""
    error: str = ""
    wait: float | None = None
    limited: bool = False
    stops: bool = False
    billed: bool = True
    model: str | None = None
    fingerprint: str | None = None
    tokens: tuple[int, int] | None = None


def api_key() -> str:
    """The key, from the environment alone; empty if there is none, as for a server of one's own."""
    return os.environ.get(KEY, "").strip()


class Client:
    """Asks the server, once for each call of `ask`."""

    def __init__(self, settings: ApiSettings):
        self._timeout = settings.timeout_s
        self._key = api_key()
        self._client = openai.AsyncOpenAI(
            base_url=settings.base_url,
            api_key=self._key or "none",
            max_retries=0,
            timeout=settings.timeout_s,
        )

    async def ask(self, body: Mapping[str, Any]) -> Reply:
        """Send a request; whatever comes of it is a reply."""
        try:
            async with asyncio.timeout(self._timeout):
                completion = await self._client.chat.completions.create(**body)
            return _read(completion)
        except (TimeoutError, openai.APITimeoutError):
            return Reply(Status.failed, error=f"no answer within {self._timeout:g} s")
        except openai.APIStatusError as error:
            return self._refused(error)
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            return Reply(Status.failed, error=f"the connection failed: {self._told(first_line(cause))}")
        except (openai.OpenAIError, ValueError, TypeError, AttributeError, RecursionError) as error:
            return Reply(Status.failed, error=f"no answer of a model: {self._told(first_line(error))}")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _refused(self, error: openai.APIStatusError) -> Reply:
        code, sentence = error.status_code, self._told(_sentence(error))
        told = f"{code}: {sentence}"
        if error.code == "content_filter":
            return Reply(Status.refused, error=told, billed=False)
        if code == 429 and error.code != "insufficient_quota":
            return Reply(Status.failed, error=told, wait=_wait(error), limited=True, billed=False)
        stops = 400 <= code < 500 and (code not in AGAIN or code == 429)
        return Reply(Status.failed, error=told, wait=_wait(error), stops=stops, billed=False)

    def _told(self, text: str) -> str:
        """A sentence of the server, without the key, which some servers repeat."""
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        if len(self._key) >= 8:
            text = text.replace(self._key, "***")
        return text[:LONGEST]


def _read(completion: Any) -> Reply:
    choices = getattr(completion, "choices", None)
    if not choices:  # HTML with 200 comes as a text, and an error within JSON without choices
        found = completion if isinstance(completion, str) else getattr(completion, "error", None)
        told = f": {first_line(ValueError(str(found)))[:100]}" if found else ""
        return Reply(Status.failed, error=f"the server's answer has no choices{told}")
    choice = choices[0]
    usage, message = completion.usage, choice.message
    facts: dict[str, Any] = {
        "model": _text(completion.model),
        "fingerprint": _text(completion.system_fingerprint),
        "tokens": None if usage is None else (int(usage.prompt_tokens), int(usage.completion_tokens)),
    }
    text = _text(message.content) or ""
    if choice.finish_reason == "content_filter":
        return Reply(Status.refused, text, "the server's content filter", **facts)
    if refusal := _text(getattr(message, "refusal", None)):
        return Reply(Status.refused, text or refusal, "the model refuses", **facts)
    if choice.finish_reason == "length":
        return Reply(Status.invalid, text, "the answer is cut off at api.max_tokens", **facts)
    return Reply(Status.ok, text, **facts)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _sentence(error: openai.APIStatusError) -> str:
    body = error.body
    if isinstance(body, dict):
        for name in ("message", "detail", "error"):
            if body.get(name):
                return body[name] if isinstance(body[name], str) else json.dumps(body[name])
    return str(body or error.response.text or error.response.reason_phrase)


def _wait(error: openai.APIStatusError) -> float | None:
    """What the server asks to wait, s: a number, or a date."""
    headers = error.response.headers
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = unit * float(headers[name])
            return seconds if 0 <= seconds < float("inf") else None
        except (KeyError, ValueError):
            pass
    date = email.utils.parsedate_tz(headers.get("retry-after", ""))
    return None if date is None else max(email.utils.mktime_tz(date) - time.time(), 0.0)
