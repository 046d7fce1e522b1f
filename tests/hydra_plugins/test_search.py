import sys
from collections import Counter

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from mefusion.commands import train
from mefusion.configuration.cli import configuration_folder

optuna = pytest.importorskip("optuna")

from hydra_plugins.mefusion_sweeper import distribution  # noqa: E402

# Stands for `python -m mefusion.commands.train ...`: the score is best at lr = .001 and few neighbours; it notes what
# it was given. For each file `fail-*` a job fails, and for each `kill-*` one is killed.
JOB = """#!{python}
import json, math, os, signal, sys
from pathlib import Path
job = dict(text.split("=", 1) for text in sys.argv[3:] if "=" in text)
with Path("jobs.txt").open("a") as jobs:
    print(*sys.argv[3:], file=jobs)
def comes_next(name):
    for path in Path().glob(f"{{name}}-*"):
        try:
            path.unlink()
        except FileNotFoundError:  # another job has taken it
            continue
        return True
if comes_next("fail"):
    sys.exit("mefusion-train: no such luck")
if comes_next("kill"):
    os.kill(os.getpid(), signal.SIGKILL)
score = 1 - abs(math.log10(float(job["model.optimizer.lr"])) + 3) / 10 - int(job["model.network.neighbors"]) / 100
result = {{"complete": True, "uf1": 0.9, "objective": None if Path("partly").exists() else score, "trained": 2}}
Path(os.environ["MEFUSION_RESULT_FILE"]).write_text(json.dumps(result))
"""
SPACE = ("model.optimizer.lr=tag(log,interval(1e-5,1e-1))", "model.network.neighbors=range(1,8)")


