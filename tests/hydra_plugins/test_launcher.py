import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pandas as pd
import pytest
from hydra.core.utils import JobStatus
from omegaconf import OmegaConf

from hydra_plugins import mefusion_launcher
from hydra_plugins.mefusion_launcher import ProcessLauncher, visible_gpus
from mefusion.common.errors import JobsFailed, MefusionError
from mefusion.processes import machine
from mefusion.studies.results import score

# Stands for `python -m mefusion.commands.train ...`: says what it was given, does as it is told, leaves its result.
JOB = """#!/bin/sh
echo "arguments: $@"
echo "threads: $OMP_NUM_THREADS"
echo "device: $CUDA_VISIBLE_DEVICES"
echo "on stderr" >&2
case "$*" in *slow*) sleep 1;; esac
case "$*" in *meet*)  # waits for another job to be there at the same time
    touch "$MEFUSION_RESULT_FILE.here"
    for _ in $(seq 200); do
        [ "$(ls "${MEFUSION_RESULT_FILE%/*}" | grep -c here)" = 2 ] && echo met && break
        sleep 0.1
    done;;
esac
case "$*" in *orphan*) sleep 60 & echo $! > "$MEFUSION_RESULT_FILE.child";; esac
case "$*" in *stay*) sleep 60;; esac
case "$*" in *killed*) kill -9 $$;; esac
case "$*" in *fail*) echo "mefusion-train: no such luck" >&2; exit 3;; esac
case "$*" in *silent*) exit 0;; esac
case "$*" in *partly*) echo '{"complete": false, "trained": 1}' > "$MEFUSION_RESULT_FILE"; exit 0;; esac
case "$*" in *again*) trained=0;; *) trained=2;; esac
echo "{\\"complete\\": true, \\"uf1\\": 0.25, \\"objective\\": 0.5, \\"trained\\": $trained}" > "$MEFUSION_RESULT_FILE"
"""


@pytest.fixture
def job(tmp_path, monkeypatch):
    program = tmp_path / "job"
    program.write_text(JOB)
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(ProcessLauncher, "_note", lambda self, overrides: None)  # these are no studies
    return program


@pytest.fixture
def launch(tmp_path, job):
    def launch(*jobs, n_jobs=None, first=0, accelerator="auto", hydra=()):
        launcher = ProcessLauncher(n_jobs=n_jobs)
        node = {"sweep": {"dir": str(tmp_path / "logs")}, "overrides": {"hydra": [*hydra]}}
        config = {"hydra": node, "trainer": {"accelerator": accelerator}}
        launcher.setup(hydra_context=None, task_function=None, config=OmegaConf.create(config))
        return launcher.launch([job.split() for job in jobs], first)

    return launch


def log(tmp_path, number):
    return (tmp_path / "logs" / f"{number}.log").read_text()


def rows(printed):
    """Number -> cells of a row of the table of jobs."""
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if line.startswith("│")]
    return {row[0]: row[1:] for row in cells}


def test_each_job_is_the_command_in_run_mode_with_its_own_log(launch, tmp_path, capfd):
    results = launch("seed=1 tasks=all", "seed=2 tasks=all", first=4)
    assert [result.return_value for result in results] == [0.5, 0.5]  # what a sweeper maximises
    assert all(result.status is JobStatus.COMPLETED for result in results)
    assert [list(result.overrides) for result in results] == [["seed=1", "tasks=all"], ["seed=2", "tasks=all"]]
    printed = capfd.readouterr().out
    for number, seed in ((4, 1), (5, 2)):
        assert f"arguments: -m mefusion.commands.train seed={seed} tasks=all" in log(tmp_path, number)
        assert "on stderr" in log(tmp_path, number)
        assert f"[{number}] arguments: -m mefusion.commands.train seed={seed}" in printed


