"""`hydra/launcher=slurm`: the launcher of hydra-submitit-launcher, which tells what becomes of the jobs.

Submitit asks `sacct` for the states of its jobs, which many clusters do not answer, and waits for a job that was
cancelled for ever. Here `squeue` is asked, which every SLURM answers. A job's result is a file, as Submitit writes it.
"""

import io
import json
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from hydra_plugins.mefusion_launcher import distinct_overrides
from mefusion.common.errors import JobsFailed, MefusionError, first_line
from mefusion.configuration.launching import RESULT_VARIABLE
from mefusion.processes.stopping import Stopped

LOOK = 2.0  # seconds between two looks at the jobs
PATIENCE = 15.0  # seconds until a job that `squeue` no longer shows must have left its result on the shared disk
OVER = (
    *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL", "DEADLINE"),
    *("PREEMPTED", "REVOKED"),
)

with suppress(ImportError):  # hydra-submitit-launcher is an extra
    from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
    from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher

    class TellingSlurmLauncher(SlurmLauncher):
        """Runs each job of a sweep as jobs of a SLURM cluster: one, or `resources.shards` that share its folds."""

        def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
            """Submit the jobs as one array, and tell their states until all are over.

            Raises:
                JobsFailed: jobs failed or were cancelled; the message names each.
                MefusionError: `resources.shards` is not above 0.
            """
            assert self.config is not None
            if (shards := int(self.config.resources.shards)) < 1:
                raise MefusionError(f"resources.shards={shards}: give a number above 0")
            parts = [[*job, *_shard(number, shards)] for job in job_overrides for number in range(shards)]
            jobs = self._submit(parts, initial_job_idx)
            watched = watch(jobs, distinct_overrides(parts), initial_job_idx, shards)
            results = [
                _joined(list(job), watched[number * shards : (number + 1) * shards])
                for number, job in enumerate(job_overrides)
            ]
            if failed := [state for state in watched if state.failed]:
                raise JobsFailed(
                    f"{len(failed)} of {len(watched)} jobs failed: "
                    f"{'; '.join(f'job {state.number} ({state.name})' for state in failed)}; see their logs, solve the "
                    "problem and run the same command again: it runs only what is missing",
                    results,
                )
            return results

        def __call__(self, *arguments: Any) -> JobReturn:
            """What a job does. Its value is all that its task tells a launcher, not only the score."""
            import submitit

            told = Path(submitit.JobEnvironment().paths.folder, "result.json")
            os.environ[RESULT_VARIABLE] = str(told)
            result = super().__call__(*arguments)
            if result.status is JobStatus.COMPLETED:
                result.return_value = json.loads(told.read_text())
            return result

        def _submit(self, parts: Sequence[Sequence[str]], first: int) -> list[Any]:
            """Submit jobs as one array, as the launcher of hydra-submitit-launcher does, without waiting for them."""
            import submitit

            assert self.config is not None
            quiet_sbatch()
            Path(self.config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
            own = ("submitit_folder", "max_num_timeout")
            executor = submitit.AutoExecutor(
                self.params["submitit_folder"], cluster="slurm", slurm_max_num_timeout=self.params["max_num_timeout"]
            )
            general = {*OmegaConf.structured(BaseQueueConf)}
            given = {name: value for name, value in self.params.items() if name not in own}
            given["setup"] = [*self.config.cluster.setup, *(given["setup"] or ())]
            executor.update_parameters(
                **{name if name in general else f"slurm_{name}": value for name, value in given.items()}
            )
            numbers = range(first, first + len(parts))
            return executor.map_array(
                self,
                [list(part) for part in parts],
                ["hydra.sweep.dir"] * len(parts),
                numbers,
                [f"job_id_for_{number}" for number in numbers],
                [Singleton.get_state()] * len(parts),
            )


def _shard(number: int, shards: int) -> list[str]:
    return [f"protocol.shard={number + 1}/{shards}"] if shards > 1 else []


@dataclass
class State:
    """What is known of a job.

    Attributes:
        number, name: of the job, and its overrides.
        id: of SLURM, as `12_3`.
        log: file with what it prints.
        word: its state in words.
        told: what its task told of the study, as `mefusion_launcher.Outcome.result`; empty if it has not ended well.
        missing_since: since when `squeue` does not show it; None if it does.
    """

    number: int
    name: str
    id: str
    log: Path
    word: str = "pending"
    told: Mapping[str, Any] = field(default_factory=dict)
    missing_since: float | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.word not in ("pending", "running", "queued again", "ending")

    @property
    def failed(self) -> bool:
        """Whether it ended without doing its work."""
        return self.over and self.word not in ("done", "folds missing")


def watch(
    jobs: Sequence[Any],
    names: Sequence[str],
    first: int,
    shards: int = 1,
    *,
    ask: Callable[[str], Mapping[str, str] | None] | None = None,
    say: Callable[[str], None] = lambda line: print(line, flush=True),
) -> list[State]:
    """Tell the states of jobs whenever they change, and in the end a table.

    Args:
        jobs: of Submitit.
        names: overrides of each.
        first: number of the first.
        shards: how many of them, one after the other, share the folds of a study.
        ask: gives the states of the tasks of an array, by their ids, or None; `squeue_states` by default.
        say: prints a line.

    Raises:
        Stopped: by Ctrl-C or SIGTERM; its text says that the jobs go on.
    """
    ask = ask or squeue_states
    states = [
        State(number, name, job.job_id, job.paths.stdout)
        for number, (job, name) in enumerate(zip(jobs, names, strict=True), first)
    ]
    arrays = sorted({state.id.partition("_")[0] for state in states})
    for state in states:
        say(f"[{state.number}] {state.name}: job {state.id}, log {state.log}")
    say(f"Ctrl-C leaves these jobs in the queue, scancel {' '.join(arrays)} ends them")
    try:
        _tell_changes(jobs, states, arrays, ask, say)
    except Stopped:
        raise Stopped(
            f"the jobs stay in the queue, scancel {' '.join(arrays)} ends them: once they are over, the same command "
            "runs what is missing"
        ) from None
    _name_missing(states, shards)
    _print_table(states)
    return states


def _tell_changes(
    jobs: Sequence[Any],
    states: Sequence[State],
    arrays: Sequence[str],
    ask: Callable[[str], Mapping[str, str] | None],
    say: Callable[[str], None],
) -> None:
    """Look at jobs again and again until all are over."""
    answered = True
    while not all(state.over for state in states):
        answers = [ask(array) for array in arrays]
        if answered and None in answers:
            say("squeue does not answer: the jobs go on, and it is asked again")
        answered = None not in answers
        shown = {id: word for answer in answers for id, word in (answer or {}).items()}
        before = [state.word for state in states]
        for job, state in zip(jobs, states, strict=True):
            if not state.over and not _take_result(job, state) and answered:
                _look(state, shown.get(state.id))
        for state, word in zip(states, before, strict=True):
            if state.word != word:
                say(f"[{state.number}] {state.word}")
        if [state.word for state in states] != before:
            say(", ".join(f"{count} {word}" for word, count in Counter(state.word for state in states).items()))
        if not all(state.over for state in states):
            time.sleep(LOOK)


def _take_result(job: Any, state: State) -> bool:
    """Note the result of a job of Submitit in its state; returns whether there is one."""
    with suppress(OSError):  # asks a network disk anew
        job.paths.folder.chmod(job.paths.folder.stat().st_mode)
    if not job.paths.result_pickle.exists():
        return False
    outcome, result = job._get_outcome_and_result()
    status = getattr(result, "status", None)
    if outcome == "success" and status is JobStatus.COMPLETED:
        state.word, state.told = "done", result.return_value
    else:
        error = result if outcome != "success" else result._return_value
        lines = str(error).strip().splitlines()
        state.word = f"failed: {lines[-1] if outcome != 'success' and lines else first_line_of(error)}"
    return True


def _look(state: State, shown: str | None) -> None:
    """Note how a job without a result is.

    Args:
        state: is changed.
        shown: what SLURM says of it; None if it does not know it any more.
    """
    if shown in ("PENDING", "REQUEUED", "REQUEUE_HOLD", "CONFIGURING"):
        state.word = "queued again" if state.word not in ("pending",) else "pending"
    elif shown in ("RUNNING", "SUSPENDED"):
        state.word = "running"
    elif shown == "COMPLETING":
        state.word = "ending"
    if shown is not None and shown not in OVER:
        state.missing_since = None
        return
    state.missing_since = state.missing_since or time.monotonic()
    if time.monotonic() - state.missing_since >= PATIENCE:
        state.word = f"ended by the cluster: {(shown or 'no longer in the queue').lower().replace('_', ' ')}"


def first_line_of(error: Any) -> str:
    """What went wrong, in one line."""
    return first_line(error) if isinstance(error, BaseException) else str(error)


def squeue_states(array: str) -> dict[str, str] | None:
    """The states of the tasks of an array of jobs, also of those that ended some minutes ago; None without an answer.

    Empty if SLURM does not know the array any more. The controller gives no answer while it is busy or restarted.
    """
    command = ["squeue", "--noheader", "--array", "--states=all", f"--jobs={array}", "--format=%i|%T"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode and "Invalid job id" not in answer.stderr:
        return None
    pairs = (line.strip().split("|", 1) for line in answer.stdout.splitlines() if "|" in line)
    return dict(pairs)


def _joined(overrides: list[str], states: Sequence[State]) -> JobReturn:
    """The result of a job that several shared: that of the one which scored the study; None if none did.

    If one of them did not do its work, why: see `JobsFailed`.
    """
    words = [state.word for state in states if state.failed]
    if words:
        failed = [word for word in words if word.startswith("failed")]
        status = JobStatus.FAILED if failed else JobStatus.UNKNOWN
        return JobReturn(overrides=overrides, status=status, _return_value=[*failed, *words][0])
    value = next((state.told["objective"] for state in states if state.told["complete"]), None)
    return JobReturn(overrides=overrides, status=JobStatus.COMPLETED, _return_value=value)


def _name_missing(states: Sequence[State], shards: int) -> None:
    """Name jobs that have ended well, but none of those which share their study has found it complete."""
    for number, state in enumerate(states):
        first = number - number % shards
        complete = any(other.told.get("complete") for other in states[first : first + shards])
        if state.word == "done" and not complete:
            state.word = "folds missing"


def _print_table(states: Sequence[State]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("job", "overrides", "SLURM", "state", "UF1")
    for state in states:
        value = state.told.get("uf1")
        table.add_row(
            str(state.number), state.name, state.id, state.word.partition(":")[0],
            "-" if value is None else f"{value:.3f}",
        )  # fmt: skip
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(table)
    for state in states:
        if state.failed:
            console.print(f"[{state.number}] {state.word} ({state.log})")


def quiet_sbatch() -> None:
    """Where `sbatch` refuses jobs, leave Submitit's error alone: it prints its text too, and keeps scripts and jobs."""
    from submitit.core.utils import FailedJobError, JobPaths
    from submitit.slurm.slurm import SlurmExecutor

    submit = SlurmExecutor._submit_command

    def quietly(executor: SlurmExecutor, command: str) -> Any:
        try:
            with redirect_stderr(io.StringIO()):
                return submit(executor, command)
        except FailedJobError:
            _clear(JobPaths.get_first_id_independent_folder(executor.folder))
            raise

    SlurmExecutor._submit_command = quietly  # type: ignore[assignment, method-assign]


def _clear(folder: Path) -> None:
    """Remove what Submitit wrote for jobs that were refused; all of it if no job was submitted from the folder."""
    if any(path.is_dir() for path in folder.glob("*")):
        for script in folder.glob(".submission_file_*.sh"):
            script.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)
