"""Run the bad inputs."""

from pathlib import Path

from .cases import Case
from .judging import SILENT, Verdict, files_below, judge, temporary_files
from .running import Done, Server, Started
from .templates import Templates

WAS_RUN = "*-was-run"
"""What harmful files of the tables write if they are taken for code."""


def run_case(case: Case, place: Path, templates: Templates, server: Server) -> Verdict:
    """Copy a case's folder to a place, change it, run its commands there and judge what they say and leave.

    Args:
        case: the case.
        place: folder that it runs in; what is there is removed.
        templates: the folders that cases begin with.
        server: runs the commands that need no process of their own.
    """
    templates.copy(case.template, place, server)
    if case.change:
        case.change(place)
    before, hidden = files_below(place), temporary_files(place)
    done: list[Done] = []
    for command in case.commands:
        options = {"environment": case.environment, "limits": case.limits}
        one = Started(command, place, **options).end() if case.alone else server.run(command, place, **options)
        done.append(one)
        if one.hung:
            break
    outcome, why = judge(case, done)
    if list(place.glob(WAS_RUN)):
        outcome, why = SILENT, "a command that the file holds was run"
    return Verdict(
        case.kind,
        case.name,
        outcome,
        why,
        lost=sorted(name for name in before - files_below(place) if Path(name).name not in case.may_go),
        left=[name for name in temporary_files(place) if name not in hidden],
        orphans=[process.command for one in done for process in one.left],
        done=done,
    )
