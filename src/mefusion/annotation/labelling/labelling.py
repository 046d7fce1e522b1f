"""Stage label: ask the model about each segment, several times, within the budget, and never twice for one answer."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mefusion.annotation.extraction.segments import Segment
from mefusion.annotation.labelling.answer import InvalidAnswerError, parse_answer
from mefusion.annotation.labelling.answers import FINAL, NOTICE, AnswerFile, Line, Status, read_answers, write_way
from mefusion.annotation.labelling.budget import Budget
from mefusion.annotation.labelling.client import Client, Reply, api_key
from mefusion.annotation.labelling.request import Asker, Contents, Message
from mefusion.annotation.labelling.settings import LabelSettings, require_server
from mefusion.common.errors import MefusionError

TRIES = 6
GIVE_UP = 10  # calls in a row without an answer, before any came: the server is not there
LONGEST_WAIT = 60.0  # s, between two tries
LONGEST_ASKED = 600.0  # s; who asks to wait longer is asked another day
TOLD_EVERY = 30.0  # s

Say = Callable[[str], None]


@dataclass
class LabelResult:
    """What stage label gave.

    Attributes:
        answers: number of calls that have a final answer, those of earlier starts included.
        calls: number of all calls: segments times runs.
        requests, usd: spent, over all starts.
        problems: a sentence for each segment that has no answer because something failed, and for what stopped the run.
        statuses: number of calls of each status.
    """

    answers: int = 0
    calls: int = 0
    requests: int = 0
    usd: float = 0.0
    problems: list[str] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)


def label_segments(
    segments: Sequence[Segment], contents: Contents, settings: LabelSettings, folder: Path, say: Say
) -> LabelResult:
    """Ask the model about each segment, `settings.runs` times, and write every try to `answers.jsonl`.

    Args:
        segments: of a run.
        contents: gives their pictures and sound.
        settings: of labelling.
        folder: of the run.
        say: is told, in sentences, where data is sent and how far it has come.

    Raises:
        MefusionError: there is no model to ask, or the file of answers is damaged.
    """
    if settings.dry_run:
        return _estimate(segments, contents, settings, folder, say)
    require_server(settings.api)
    sent = ", ".join(settings.api.modalities)
    say(
        f"Sends {sent} of {len(segments)} segments, which show and sound like people, to {settings.api.base_url}, "
        f"model {settings.api.model}. Its answers are a model's labels, not truth."
    )
    return asyncio.run(_Labeller(segments, contents, settings, folder, say).run())


class Gate:
    """Holds all workers back while the server wants no requests."""

    def __init__(self) -> None:
        self._opens = 0.0

    def close(self, seconds: float) -> None:
        """Let nobody through for a time."""
        self._opens = max(self._opens, time.monotonic() + seconds)

    async def passed(self) -> None:
        """Wait until it is open; not all go through at once."""
        while (left := self._opens - time.monotonic()) > 0:
            await asyncio.sleep(left * random.uniform(1, 1.1))


class _Labeller:
    def __init__(
        self, segments: Sequence[Segment], contents: Contents, settings: LabelSettings, folder: Path, say: Say
    ):
        self._segments, self._contents, self._settings, self._say = segments, contents, settings, say
        self._asker = Asker.of(settings)
        self._file = AnswerFile(folder, api_key())
        self._way = {
            "model": settings.api.model,
            "prompt": self._asker.prompt.hash,
            "vocabulary": settings.vocabulary.name,
            "temperature": settings.api.temperature,
        }
        write_way(folder, self._way)
        self._budget = Budget(settings.budget, self._file.lines)
        self._done = _done(self._file.lines)
        self._invalid = Counter(line["key"] for line in self._file.lines if line["status"] == Status.invalid)
        self._gate, self._reading = Gate(), asyncio.Lock()
        self._result = LabelResult(calls=len(segments) * settings.runs)
        self._stopped: str | None = None
        self._answered, self._failures = False, 0
        self._told = time.monotonic()

    async def run(self) -> LabelResult:
        """Work on all segments, several at once."""
        self._client = Client(self._settings.api)
        waiting = iter(self._segments)

        async def work() -> None:
            for segment in waiting:
                if self._stopped is None:
                    await self._label(segment)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._settings.api.concurrency, len(self._segments))):
                    group.create_task(work())
        except* MefusionError as errors:  # such as a full disk
            raise errors.exceptions[0] from None
        finally:
            await self._client.close()
            self._file.close()
        result = self._result
        result.requests, result.usd = self._budget.requests, self._budget.usd
        if self._stopped:
            result.problems.append(f"{self._stopped}; {result.calls - result.answers} of {result.calls} calls are left")
        return result

    async def _label(self, segment: Segment) -> None:
        try:
            async with self._reading:  # one at a time, since it decodes
                message = await asyncio.to_thread(self._asker.message, segment, self._contents)
        except MefusionError as error:
            self._result.problems.append(f"{segment.name} cannot be sent: {error}")
            return
        failed: list[str] = []
        for run in range(self._settings.runs):
            if self._stopped is None:
                status, why = await self._answer(segment, message, run)
                if status is not None:
                    self._result.statuses[status] += 1
                    self._result.answers += status != Status.failed
                if status == Status.failed:
                    failed.append(why)
        if failed:
            count = f" in {len(failed)} of {self._settings.runs} runs" if self._settings.runs > 1 else ""
            self._result.problems.append(f"{segment.name} has no answer{count} after {TRIES} tries: {failed[-1]}")
        self._tell()

    async def _answer(self, segment: Segment, message: Message, run: int) -> tuple[Status | None, str]:
        """Ask until there is a final answer; the status is None where the run was stopped before."""
        key = self._asker.key(message, run)
        if key in self._done:
            return self._done[key], ""
        api, status, error = self._settings.api, Status.failed, ""
        for number in range(self._invalid[key] + 1, TRIES + 1):
            await self._gate.passed()
            if self._stopped is not None:
                return None, ""
            reply, line = await self._try(segment, message, run, number, key)
            if reply is None:
                return None, ""
            status, error = Status(line["status"]), line["error"]
            if status in FINAL:
                self._answered = True
                return status, ""
            if status == Status.invalid:
                self._answered = True
                continue
            if reply.stops or (reply.wait or 0) > LONGEST_ASKED:
                asked = f", and asks to wait for {reply.wait:.0f} s" if not reply.stops and reply.wait else ""
                self._stop(f"{api.base_url} says {error}{asked}")
                return None, ""
            wait = min(api.backoff_s * 2 ** (number - 1), LONGEST_WAIT) * random.uniform(1, 1.2)
            if reply.limited:
                self._gate.close(wait if reply.wait is None else reply.wait)
            elif number < TRIES:
                await asyncio.sleep(wait if reply.wait is None else reply.wait)
        if status == Status.failed:
            self._count_failure(error)
        return status, error

    async def _try(
        self, segment: Segment, message: Message, run: int, number: int, key: str
    ) -> tuple[Reply | None, Line]:
        """One request and its line; no reply if the budget does not allow it."""
        api = self._settings.api
        bound = self._budget.price(self._asker.tokens(message), api.max_tokens)
        if limit := await self._budget.reserve(bound):
            self._stop(f"the budget is reached: {limit}")
            return None, {}
        if self._stopped is not None:
            await self._budget.release(bound)
            return None, {}
        began, utc = time.monotonic(), datetime.now(UTC)
        reply = await self._client.ask(self._asker.body(message, run, number))
        usd = bound if reply.billed else 0.0
        if reply.tokens is not None:
            usd = self._budget.price(*reply.tokens)
        status, answer, error = self._judge(reply)
        line = {
            "key": key,
            "segment": segment.name,
            "start": segment.start,
            "end": segment.end,
            "run": run,
            "try": number,
            "status": status,
            "raw": reply.text,
            "answer": answer,
            "error": error,
            **self._way,
            "model_returned": reply.model,
            "fingerprint": reply.fingerprint,
            "seed": self._asker.seed(run, number),
            "tokens_in": reply.tokens[0] if reply.tokens else None,
            "tokens_out": reply.tokens[1] if reply.tokens else None,
            "usd": usd,
            "utc": utc.isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - began, 3),
            "notice": NOTICE,
        }
        self._file.append(line)
        await self._budget.settle(bound, usd)
        return reply, line

    def _judge(self, reply: Reply) -> tuple[Status, dict[str, Any] | None, str]:
        """Status, answer and error of a reply."""
        if reply.status != Status.ok:
            return reply.status, None, reply.error
        try:
            answer = parse_answer(reply.text, self._settings.labels)
        except InvalidAnswerError as error:
            return Status.invalid, None, str(error)
        if answer["usable"]:
            return Status.ok, answer, ""
        return Status.unusable, answer, ""

    def _stop(self, why: str) -> None:
        self._stopped = self._stopped or why

    def _count_failure(self, error: str) -> None:
        self._failures += 1
        if self._failures >= GIVE_UP and not self._answered:
            self._stop(f"{self._settings.api.base_url} has not answered any call: {error}")

    def _tell(self) -> None:
        if time.monotonic() - self._told >= TOLD_EVERY:
            self._told = time.monotonic()
            result, cost = self._result, f", {self._budget.usd:.2f} USD" if self._budget.usd else ""
            self._say(f"Labelling: {result.answers} of {result.calls} calls{cost}")


def _done(lines: Sequence[Line]) -> dict[str, Status]:
    """Status of each call that is not asked again: it has an answer, or was answered wrongly too often."""
    wrong = Counter(line["key"] for line in lines if line["status"] == Status.invalid)
    done = {key: Status.invalid for key, count in wrong.items() if count >= TRIES}
    return done | {line["key"]: Status(line["status"]) for line in lines if line["status"] in FINAL}


def _estimate(
    segments: Sequence[Segment], contents: Contents, settings: LabelSettings, folder: Path, say: Say
) -> LabelResult:
    """Tell what is still to be asked, and what it can cost."""
    asker, lines = Asker.of(settings), read_answers(folder)
    budget = Budget(settings.budget, lines)
    done = _done(lines)
    calls = size = tokens = 0
    result = LabelResult(calls=len(segments) * settings.runs, requests=budget.requests, usd=budget.usd)
    for segment in segments:
        try:
            message = asker.message(segment, contents)
        except MefusionError as error:
            result.problems.append(f"{segment.name} cannot be sent: {error}")
            continue
        left = sum(asker.key(message, run) not in done for run in range(settings.runs))
        calls, size, tokens = calls + left, size + left * message.size, tokens + left * asker.tokens(message)
        result.answers += settings.runs - left
    written = calls * settings.api.max_tokens
    say(
        f"Nothing is sent. {calls} of {result.calls} calls are left, {size / 1e6:.1f} MB of pictures and sound, "
        f"at most {tokens / 1e6:.2f} million tokens read and {written / 1e6:.2f} written, if no call fails."
    )
    if settings.budget.usd_per_million_input is None:
        say("The cost is not known: give budget.usd_per_million_input and budget.usd_per_million_output.")
    else:
        say(f"At most {budget.price(tokens, written):.2f} USD, beside {budget.usd:.2f} USD that were spent.")
    return result
