"""`hydra/launcher=processes`: a Hydra launcher that runs each job of a sweep in processes of its own.

Hydra's own launcher runs all jobs of `-m` in one process. There, Lightning's child processes would repeat the whole
sweep, and loggers would share one run. Here, each job is the same command without `-m`; where processes are free, more
of them share the folds of a job, see `mefusion.processes.scheduling`. A study that is known to be complete needs none.
"""

import json
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from mefusion.common.errors import JobsFailed, MefusionError
from mefusion.configuration.launching import RESULT_VARIABLE, train_command
from mefusion.processes.assignments import WORKER_VARIABLE, Event
from mefusion.processes.jobs import Job
from mefusion.processes.machine import cores, places_for, share_of_threads, visible_gpus
from mefusion.processes.scheduling import Scheduler, state_of_exit

if TYPE_CHECKING:
    from mefusion.configuration.complete import Note


@dataclass
class LauncherConfig:
    """`n_jobs`: processes at once; null means those of `processes=`, or their default."""

    _target_: str = "hydra_plugins.mefusion_launcher.ProcessLauncher"
    n_jobs: int | None = None


@dataclass(frozen=True)
class Outcome:
    """Outcome of a job.

    Attributes:
        number: number of the job.
        code: exit code; the negative number of the signal if one killed the job.
        seconds: duration of the job.
        log: file with everything that the job printed.
        last_line: the last line that it printed.
        result: result that it wrote: `complete`, whether its study is; `uf1` and `objective`, which may be null; and
            `trained`, the number of folds that it ran.
    """

    number: int
    code: int
    seconds: float
    log: Path
    last_line: str
    result: dict[str, Any]

    @property
    def state(self) -> str:
        """`done`, `complete before`, `folds missing`, `failed`, `stopped`, or `killed by` and the signal."""
        if self.code:
            return state_of_exit(self.code)
        if not self.result.get("complete"):
            return "folds missing"
        return "done" if self.result["trained"] else "complete before"


class ProcessLauncher(Launcher):
    """Runs the jobs of a sweep, `n_jobs` processes at once, and prints each line with the job's number."""

    def __init__(self, n_jobs: int | None = None) -> None:
        self.n_jobs = n_jobs
        self._lock = threading.Lock()

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `launch`."""
        self.config, self.hydra_context = config, hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all jobs. A job that fails does not stop the others.

        Raises:
            JobsFailed: jobs failed or were killed; the message names each.
            MefusionError: `n_jobs` is not above 0.
        """
        if self.n_jobs is not None and self.n_jobs < 1:
            raise MefusionError(f"hydra.launcher.n_jobs={self.n_jobs}: give a number above 0, or null for the default")
        logs = Path(self.config.hydra.sweep.dir).absolute()
        logs.mkdir(parents=True, exist_ok=True)
        jobs, names = dict(enumerate(job_overrides, initial_job_idx)), distinct_overrides(job_overrides)
        for number in jobs:
            for name in ("result", "log"):
                (logs / f"{number}.{name}").unlink(missing_ok=True)
        known = {number: note for number, overrides in jobs.items() if (note := self._note(overrides))}
        for number, note in known.items():
            self._say(number, [" ".join(jobs[number])])
            self._say(number, note.lines, logs)
        ran = self._run_all({number: jobs[number] for number in jobs.keys() - known.keys()}, logs)
        outcomes = [ran[number] if number in ran else _known(number, known[number], logs) for number in jobs]
        _summarise(outcomes, names)
        results = [_result(outcome, overrides) for outcome, overrides in zip(outcomes, job_overrides, strict=True)]
        if failed := [f"job {o.number} ({name})" for o, name in zip(outcomes, names, strict=True) if o.code]:
            raise JobsFailed(
                f"{len(failed)} of {len(outcomes)} jobs failed: {'; '.join(failed)}; see their logs in {logs}, solve "
                "the problem and run the same command again: it runs only what is missing",
                results,
            )
        return results

    def _note(self, overrides: Sequence[str]) -> "Note | None":
        """What is known of a job's study, if it is complete; its process would say the same, after seconds."""
        from mefusion.configuration.complete import note_path, read_note

        assert self.hydra_context is not None
        try:
            config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
            with open_dict(config):
                del config["hydra"]
            path = note_path(config)
            return read_note(path) if path else None
        except Exception:  # of whatever kind: its job will tell, and the others go on
            return None

    def _run_all(self, jobs: Mapping[int, Sequence[str]], logs: Path) -> dict[int, Outcome]:
        """Run the jobs of these numbers and overrides."""
        if not jobs:
            return {}
        gpus = visible_gpus() if OmegaConf.select(self.config, "trainer.accelerator") != "cpu" else []
        shared = OmegaConf.select(self.config, "processes_per_gpu") or 1
        at_once = self.n_jobs or OmegaConf.select(self.config, "processes") or len(gpus) * shared or cores()
        environment = share_of_threads(min(at_once, len(jobs)))
        if environment:  # which the processes of a job share
            environment[WORKER_VARIABLE] = str(math.ceil(at_once / len(jobs)))
        running = []
        for number, overrides in sorted(jobs.items()):
            own = environment | {RESULT_VARIABLE: str(logs / f"{number}.result")}
            running.append(Job(number, train_command(self.config.get("hydra"), overrides), own, guard_memory=True))

        def tell(job: Job, event: Event) -> None:
            if event.kind in ("line", "lost"):
                self._say(job.number, [event.text], logs)
            elif event.kind == "begun" and not job.helped:
                (logs / f"{job.number}.log").touch()  # the table names it, though the job may print nothing
                self._say(job.number, [" ".join(jobs[job.number])])

        scheduler = Scheduler(running, places_for(at_once, gpus), tell)
        try:
            scheduler.start()
            scheduler.wait()
        except BaseException:
            scheduler.stop()
            raise
        return {job.number: _outcome(job, logs) for job in running}

    def _say(self, number: int, lines: Sequence[str], logs: Path | None = None) -> None:
        """Print lines of a job, and write them to its log if the folder of the logs is given."""
        with self._lock:
            for line in lines:
                print(f"[{number}] {line}", flush=True)
            if logs is not None:
                with (logs / f"{number}.log").open("a", encoding="utf-8") as log:
                    log.writelines(f"{line}\n" for line in lines)