def test_folders_of_the_users_own_configuration_reach_the_jobs(launch, tmp_path):
    launch("data=toy", hydra=["hydra.searchpath=[file:///own]", "hydra.mode=MULTIRUN", "hydra/launcher=processes"])
    given = "arguments: -m mefusion.commands.train hydra.searchpath=[file:///own] data=toy"
    assert log(tmp_path, 0).splitlines()[0] == given


def test_the_table_tells_what_became_of_each_job(launch, tmp_path, capfd):
    with pytest.raises(JobsFailed) as error:
        launch("a=fail x=1", "a=1 x=1", "a=killed x=1", "a=again x=1", "a=partly x=1", n_jobs=2)
    printed = capfd.readouterr().out
    table = {number: row[:3] for number, row in rows(printed).items()}
    assert table == {
        "0": ["a=fail", "failed", "-"],  # what all jobs share is left out
        "1": ["a=1", "done", "0.250"],
        "2": ["a=killed", "killed by SIGKILL", "-"],
        "3": ["a=again", "complete before", "0.250"],
        "4": ["a=partly", "folds missing", "-"],
    }
    assert f"[0] failed: mefusion-train: no such luck ({tmp_path / 'logs' / '0.log'})" in printed
    assert f"[2] killed by SIGKILL: on stderr ({tmp_path / 'logs' / '2.log'})" in printed
    sentence = str(error.value)
    for part in ("2 of 5 jobs failed", "job 0 (a=fail)", "job 2 (a=killed)", str(tmp_path / "logs")):
        assert part in sentence
    # A sweeper sees what each job came to.
    failed, completed, killed = JobStatus.FAILED, JobStatus.COMPLETED, JobStatus.UNKNOWN
    assert [(result.status, result._return_value) for result in error.value.results] == [
        (failed, "failed: mefusion-train: no such luck"), (completed, 0.5), (killed, "killed by SIGKILL: on stderr"),
        (completed, 0.5), (completed, None),
    ]  # fmt: skip


def test_jobs_run_one_after_the_other_or_at_once(launch, tmp_path):
    start = time.perf_counter()
    launch("a=slow", "b=slow", n_jobs=1)
    assert time.perf_counter() - start >= 2
    launch("a=meet", "b=meet", n_jobs=2)
    assert "met" in log(tmp_path, 0)
    assert "met" in log(tmp_path, 1)


def test_no_jobs_at_once_is_refused(launch):
    with pytest.raises(MefusionError, match=r"hydra\.launcher\.n_jobs=0"):
        launch("a=1", n_jobs=0)


def test_jobs_share_the_cores(launch, tmp_path, monkeypatch):
    for module in (machine, mefusion_launcher):
        monkeypatch.setattr(module, "cores", lambda: 8)
    launch("a=1", "b=1")
    assert "threads: 4" in log(tmp_path, 0)
    launch("a=1", n_jobs=3)
    assert "threads: 8" in log(tmp_path, 0)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    launch("a=1")
    assert "threads: 1\n" in log(tmp_path, 0)


def devices(tmp_path, jobs):
    return [log(tmp_path, number).split("device: ")[1].splitlines()[0] for number in range(jobs)]


