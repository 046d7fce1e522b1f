"""Interruptions: a command is stopped, run again until it completes, and compared with an uninterrupted run.

Half of them come at a random time of an uninterrupted run: SIGKILL to the command, Ctrl-C (SIGINT to all its
processes) or SIGTERM to the command. The other half are SIGKILL at a random rename, before or after it, since files are
written by renaming.
"""

import os
import random
import shutil
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .contents import contents, differences
from .judging import CLEAR, HANG, TRACEBACK, UNCLEAR, Verdict, has_traceback, is_one_sentence, temporary_files
from .processes import catches, seconds_used
from .running import PATIENCE, REPOSITORY, Done, Server, Started
from .templates import SMALL, Templates

STOP = 3.0  # seconds within which a command must end after Ctrl-C or SIGTERM
GONE = 1.0  # seconds within which its processes must end after it was killed
STARTING = 1.0  # seconds of processor time that Python and the imports have before a signal comes
AGAIN = 3  # runs that a killed command has to complete
HOOK = REPOSITORY / "tests" / "campaign" / "at_rename"

QUICK = ("data.subjects=2", "data.clips_per_class=1", "data.frames=[3,4]", "clip_length=2")
THREE = ("data.subjects=3", "data.clips_per_class=1", "data.frames=[8,9]")


@dataclass(frozen=True)
class Scenario:
    """A command that is interrupted, and those that make what it needs."""

    name: str
    command: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()
    share: int = 1


SCENARIOS = (
    Scenario("prepare", ("mefusion-prepare", *QUICK, "workers=2"), share=3),
    Scenario(
        "train",
        ("mefusion-train", *THREE, *SMALL, "trainer.max_epochs=2", "model.training.batch_size=2", "rule=inner_val"),
        before=(("mefusion-prepare", *THREE),),
        share=4,
    ),
    Scenario(
        "sweep",
        ("mefusion-train", "-m", *QUICK, "model=majority,ststnet", "trainer=smoke", "output_dir=outputs/sweep"),
        before=(("mefusion-prepare", *QUICK),),
        share=2,
    ),
    Scenario(
        "report",
        ("mefusion-report", "outputs"),
        before=(
            ("mefusion-prepare", *QUICK),
            ("mefusion-train", *QUICK, "model=majority", "trainer=smoke"),
            ("mefusion-train", *QUICK, "model=ststnet", "trainer=smoke"),
        ),
        share=2,
    ),
)


@dataclass(frozen=True)
class Kill:
    """One interruption.

    Attributes:
        scenario: what is interrupted.
        number: its number, for its title.
        how: the signal.
        moment: a share of the run: of its time, or of its renames.
        at_rename: whether it comes at a rename.
        after: whether it comes after the rename, or before.
    """

    scenario: Scenario
    number: int
    how: signal.Signals
    moment: float
    at_rename: bool = False
    after: bool = False

    @property
    def title(self) -> str:
        """Its name in the report."""
        return f"kills/{self.scenario.name}/{self.number:03d} {self.what}"

    @property
    def what(self) -> str:
        """The signal and the moment, in words."""
        if self.at_rename:
            return f"{self.how.name} {'after' if self.after else 'before'} the rename at {self.moment:.0%}"
        return f"{self.how.name} at {self.moment:.0%} of the time"


