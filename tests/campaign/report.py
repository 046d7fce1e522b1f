"""What the campaign found: a table for the terminal and for Markdown, every fault, and a CSV file of all cases."""

import csv
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from .judging import BROKEN, CLEAR, HANG, SILENT, TRACEBACK, UNCLEAR, Verdict

HEADER = (
    *("kind", "tried", "one clear sentence", "unclear", "silent", "traceback", "hang", "broken"),
    *("lost", "left over", "orphans"),
)
CELLS = (
    *("kind", "name", "outcome", "why", "lost", "left over", "orphans"),
    *("code", "seconds", "command", "stderr"),
)
SHOWN = 1200  # characters of a fault's output


def row(kind: str, verdicts: Sequence[Verdict]) -> list[str]:
    """Counts of one kind."""
    outcomes = [verdict.outcome for verdict in verdicts]
    counts = [outcomes.count(outcome) for outcome in (CLEAR, UNCLEAR, SILENT, TRACEBACK, HANG, BROKEN)]
    extras = [sum(bool(getattr(verdict, name)) for verdict in verdicts) for name in ("lost", "left", "orphans")]
    return [kind, *map(str, [len(verdicts), *counts, *extras])]


def markdown(verdicts: Sequence[Verdict]) -> str:
    """The table, a row for each kind."""
    by_kind: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_kind.setdefault(verdict.kind, []).append(verdict)
    lines = [list(HEADER), *(row(kind, some) for kind, some in by_kind.items()), row("all", verdicts)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(map(str.ljust, line, widths))} |" for line in lines)


def fault(verdict: Verdict) -> str:
    """Everything that is wrong with a case: its commands, and what they said."""
    problems = [verdict.outcome if verdict.outcome != CLEAR else "", verdict.why]
    extras = {"lost": verdict.lost, "left over": verdict.left, "orphans": verdict.orphans}
    problems += [f"{name}: {', '.join(found)}" for name, found in extras.items() if found]
    lines = [f"### {verdict.kind}/{verdict.name}", "", "; ".join(filter(None, problems)), ""]
    for done in verdict.done:
        said = [f"$ {shlex.join(done.command)}", *_ending(done.out), *_ending(done.err), f"[exit code {done.code}]"]
        lines += ["```", *said, "```", ""]
    return "\n".join(lines)


def _ending(text: str) -> list[str]:
    text = text.strip()
    return [text if len(text) <= SHOWN else f"... {text[-SHOWN:]}"] if text else []


def write_report(folder: Path, verdicts: Sequence[Verdict], title: str) -> None:
    """Write report.md and cases.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    faults = [fault(verdict) for verdict in verdicts if not verdict.good]
    text = [f"# {title}", "", markdown(verdicts), "", f"## Faults: {len(faults)}", "", *faults]
    (folder / "report.md").write_text("\n".join(text), encoding="utf-8")
    with (folder / "cases.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(CELLS)
        writer.writerows(_cells(verdicts))


def _cells(verdicts: Iterable[Verdict]) -> Iterable[list[object]]:
    for verdict in verdicts:
        last = verdict.done[-1] if verdict.done else None
        yield [
            *(verdict.kind, verdict.name, verdict.outcome, verdict.why),
            *("; ".join(found) for found in (verdict.lost, verdict.left, verdict.orphans)),
            *(last.code if last else "", f"{sum(one.seconds for one in verdict.done):.1f}"),
            *((shlex.join(last.command), last.err.strip()[-2000:]) if last else ()),
        ]
