"""`hydra/launcher=processes`: a Hydra launcher that gives each job of a sweep a process of its own.

Under `-m` with its own launcher Hydra runs all jobs in one process, where Lightning's child processes would
replay the whole sweep and loggers would share a run. Here each job is the same command in run mode.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from mefusion.errors import MefusionError

RESULT_VARIABLE = "MEFUSION_RESULT_FILE"  # environment variable: the file where a job leaves its UF1


@dataclass
class LauncherConfig:
    """`n_jobs`: processes at once; null is one a core, at most as many as there are jobs."""

    _target_: str = "hydra_plugins.mefusion_launcher.ProcessLauncher"
    n_jobs: int | None = None


class ProcessLauncher(Launcher):
    """Runs the jobs of a sweep as processes, `n_jobs` at once, and prints their lines with the job's number."""

    def __init__(self, n_jobs: int | None = None) -> None:
        self.n_jobs = n_jobs
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `launch`."""
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run every job to its end; a job that fails does not stop the others.

        Raises:
            MefusionError: jobs failed; names each with its log.
        """
        if self.n_jobs is not None and self.n_jobs < 1:
            raise MefusionError(f"hydra.launcher.n_jobs={self.n_jobs}: give a number above 0, or null for one a core")
        logs = Path(self.config.hydra.sweep.dir).absolute()
        logs.mkdir(parents=True, exist_ok=True)
        at_once = min(len(job_overrides), self.n_jobs or os.cpu_count() or 1)
        threads = max(1, (os.cpu_count() or 1) // at_once)
        with ThreadPoolExecutor(at_once) as pool:
            jobs = [
                pool.submit(self._run, initial_job_idx + i, overrides, logs, threads)
                for i, overrides in enumerate(job_overrides)
            ]
            try:
                results = [job.result() for job in jobs]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self._stop()
                raise
        failed = [
            f"job {initial_job_idx + i} ({' '.join(overrides)})"
            for i, (overrides, result) in enumerate(zip(job_overrides, results, strict=True))
            if result.status is JobStatus.FAILED
        ]
        if failed:
            raise MefusionError(
                f"{len(failed)} of {len(results)} jobs failed: {'; '.join(failed)}; see the log of each in {logs}"
            )
        return results

    def _run(self, number: int, overrides: Sequence[str], logs: Path, threads: int) -> JobReturn:
        result = logs / f"{number}.result"
        result.unlink(missing_ok=True)
        environment = os.environ | {RESULT_VARIABLE: str(result), "PYTHONUNBUFFERED": "1"}
        environment.setdefault("OMP_NUM_THREADS", str(threads))
        self._say(f"[{number}] {' '.join(overrides)}\n")
        with (logs / f"{number}.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "mefusion.train", *overrides],
                env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
            with self._lock:
                self._running.add(process)
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                log.flush()
                self._say(f"[{number}] {line}")
            failed = process.wait() != 0
        with self._lock:
            self._running.discard(process)
        returned = JobReturn(overrides=list(overrides), status=JobStatus.FAILED if failed else JobStatus.COMPLETED)
        if failed:
            returned.return_value = MefusionError(f"see {logs / f'{number}.log'}")
        else:  # a job that ran some of its folds has no pooled score yet
            returned.return_value = float(result.read_text()) if result.exists() else None
        return returned

    def _say(self, line: str) -> None:
        with self._lock:  # lines of jobs that speak at once stay whole
            print(line, end="", flush=True)

    def _stop(self) -> None:
        """End the children, as after Ctrl-C."""
        with self._lock:
            for process in self._running:
                process.terminate()


ConfigStore.instance().store(group="hydra/launcher", name="processes", node=LauncherConfig, provider="mefusion")
