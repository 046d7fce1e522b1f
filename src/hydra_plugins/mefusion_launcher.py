"""`hydra/launcher=processes`: a Hydra launcher that runs each job of a sweep in its own process.

Hydra's own launcher runs all jobs of `-m` in one process. There, Lightning's child processes would repeat the whole
sweep, and loggers would share one run. Here, each job is the same command without `-m`.
"""

import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from mefusion.common.errors import MefusionError
from mefusion.common.stopping import PARENT_VARIABLE, Stopped

RESULT_VARIABLE = "MEFUSION_RESULT_FILE"  # environment variable with the file to which a job writes its result
GRACE = 1.2  # seconds that jobs get to end by themselves after SIGTERM; this process has `stopping.LIMIT`


@dataclass
class LauncherConfig:
    """`n_jobs`: processes at once; null means one for each GPU if the trainer uses GPUs, else one for each core."""

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
        if self.code in (128 + signal.SIGINT, 128 + signal.SIGTERM):
            return "stopped"
        if self.code < 0:
            return f"killed by {signal.Signals(-self.code).name}"
        if self.code:
            return "failed"
        if not self.result.get("complete"):
            return "folds missing"
        return "done" if self.result["trained"] else "complete before"


class ProcessLauncher(Launcher):
    """Runs the jobs of a sweep as processes, `n_jobs` at once, and prints each line with the job's number."""

    def __init__(self, n_jobs: int | None = None) -> None:
        self.n_jobs = n_jobs
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False
        self._lock = threading.Lock()

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `launch`."""
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all jobs. A job that fails does not stop the others.

        Raises:
            MefusionError: jobs failed or were killed; the message names each.
        """
        if self.n_jobs is not None and self.n_jobs < 1:
            raise MefusionError(f"hydra.launcher.n_jobs={self.n_jobs}: give a number above 0, or null for the default")
        logs = Path(self.config.hydra.sweep.dir).absolute()
        logs.mkdir(parents=True, exist_ok=True)
        outcomes, names = self._run_all(job_overrides, initial_job_idx, logs), _distinct_overrides(job_overrides)
        _summarise(outcomes, names)
        if failed := [f"job {o.number} ({name})" for o, name in zip(outcomes, names, strict=True) if o.code]:
            raise MefusionError(
                f"{len(failed)} of {len(outcomes)} jobs failed: {'; '.join(failed)}; see their logs in {logs}, solve "
                "the problem and run the same command again: it runs only what is missing"
            )
        return [
            JobReturn(
                overrides=list(overrides),
                status=JobStatus.COMPLETED,
                _return_value=outcome.result.get("objective"),  # null while folds are missing
            )
            for outcome, overrides in zip(outcomes, job_overrides, strict=True)
        ]

    def _run_all(self, job_overrides: Sequence[Sequence[str]], first: int, logs: Path) -> list[Outcome]:
        gpus = visible_gpus() if OmegaConf.select(self.config, "trainer.accelerator") != "cpu" else []
        cores = os.cpu_count() or 1
        at_once = min(len(job_overrides), self.n_jobs or len(gpus) or cores)
        environment = {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
        if "OMP_NUM_THREADS" not in os.environ:
            environment["OMP_NUM_THREADS"] = str(max(1, cores // at_once))
        places: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()  # environments that run one job at a time
        for place in range(at_once):
            places.put({"CUDA_VISIBLE_DEVICES": gpus[place % len(gpus)]} if gpus else {})

        def run(number: int, overrides: Sequence[str]) -> Outcome:
            place = places.get()
            try:
                return self._run(number, overrides, logs, environment | place)
            finally:
                places.put(place)

        with ThreadPoolExecutor(at_once) as pool:
            jobs = [pool.submit(run, number, overrides) for number, overrides in enumerate(job_overrides, first)]
            try:
                return [job.result() for job in jobs]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self._stop()
                raise

    def _run(self, number: int, overrides: Sequence[str], logs: Path, environment: dict[str, str]) -> Outcome:
        result, path, start = logs / f"{number}.result", logs / f"{number}.log", time.monotonic()
        result.unlink(missing_ok=True)
        self._say(f"[{number}] {' '.join(overrides)}\n")
        last_line = ""
        with path.open("w", encoding="utf-8") as log:
            with self._lock:
                if self._stopped:
                    raise Stopped
                options = config_dir_option(self.config.get("hydra"))
                process = subprocess.Popen(
                    [sys.executable, "-m", "mefusion.commands.train", *options, *overrides],
                    env=os.environ | environment | {RESULT_VARIABLE: str(result), PARENT_VARIABLE: str(os.getpid())},
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
                    start_new_session=True,  # its own process group: signals reach the job's child processes too
                )  # fmt: skip
                self._running.add(process)
            waiting = threading.Thread(target=_wait, args=(process,))
            waiting.start()
            assert process.stdout is not None
            for line in process.stdout:
                last_line = line.strip() or last_line
                log.write(line)
                log.flush()
                self._say(f"[{number}] {line}")
            waiting.join()
            code = process.wait()
        with self._lock:
            self._running.discard(process)
        left = json.loads(result.read_text()) if result.exists() else {}
        return Outcome(number, code, time.monotonic() - start, path, last_line, left)

    def _say(self, line: str) -> None:
        with self._lock:  # otherwise lines of several jobs could be mixed
            print(line, end="", flush=True)

    def _stop(self) -> None:
        """End the jobs and all their child processes: with SIGTERM, and after some seconds with SIGKILL."""
        with self._lock:
            self._stopped, running = True, list(self._running)
        until = time.monotonic() + GRACE
        try:
            for process in _unfinished(running):
                _end_group(process, ask=True)
            while _unfinished(running) and time.monotonic() < until:
                time.sleep(0.05)
        finally:
            for process in _unfinished(running):
                _end_group(process)


def config_dir_option(hydra: Any) -> list[str]:
    """`--config-dir` of a command, as its jobs and the commands that it names take it too; none if it had none.

    Args:
        hydra: the node `hydra` of its configuration, or None.
    """
    sources = OmegaConf.select(hydra or OmegaConf.create(), "runtime.config_sources") or ()
    found = [source.path for source in sources if source.provider == "command-line"]
    return ["--config-dir", found[0]] if found else []


def visible_gpus() -> list[str]:
    """Names of the GPUs that this process may use, as in CUDA_VISIBLE_DEVICES; found without importing torch."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        names = [name.strip() for name in visible.split(",")]
        return [] if "-1" in names else [name for name in names if name]
    if not (program := shutil.which("nvidia-smi")):
        return []
    listed = subprocess.run([program, "-L"], capture_output=True, text=True).stdout
    return re.findall(r"^GPU \d+: .*\(UUID: (GPU-[^)]+)\)", listed, re.MULTILINE)


def _wait(process: subprocess.Popen[str]) -> None:
    """Wait for a job, then end child processes that it left: they would keep its output open."""
    if hasattr(os, "waitid"):  # not on Windows, nor with every Python on macOS
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # so the system cannot give the group's id to another
    else:
        process.wait()
    _end_group(process)
    process.wait()


def _unfinished(processes: Sequence[subprocess.Popen[str]]) -> list[subprocess.Popen[str]]:
    return [process for process in processes if process.returncode is None]


def _end_group(process: subprocess.Popen[str], ask: bool = False) -> None:
    """End a job with all its children; with `ask`, it may end by itself."""
    if sys.platform == "win32":  # it has no signals, and kills a process with its children by a program
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True)
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM if ask else signal.SIGKILL)


def _distinct_overrides(jobs: Sequence[Sequence[str]]) -> list[str]:
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