@pytest.fixture
def search(tiny, tmp_path, monkeypatch):
    program = tmp_path / "job"
    program.write_text(JOB.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.chdir(tmp_path)

    def search(*arguments):
        fixed = (*tiny.overrides, "hydra/sweeper=search", "rule=inner_val", "labels=three", "hydra.sweeper.n_trials=6")
        monkeypatch.setattr(sys, "argv", ["mefusion-train", "-m", *fixed, *arguments])
        train.main()
        return OmegaConf.load(next(tmp_path.glob("outputs/search-*/best.yaml")))  # of one of them

    return search


def jobs(folder):
    return [
        dict(text.split("=", 1) for text in line.split()) for line in (folder / "jobs.txt").read_text().splitlines()
    ]


def next_jobs(folder, what, count):
    """Let so many of the next jobs `fail`, or `kill` them."""
    for number in range(count):
        (folder / f"{what}-{number}").touch()


def searches(folder):
    return list(folder.glob("outputs/search-*"))


def score_of(job):
    import math

    return 1 - abs(math.log10(float(job["model.optimizer.lr"])) + 3) / 10 - int(job["model.network.neighbors"]) / 100


def test_the_best_trial_on_the_validation_subjects_is_told_and_written(search, tmp_path, capfd):
    best = search(*SPACE, "hydra.sweeper.at_once=2")
    done = jobs(tmp_path)
    assert len(done) == 6
    assert all(job["rule"] == "inner_val" and job["labels"] == "three" for job in done)
    assert all(1e-5 <= float(job["model.optimizer.lr"]) <= 1e-1 for job in done)
    assert {int(job["model.network.neighbors"]) for job in done} <= set(range(1, 8))
    assert best.validation_uf1 == pytest.approx(max(map(score_of, done)))  # and not the test subjects' .9
    assert best.validation_uf1 == pytest.approx(score_of(dict(text.split("=") for text in best.overrides)))
    printed = capfd.readouterr().out
    assert f"UF1 {best.validation_uf1:.3f}: {' '.join(best.overrides)}" in printed
    assert f"[{best.trial}] UF1 {best.validation_uf1:.3f} on the validation subjects" in printed


def test_the_same_command_goes_on_where_a_search_stopped(search, tmp_path):
    search(*SPACE, "hydra.sweeper.n_trials=2")
    # What changes no result leaves it the same search, also after a change of code.
    harmless = ("accept_code=true", "again=true", "resources.minutes=9", "cluster.partition=gpu", "workers=1")
    search(*SPACE, "hydra.sweeper.n_trials=3", *harmless)
    assert len({job["model.optimizer.lr"] for job in jobs(tmp_path)}) == 3  # nothing is tried twice
    search(*SPACE, "hydra.sweeper.n_trials=3")
    assert len(jobs(tmp_path)) == 3
    assert len(searches(tmp_path)) == 1
    # Another space is another search, and so are other fixed values.
    search(SPACE[0], "model.network.neighbors=range(2,8)", "hydra.sweeper.n_trials=1")
    search(*SPACE, "model.network.dropout=0.3", "hydra.sweeper.n_trials=1")
    assert len(searches(tmp_path)) == 3


def test_a_changed_file_of_the_configuration_is_another_search(search, tmp_path):
    folder = tmp_path / "own" / "model"
    folder.mkdir(parents=True)
    text = (configuration_folder("conf") / "model" / "mol_tiny.yaml").read_text()
    (folder / "mine.yaml").write_text(text)
    space = ("--config-dir", "own", "model=mol_tiny,mine", *SPACE, "hydra.sweeper.n_trials=1")
    search(*space)
    (folder / "mine.yaml").write_text(text.replace("max_epochs: 30", "max_epochs: 31"))
    search(*space)
    assert len(searches(tmp_path)) == 2


def test_data_that_is_not_prepared_costs_no_trial(search, tmp_path):
    with pytest.raises(SystemExit, match=r"prepare the data first with mefusion-prepare .*clip_length=6"):
        search(*SPACE, "clip_length=6")
    assert not searches(tmp_path)


def test_a_trial_that_fails_is_told_and_not_tried_again(search, tmp_path, capfd):
    search(*SPACE, "hydra.sweeper.n_trials=1")
    next_jobs(tmp_path, "fail", 1)
    search(*SPACE, "hydra.sweeper.n_trials=4", "hydra.sweeper.at_once=3")
    done = jobs(tmp_path)
    assert len({job["model.optimizer.lr"] for job in done}) == len(done) == 4
    printed = capfd.readouterr().out
    assert "1 of 4 trials failed, and are not tried again:" in printed
    assert ": failed: mefusion-train: no such luck" in printed
    search(*SPACE, "hydra.sweeper.n_trials=5")
    assert len(jobs(tmp_path)) == 5  # a failed trial counts


def test_a_search_stops_where_no_trial_has_done_its_work(search, tmp_path):
    next_jobs(tmp_path, "fail", 2)
    with pytest.raises(SystemExit, match="1 of 1 jobs failed"):
        search(*SPACE)
    with pytest.raises(SystemExit, match="1 of 1 jobs failed"):
        search(*SPACE)
    with pytest.raises(SystemExit, match=r"all 2 trials failed.*give a larger hydra\.sweeper\.n_trials"):
        search(*SPACE, "hydra.sweeper.n_trials=2")
    search(*SPACE, "hydra.sweeper.n_trials=3")
    assert len({job["model.optimizer.lr"] for job in jobs(tmp_path)}) == 3


def test_a_trial_that_is_killed_is_tried_once_more(search, tmp_path, capfd):
    search(*SPACE, "hydra.sweeper.n_trials=1")
    next_jobs(tmp_path, "kill", 3)
    search(*SPACE, "hydra.sweeper.n_trials=3")
    tried = Counter(job["model.optimizer.lr"] for job in jobs(tmp_path))
    assert [*tried.values()] == [1, 2, 2]  # one is killed twice, and the other does its work then
    assert ": killed by SIGKILL: " in capfd.readouterr().out.split("1 of 3 trials failed", 1)[1]


def test_a_search_that_was_killed_tries_its_values_again(search, tmp_path):
    search(*SPACE, "hydra.sweeper.n_trials=1")
    (storage,) = tmp_path.glob("outputs/search-*/trials.sqlite")
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{storage}")
    trial = study.ask(study.trials[0].distributions)  # runs, as after kill -9
    search(*SPACE, "hydra.sweeper.n_trials=2")
    assert float(jobs(tmp_path)[1]["model.optimizer.lr"]) == trial.params["model.optimizer.lr"]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([*SPACE, "rule=last"], "rule=last: a search maximises the UF1 of validation subjects"),
        (["model.optimizer.lr=0.1"], "no values are searched"),
        ([*SPACE, "hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials=0"),
        (["model.optimizer.lr=range(0.1,0.5,0.1)"], "model.optimizer.lr=range(0.1,0.5,0.1) cannot be searched"),
        ([*SPACE, "model.network.nonsense=choice(1,2)"], "nonsense"),
    ],
)
def test_what_cannot_be_searched_is_one_sentence(search, tmp_path, arguments, part):
    with pytest.raises(SystemExit) as stop:
        search(*arguments)
    assert part in stop.value.code
    assert "\n" not in stop.value.code
    assert not (tmp_path / "jobs.txt").exists()


def test_trials_without_a_score_stop_a_search(search, tmp_path):
    (tmp_path / "partly").touch()
    with pytest.raises(SystemExit, match="a trial has no score"):
        search(*SPACE)


@pytest.mark.parametrize(
    ("sweep", "expected"),
    [
        ("interval(0,1)", optuna.distributions.FloatDistribution(0, 1)),
        ("tag(log,interval(1e-4,1e-2))", optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True)),
        ("int(interval(1,8))", optuna.distributions.IntDistribution(1, 8)),
        ("range(2,9,3)", optuna.distributions.IntDistribution(2, 8, step=3)),
        ("a,b", optuna.distributions.CategoricalDistribution(["a", "b"])),
        ("choice(1,0.5,true)", optuna.distributions.CategoricalDistribution(["1", "0.5", "True"])),
    ],
)
def test_hydra_s_words_are_optuna_s_distributions(sweep, expected):
    assert distribution(OverridesParser.create().parse_override(f"key={sweep}")) == expected
