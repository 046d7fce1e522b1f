"""The campaign's command line; see the package's text."""

import argparse
import contextlib
import queue
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .inputs import run_case
from .judging import BROKEN, Verdict
from .kills import SCENARIOS, References, plan_kills
from .report import markdown, write_report
from .running import Server
from .tables import TABLES
from .templates import Templates

Work = Callable[[Path, Server], Verdict]
"""Runs one case in a folder."""


def main() -> int:
    """Run the campaign; returns 1 if a goal is missed."""
    options = _parser().parse_args()
    folder = options.work or Path(tempfile.mkdtemp(prefix="campaign-"))
    folder = folder.absolute()
    try:
        work = _work(options, folder)
        if options.list:
            print(*work, sep="\n")
            return 0
        if not work:
            sys.exit(f"campaign: no case fits --only {options.only}: choose from {', '.join([*TABLES, 'kills'])}")
        start = time.monotonic()
        verdicts = run_all(work, folder, jobs=options.jobs)
        minutes = (time.monotonic() - start) / 60
    finally:
        if not options.work:
            shutil.rmtree(folder)
    title = f"Campaign: {len(verdicts)} cases with seed {options.seed}, {minutes:.0f} minutes"
    write_report(options.output, verdicts, title)
    print(f"\n{markdown(verdicts)}\n\n{title}: {options.output / 'report.md'}")
    return 0 if all(verdict.good for verdict in verdicts) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=sys.modules[__package__].__doc__)
    parser.add_argument("--kills", type=int, default=0, help="number of interruptions, shared out among the scenarios")
    parser.add_argument("--inputs", default=None, help="all, none, or tables of bad inputs with commas between them")
    parser.add_argument("--only", default="", help="a table or a case of it, as overrides/rule=best, or kills/train")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the interruptions")
    parser.add_argument("--jobs", type=int, default=2, help="cases at once")
    parser.add_argument("--output", type=Path, default=Path("outputs/campaign"), help="folder of the report")
    parser.add_argument("--work", type=Path, help="keep what cases begin with, and the last ones, in this folder")
    parser.add_argument("--list", action="store_true", help="list the cases and end")
    return parser


def _work(options: argparse.Namespace, folder: Path) -> dict[str, Work]:
    """The chosen cases by their titles: interruptions first, since they take longest."""
    templates = Templates(folder / "templates")
    references = References(folder / "references", templates)
    given = options.inputs or ("none" if options.kills and not options.only else "all")
    tables = TABLES if given == "all" else {} if given == "none" else {name: TABLES[name] for name in given.split(",")}
    scenarios = [scenario for scenario in SCENARIOS if f"kills/{scenario.name}".startswith(options.only)]
    work: dict[str, Work] = {}
    for kill in plan_kills(scenarios, options.kills, seed=options.seed):
        work[kill.title] = lambda place, server, kill=kill: references.run(kill, place, server)
    for case in (case for cases in tables.values() for case in cases):
        if case.title.startswith(options.only):
            work[case.title] = lambda place, server, case=case: run_case(case, place, templates, server)
    return work


def run_all(work: dict[str, Work], folder: Path, *, jobs: int) -> Sequence[Verdict]:
    """Run all cases, so many at once, and print a line for each that is not as it must be."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for title in work:
        waiting.put(title)
    found: dict[str, Verdict] = {}

    def run_some(number: int) -> None:
        server = Server()
        with contextlib.suppress(queue.Empty):
            while True:
                title = waiting.get_nowait()
                try:
                    verdict = work[title](folder / f"job{number}", server)
                except Exception as error:  # the other cases go on
                    kind, _, name = title.partition("/")
                    verdict = Verdict(kind, name, BROKEN, f"the case cannot be run: {type(error).__name__}: {error}")
                found[title] = verdict
                mark = "" if verdict.good else f"{verdict.outcome}: {title}: {verdict.why}"
                print(f"[{len(found)}/{len(work)}] {mark}" if mark else ".", end="\n" if mark else "", flush=True)
        server.close()

    threads = [threading.Thread(target=run_some, args=(number,)) for number in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[title] for title in work]


if __name__ == "__main__":
    sys.exit(main())