def _known(number: int, note: "Note", logs: Path) -> Outcome:
    return Outcome(number, 0, 0.0, logs / f"{number}.log", note.lines[-1], dict(note.result))


def _outcome(job: Job, logs: Path) -> Outcome:
    path = logs / f"{job.number}.result"
    left = json.loads(path.read_text()) if path.exists() else {}
    if left and job.laps:  # folds of all its processes; the one that wrote the result knows of some only
        left["trained"] = len(job.laps)
    code, last_line = job.code, job.last_line
    if job.failed and not code:
        code, last_line = 1, f"mefusion-train: {next(iter(job.failed.values()))}"
    return Outcome(job.number, code, job.seconds, logs / f"{job.number}.log", last_line, left)


def _result(outcome: Outcome, overrides: Sequence[str]) -> JobReturn:
    """What became of a job, as Hydra writes it; see `JobsFailed`."""
    if not outcome.code:
        value = outcome.result.get("objective")  # null while folds are missing
        return JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED, _return_value=value)
    status = JobStatus.FAILED if outcome.state == "failed" else JobStatus.UNKNOWN
    reason = f"{outcome.state}: {outcome.last_line or 'it printed nothing'}"
    return JobReturn(overrides=list(overrides), status=status, _return_value=reason)


def distinct_overrides(jobs: Sequence[Sequence[str]]) -> list[str]:
    """The overrides of each job that not all jobs have."""
    shared = set.intersection(*map(set, jobs)) if len(jobs) > 1 else set()
    return [" ".join(override for override in job if override not in shared) for job in jobs]


def _summarise(outcomes: Sequence[Outcome], names: Sequence[str]) -> None:
    """Print a table of the jobs, and below it the last line and the log of each job that failed."""
    from rich.console import Console
    from rich.table import Table

    table = Table("job", "overrides", "state", "UF1", "seconds")
    for outcome, name in zip(outcomes, names, strict=True):
        uf1 = outcome.result.get("uf1")
        score = "-" if uf1 is None else f"{uf1:.3f}"
        table.add_row(str(outcome.number), name, outcome.state, score, f"{outcome.seconds:.0f}")
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(table)
    for outcome in outcomes:
        if outcome.code:
            line = outcome.last_line or "it printed nothing"
            console.print(f"[{outcome.number}] {outcome.state}: {line} ({outcome.log})")


ConfigStore.instance().store(group="hydra/launcher", name="processes", node=LauncherConfig, provider="mefusion")