def test_gpus_are_handed_out_one_a_job(launch, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-5")
    launch("a=slow", "b=slow", "c=1")  # as many at once as there are GPUs
    first, second, third = devices(tmp_path, 3)
    assert {first, second} == {"2", "GPU-5"}
    assert third in {"2", "GPU-5"}
    launch("a=1", "b=1", n_jobs=1)
    assert devices(tmp_path, 2) == ["2", "2"]
    launch("a=slow", "b=slow", "c=slow", "d=slow", n_jobs=4)  # more jobs than GPUs share them evenly
    assert sorted(devices(tmp_path, 4)) == ["2", "2", "GPU-5", "GPU-5"]


def test_jobs_on_the_cpu_get_no_gpu(launch, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    for module in (machine, mefusion_launcher):
        monkeypatch.setattr(module, "cores", lambda: 4)
    launch("a=1", "b=1", "c=1", accelerator="cpu")
    assert devices(tmp_path, 3) == ["0,1"] * 3
    assert "threads: 1\n" in log(tmp_path, 0)  # three at once


def test_gpus_are_those_that_are_visible_or_that_the_driver_lists(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA A (UUID: GPU-1a)'\necho 'GPU 1: NVIDIA (B) (UUID: GPU-2b)'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == ["GPU-1a", "GPU-2b"]
    for value, names in (("", []), ("-1", []), ("0", ["0"]), ("3, 1", ["3", "1"])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
        assert visible_gpus() == names
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", "")
    assert visible_gpus() == []


def test_a_job_without_a_result_returns_none(launch):
    # A job that ran some folds alone pools nothing.
    (result,) = launch("a=silent")
    assert result.status is JobStatus.COMPLETED
    assert result.return_value is None


def test_a_result_of_an_earlier_sweep_is_not_taken_for_a_new_one(launch):
    launch("a=1")
    (result,) = launch("a=silent")
    assert result.return_value is None


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ends(child):
    """Whether a job's child of 60 s ends within 10: one that is killed closes its files before it is gone."""
    pid, until = int(child.read_text()), time.monotonic() + 10
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.01)
    return not alive(pid)


def test_what_a_job_leaves_running_ends_with_it(launch, tmp_path):
    start = time.perf_counter()
    launch("a=orphan")
    assert time.perf_counter() - start < 20
    assert ends(tmp_path / "logs" / "0.result.child")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_ends_all_its_children(job, tmp_path, number):
    sweep = f"""
        import signal
        import sys
        from omegaconf import OmegaConf
        from hydra_plugins.mefusion_launcher import ProcessLauncher
        from mefusion.processes.stopping import stoppable
        signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
        sys.executable = {str(job)!r}
        ProcessLauncher._note = lambda self, overrides: None  # these are no studies
        launcher = ProcessLauncher(n_jobs=2)
        config = OmegaConf.create({{"hydra": {{"sweep": {{"dir": {str(tmp_path / "logs")!r}}}}}}})
        launcher.setup(hydra_context=None, task_function=None, config=config)
        with stoppable("sweep", "all is kept"):
            launcher.launch([["a=orphan,stay"], ["b=orphan,stay"], ["c=1"]], 0)
    """
    process = subprocess.Popen(
        [Path(sys.prefix) / "bin" / "python", "-c", textwrap.dedent(sweep)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    children = [tmp_path / "logs" / f"{number}.result.child" for number in range(2)]
    for _ in range(1200):  # a minute, since a busy machine starts slowly
        if all(child.exists() and child.read_text() for child in children):
            break
        time.sleep(0.05)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert stderr == f"sweep: stopped by {'Ctrl-C' if number == signal.SIGINT else 'SIGTERM'}; all is kept\n"
    assert all(ends(child) for child in children)
    assert not (tmp_path / "logs" / "2.log").exists()  # no further job was begun


# Stands for the interpreter of the jobs: as it is told by a job's overrides, the job cannot write or is killed.
SABOTAGE = """#!{python}
import os, resource, signal, subprocess, sys
job = " ".join(sys.argv)
if {fail!r} in job:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))  # as a full disk
process = subprocess.Popen([{python!r}, *sys.argv[1:]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
for line in process.stdout:
    print(line, end="", flush=True)
    if {kill!r} in job and line.startswith("fold 1/2"):
        os.kill(os.getpid(), signal.SIGKILL)
sys.exit(process.wait())
"""


@pytest.mark.slow
def test_a_sweep_with_a_failed_and_a_killed_job_is_completed_by_running_it_again(tiny, tmp_path, monkeypatch, capfd):
    from mefusion.commands import train

    python, sweep = sys.executable, "seeds=[0],[1],[2] hydra.launcher.n_jobs=2"
    small = ["model=ststnet", "trainer=smoke", f"output_dir={tmp_path / 'outputs'}"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["mefusion-train", "-m", *sweep.split(), *tiny.overrides, *small])
    program = tmp_path / "python"
    program.write_text(SABOTAGE.format(python=python, fail="seeds=[1]", kill="seeds=[2]"))
    program.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(program))
        with pytest.raises(SystemExit, match=r"2 of 3 jobs failed: job 1 .*; job 2 "):
            train.main()
    first = capfd.readouterr().out
    states = {row[0]: row[1] for row in rows(first).values()}
    assert states == {
        "seeds=[0]": "done",
        "seeds=[1]": "failed",
        "seeds=[2]": "killed by SIGKILL",
    }
    assert "[1] failed: mefusion-train: " in first  # one sentence, of the file that cannot be written
    assert "cannot be written (File too large)" in first
    assert not list((tmp_path / "outputs").rglob(".*.json-*"))
    done = list(tmp_path.glob("outputs/*/folds/*/DONE"))
    assert len(done) == 3
    finished = {path: path.stat().st_mtime_ns for fold in done for path in fold.parent.iterdir() if path.is_file()}

    train.main()
    second = capfd.readouterr().out
    assert [row[1] for row in rows(second).values()] == ["complete before", "done", "done"]
    assert second.count("done before") == 3
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    studies = sorted(path for path in (tmp_path / "outputs").iterdir() if path.name != "sweeps")
    assert len(studies) == 3
    scores = []
    for study in studies:
        table = pd.read_parquet(study / "predictions.parquet")
        assert sorted(table["clip_id"]) == sorted(tiny.index["clip_id"])  # every clip once
        scores.append(f"{score(table)['uf1']:.3f}")
        assert json.loads((study / "summary.json").read_text())["uf1"] == score(table)["uf1"]
    assert sorted(row[2] for row in rows(second).values()) == sorted(scores)


def test_slurm_gives_each_job_a_gpu(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate

    from mefusion.configuration.cli import configuration_folder
    from mefusion.configuration.schema import register_schema

    register_schema("train")
    with initialize_config_dir(str(configuration_folder("conf")), version_base="1.3"):
        overrides = ["hydra/launcher=slurm", "hydra.launcher.partition=gpu"]
        config = compose("train", overrides=overrides, return_hydra_config=True)
    parameters = instantiate(config.hydra.launcher, submitit_folder=str(tmp_path)).params
    assert (parameters["gpus_per_node"], parameters["tasks_per_node"], parameters["nodes"]) == (1, 1, 1)
    assert (parameters["name"], parameters["partition"]) == ("mefusion", "gpu")


@pytest.mark.parametrize(
    ("programs", "part"),
    [((), "srun"), (("srun", "sbatch"), "sbatch: error: invalid partition")],
    ids=["no SLURM", "SLURM refuses"],
)
def test_jobs_that_slurm_does_not_take_are_one_sentence(tiny, command, tmp_path, programs, part):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    for name in programs:
        (tmp_path / name).write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: x' >&2\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    path = {"PATH": str(tmp_path)}  # this machine may have a SLURM
    arguments = ("-m", "hydra/launcher=slurm", "seeds=[0],[1]", *tiny.overrides)
    done = command("mefusion-train", *arguments, cwd=tmp_path, env=path)
    assert done.returncode == 1
    (sentence,) = done.stderr.strip().splitlines()
    assert sentence.startswith("mefusion-train: hydra/launcher=slurm: ")
    assert part in sentence
    assert not list(tmp_path.rglob(".submitit"))


@pytest.mark.slow
def test_jobs_of_submitit_are_studies_too_and_their_errors_one_sentence(tiny, command, tmp_path):
    # Its local mode: what SLURM runs is the same but for who starts it.
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    arguments = ("-m", "hydra/launcher=submitit_local", "model=majority", "labels=five,three", "trainer=smoke")
    done = command("mefusion-train", *arguments, *tiny.overrides, cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("mefusion-train: ")
    assert "mefusion-prepare data=synthetic labels=five" in done.stderr
    (study,) = tmp_path.glob("outputs/majority-*")  # the other job ran to its end
    assert json.loads((study / "summary.json").read_text())["clips"] == 6
