"""Places to run in that are unusual or lack something. Each is a process of its own from the start."""

from collections.abc import Mapping
from pathlib import Path

from ..cases import Case, Change, Expected
from ..changes import both, make_pipe, put_file, put_link, remove, write
from ..templates import DATA

TRAIN = ("mefusion-train", *DATA, "model=majority")
PREPARE = ("mefusion-prepare", *DATA, "workers=1")
PREPARE_TWO = ("mefusion-prepare", *DATA, "workers=2")
REPORT = ("mefusion-report", "outputs/majority")
POOLED, THERE = "pooled over 6 clips", "6 of 6 clips"

MISSING = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, path=None, target=None: None if name == "PACKAGE" else find(name, path, target)
"""
NO_TVL1 = "import cv2\ncv2.__dict__.pop('optflow', None)\n"
SLURM = "#!/bin/sh\necho 'sbatch: error: invalid partition' >&2\nexit 1\n"


def case(
    name: str,
    command: tuple[str, ...],
    *words: str,
    template: str = "prepared",
    change: Change | None = None,
    expected: Expected = Expected.refused,
    limits: Mapping[str, int] | None = None,
    **environment: str | None,
) -> Case:
    """A case with variables of the environment."""
    return Case("environments", name, template, (command,), words, change, expected, environment, True, limits or {})


def without(package: str) -> Change:
    """Let no process find a package, for PYTHONPATH=blocked."""
    text = NO_TVL1 if package == "optflow" else MISSING.replace("PACKAGE", package)
    return write("blocked/sitecustomize.py", text)


def script(name: str, text: str) -> Change:
    """Write a program, for PATH."""

    def make(folder: Path) -> None:
        write(f"programs/{name}", text)(folder)
        (folder / "programs" / name).chmod(0o755)

    return make


REFUSED = [
    case("no room: prepare", (*PREPARE, "cache_dir=new"), "free disk space", limits={"RLIMIT_FSIZE": 60_000}),
    case("no room: render", ("mefusion-prepare", *DATA, "data.root=new", "workers=1"), "free disk space", limits={"RLIMIT_FSIZE": 2_000}),
    case("no room: train", ("mefusion-train", *DATA, "trainer=smoke"), "free disk space", limits={"RLIMIT_FSIZE": 60_000}),
    case("no room: report", REPORT, "free disk space", template="studies", limits={"RLIMIT_FSIZE": 5_000}),
    case("outputs is a file", TRAIN, "outputs", change=put_file("outputs")),
    case("outputs is a link to itself", TRAIN, "outputs", change=put_link("outputs", "outputs")),
    case("outputs is a link to nothing that can be", TRAIN, "outputs", change=put_link("outputs", "/proc/nothing")),
    case("cache is a file", PREPARE, "cache", change=put_file("cache")),
    case("cache is a link to itself", PREPARE, "cache", change=put_link("cache", "cache")),
    case("data is a file", PREPARE, "data", change=put_file("data")),
    case("data is gone", ("mefusion-prepare", "data=manifest", "data.root=data"), "manifest.csv", change=remove("data")),
    case("no wandb", (*TRAIN, "logger=wandb"), "pip install wandb", change=without("wandb"), PYTHONPATH="blocked"),
    case("no tensorboard", (*TRAIN, "logger=tensorboard"), "pip install tensorboard", change=without("tensorboard"), PYTHONPATH="blocked"),
    case("no optuna", ("mefusion-train", "-m", *DATA, "hydra/sweeper=search", "rule=inner_val"), "pip install optuna", change=without("optuna"), PYTHONPATH="blocked"),
    case("no face-alignment", (*PREPARE, "faces=face_alignment"), "face-alignment", change=without("face_alignment"), PYTHONPATH="blocked"),
    case("no TV-L1", (*PREPARE, "cache_dir=new", "faces=none"), "opencv-contrib-python-headless", change=without("optflow"), PYTHONPATH="blocked"),
    case("no SLURM", ("mefusion-train", "-m", *DATA, "hydra/launcher=slurm", "seeds=[0],[1]"), "srun"),
    case("SLURM refuses", ("mefusion-train", "-m", *DATA, "hydra/launcher=slurm", "seeds=[0],[1]"), "sbatch", change=both(script("srun", "#!/bin/sh\n"), script("sbatch", SLURM)), PATH="programs:/usr/bin:/bin"),
    case("a model of one's own that fails", (*TRAIN, "model.network._target_=mine.Net"), "mine", change=write("mine.py", "raise ValueError('broken')\n")),
    case("a model of one's own with a mistake", (*TRAIN, "model.network._target_=mine.Net"), "mine", change=write("mine.py", "def Net(:\n")),
    case("a model of one's own without the class", (*TRAIN, "model.network._target_=mine.Net"), "mine", change=write("mine.py", "x = 1\n")),
    case("a model of one's own that is no network", (*TRAIN, "model.network._target_=mine.Net"), "mine", change=write("mine.py", "def Net(**options): return 3\n")),
    case("a configuration folder with a mistake", ("mefusion-train", "--config-dir", "mine", "model=mine"), "mine", change=write("mine/model/mine.yaml", "a: [\n")),
    case("a configuration folder without a network", ("mefusion-train", *DATA, "--config-dir", "mine", "model=mine"), "network", change=write("mine/model/mine.yaml", "name: mine\nview: canvas\n")),
    case("a configuration that is a pipe", ("mefusion-train", "--config-dir", "mine", "model=mine"), "mine", change=both(write("mine/model/mine.yaml", ""), make_pipe("mine/model/mine.yaml"))),
]  # fmt: skip
WORK = [
    case("plain C", TRAIN, POOLED, LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING=None),
    case("ASCII", PREPARE, THERE, LC_ALL="C", PYTHONIOENCODING="ascii"),
    case("ASCII: report", REPORT, "Report", template="studies", LC_ALL="C", PYTHONIOENCODING="ascii"),
    case("no home", TRAIN, POOLED, HOME=None),
    case("a home that is not there", TRAIN, POOLED, HOME="/proc/nothing"),
    case("a home that is not there: report", REPORT, "Report", template="studies", HOME="/proc/nothing"),
    case("no terminal", TRAIN, POOLED, TERM="dumb", COLUMNS="1"),
    case("columns that are text", REPORT, "Report", template="studies", COLUMNS="abc"),
    case("no user", TRAIN, POOLED, USER=None, LOGNAME=None),
    case("no temporary folder", TRAIN, POOLED, TMPDIR="/proc/nothing"),
    case("no temporary folder: two workers", PREPARE_TWO, THERE, TMPDIR="/proc/nothing"),
    case("another time zone", TRAIN, POOLED, TZ="Nowhere/Nothing"),
    case("threads that are text", TRAIN, POOLED, OMP_NUM_THREADS="1", MKL_NUM_THREADS="abc"),
    case("a GPU that is not there", TRAIN, POOLED, CUDA_VISIBLE_DEVICES="99"),
    case("GPUs that are text", TRAIN, POOLED, CUDA_VISIBLE_DEVICES="abc"),
    case("no path", TRAIN, POOLED, PATH=""),
    case("no git", TRAIN, POOLED, PATH="/proc/nothing"),
    case("SLURM's variables", TRAIN, POOLED, SLURM_JOB_ID="1", SLURM_NTASKS="1", SLURM_PROCID="0", SLURM_LOCALID="0", SLURM_NODELIST="n1", SLURM_JOB_NAME="bash"),
    case("a port that is text", TRAIN, POOLED, MASTER_PORT="abc", MASTER_ADDR="nowhere"),
    case("an odd folder", TRAIN, POOLED, change=both(write("random.py", "raise ValueError\n"), write("json.py", "raise ValueError\n"))),
    case("warnings are errors in the user's shell", PREPARE, THERE, PYTHONWARNINGS="ignore"),
    case("Python's development mode", ("mefusion-prepare", "--help"), "faces", PYTHONDEVMODE="1", PYTHONWARNINGS="ignore"),
    case("optimised Python", TRAIN, POOLED, PYTHONOPTIMIZE="1"),
    case("a random hash", TRAIN, POOLED, PYTHONHASHSEED="12345"),
    case("an old name of a full error", TRAIN, POOLED, HYDRA_FULL_ERROR="0"),
]  # fmt: skip
CASES = [*REFUSED, *(Case(**{**vars(one), "expected": Expected.works}) for one in WORK)]
