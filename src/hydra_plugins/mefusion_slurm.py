"""`hydra/launcher=slurm`: the launcher of hydra-submitit-launcher, with one sentence where Submitit prints many lines.

Submitit asks `sacct` for the states of its jobs, again and again. Without accounting, `sacct` fails each time, and both
print a line. Submitit goes on, since a job's result is a file.
"""

import io
import logging
import shutil
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, suppress
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn

with suppress(ImportError):  # hydra-submitit-launcher is an extra
    from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher

    class QuietSlurmLauncher(SlurmLauncher):
        """Runs each job of a sweep as a job of a SLURM cluster."""

        def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
            """Submit the jobs and wait for their results."""
            quiet_sbatch()
            quiet_sacct()
            return super().launch(job_overrides, initial_job_idx)


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


def quiet_sacct() -> None:
    """Replace what `sacct` and Submitit print each time that `sacct` fails by one sentence; other warnings stay."""
    from submitit.slurm.slurm import SlurmInfoWatcher, SlurmJob

    class Watcher(SlurmInfoWatcher):
        def _make_command(self) -> list[str] | None:
            command = super()._make_command()
            return command and ["sh", "-c", '"$@" 2>/dev/null', "sh", *command]

    SlurmJob.watcher = Watcher(delay_s=600)  # Submitit's own delay
    logging.getLogger("submitit").addFilter(_SacctFilter())


class _SacctFilter(logging.Filter):
    """Drops Submitit's warnings that `sacct` failed, and says once what follows from it."""

    def __init__(self) -> None:
        super().__init__()
        self.said = False

    def filter(self, record: logging.LogRecord) -> bool:
        if "Bypassing sacct error" not in record.getMessage():
            return True
        if not self.said:
            print(
                "mefusion-train: sacct does not answer, so a job that the cluster ends is not noticed: if squeue no "
                "longer shows the jobs and this command still waits, press Ctrl-C and give the command again",
                file=sys.stderr,
            )
        self.said = True
        return False
