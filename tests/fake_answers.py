"""Answers that no model gave, for tests of what is made of them."""

from mefusion.annotation.labelling.answers import NOTICE, AnswerFile, Status
from mefusion.annotation.labelling.table import Judgement


def judgement(segment, run, status="ok", **intensities):
    return Judgement(segment, run, Status(status), intensities)


def line_of(segment, run, emotions, *, status="ok", key=None, rationale="Because.", vocabulary="own", **more):
    answer = {
        "visual": "seen", "audio": "heard", "text": "said", "rationale": rationale, "usable": status == "ok",
        "emotions": [{"label": label, "intensity": value} for label, value in emotions.items()],
        "reject_reason": "" if status == "ok" else "too dark",
    }  # fmt: skip
    return {
        "key": key or f"{segment.name}/{run}", "segment": segment.name, "start": segment.start, "end": segment.end,
        "run": run, "try": 1, "status": status, "raw": "", "answer": answer if status in ("ok", "unusable") else None,
        "error": "" if status in ("ok", "unusable") else f"a {status} sentence", "model": "asked", "prompt": "p",
        "model_returned": "returned", "vocabulary": vocabulary, "temperature": 1.0, "tokens_in": 1000,
        "tokens_out": 100, "usd": 0.003, "utc": "2026-01-01T00:00:00+00:00", "seconds": 1.5, "notice": NOTICE,
    }  # fmt: skip


def write_answers(folder, lines):
    file = AnswerFile(folder)
    for line in lines:
        file.append(line)
    file.close()