def plan_kills(scenarios: Sequence[Scenario], count: int, *, seed: int) -> list[Kill]:
    """Interruptions of scenarios, as many for each as its share; the same for the same seed."""
    numbers, kills = random.Random(seed), []
    turns = [scenario for scenario in scenarios for _ in range(scenario.share)]
    for number in range(count if turns else 0):
        scenario, moment = turns[number % len(turns)], numbers.random()
        if numbers.random() < 0.5:
            kills.append(Kill(scenario, number, signal.SIGKILL, moment, True, numbers.random() < 0.5))
        else:
            how = numbers.choice([signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
            kills.append(Kill(scenario, number, how, moment))
    return kills


@dataclass(frozen=True)
class Reference:
    """An uninterrupted run: its time, its number of renames, and what it made."""

    seconds: float
    renames: int
    made: dict[str, str]


class References:
    """Makes the uninterrupted run of each scenario in each place, and compares interrupted ones with it.

    Each place has its own, since clip tables hold the paths of files.

    Args:
        folder: receives the folders that scenarios begin with.
        templates: makes the first of them.
    """

    def __init__(self, folder: Path, templates: Templates) -> None:
        self._folder, self._templates = folder, templates
        self._known: dict[Path, Reference] = {}

    def run(self, kill: Kill, place: Path, server: Server) -> Verdict:
        """Interrupt a scenario's command in a place, run it again until it completes, and judge all of it."""
        start = self._start(kill.scenario, place)
        if start not in self._known:  # one case at a time runs in a place
            self._known[start] = self._make(kill.scenario, place, server)
        reference = self._known[start]
        self._begin(kill.scenario, place)
        first, problems = interrupt(kill, reference, place)
        done = [first]
        while len(done) <= AGAIN and (done[-1].code or len(done) == 1):
            done.append(Started(kill.scenario.command, place).end())
        if done[-1].code:
            problems.append(f"it does not complete: exit code {done[-1].code}")
        outcome = UNCLEAR if problems else CLEAR
        if any(map(has_traceback, done)):
            outcome = TRACEBACK
        if any(one.hung for one in done):
            outcome = HANG
        return Verdict(
            "kills: " + kill.scenario.name,
            kill.title.rpartition("/")[2],
            outcome,
            "; ".join(problems),
            lost=differences(reference.made, contents(place)),
            left=temporary_files(place),
            orphans=[process.command for one in done for process in one.left],
            done=done,
        )

    def _start(self, scenario: Scenario, place: Path) -> Path:
        """What a scenario begins with in a place."""
        return self._folder / f"{scenario.name}-{place.name}"

    def _begin(self, scenario: Scenario, place: Path) -> None:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self._start(scenario, place), place)

    def _make(self, scenario: Scenario, place: Path, server: Server) -> Reference:
        """Prepare a scenario's folder and run its command twice without interruption.

        Raises:
            RuntimeError: a command failed, or the two runs differ, so that nothing can be compared with them.
        """
        start = self._start(scenario, place)
        self._templates.copy("empty", place, server)
        for command in scenario.before:
            _succeed(server.run(command, place, seconds=PATIENCE))
        shutil.rmtree(start, ignore_errors=True)
        shutil.copytree(place, start)
        runs = []
        for _ in range(2):
            self._begin(scenario, place)
            count = place.with_name(f"{place.name}.renames")
            count.unlink(missing_ok=True)
            done = Started(scenario.command, place, environment=_hook(CAMPAIGN_RENAMES=str(count)))
            done = _succeed(done.end(within=PATIENCE))
            runs.append(Reference(done.seconds, count.stat().st_size, contents(place)))
        if wrong := differences(runs[0].made, runs[1].made):
            raise RuntimeError(f"two uninterrupted runs of {scenario.name} differ: {'; '.join(wrong)}")
        return runs[1]


def _succeed(done: Done) -> Done:
    if done.code:
        raise RuntimeError(f"{' '.join(done.command)} ended with {done.code}: {done.err}")
    return done


def _hook(**variables: str) -> dict[str, str]:
    return {"PYTHONPATH": str(HOOK), **variables}


def interrupt(kill: Kill, reference: Reference, place: Path) -> tuple[Done, list[str]]:
    """Run a command and interrupt it; returns what became of it, and what it did wrong."""
    if kill.at_rename:
        count = place.with_name(f"{place.name}.renames")
        count.unlink(missing_ok=True)
        variables = {
            "CAMPAIGN_RENAMES": str(count),
            "CAMPAIGN_KILL_AT": str(1 + int(kill.moment * reference.renames)),
            "CAMPAIGN_KILL_AFTER": str(int(kill.after)),
        }
        return Started(kill.scenario.command, place, environment=_hook(**variables)).end(grace=GONE), []
    started = Started(kill.scenario.command, place)
    with suppress_timeout():
        started.process.wait(kill.moment * reference.seconds)
    if kill.how != signal.SIGKILL:
        _wait_until_started(started)
    if started.process.poll() is not None:  # it was faster than before
        return started.end(), []
    moment = time.monotonic()
    if kill.how == signal.SIGINT:
        os.killpg(started.process.pid, kill.how)  # as a terminal does it
    else:
        os.kill(started.process.pid, kill.how)
    if kill.how == signal.SIGKILL:
        return started.end(grace=GONE), []
    with suppress_timeout():
        started.process.wait(4 * STOP)
    took = time.monotonic() - moment
    done = started.end(grace=max(STOP - took, 0.1))
    return done, _signal_problems(kill, done, took)


def suppress_timeout() -> suppress:
    """Let a wait end."""
    import subprocess

    return suppress(subprocess.TimeoutExpired)


def _wait_until_started(started: Started) -> None:
    """Wait until a command listens to SIGTERM, or has had the time to; Python itself ends with a traceback."""
    pid = started.process.pid
    while started.process.poll() is None and not catches(pid, signal.SIGTERM) and seconds_used(pid) < STARTING:
        time.sleep(0.01)


def _signal_problems(kill: Kill, done: Done, took: float) -> list[str]:
    problems = []
    if done.code == 0:  # the signal came when everything was done
        return problems
    if done.code != 128 + kill.how:
        problems.append(f"exit code {done.code} instead of {128 + kill.how}")
    if not is_one_sentence(done):
        problems.append(f"{len(done.err.splitlines())} lines on stderr instead of one sentence")
    if took > STOP:
        problems.append(f"it took {took:.1f} s to stop")
    return problems
