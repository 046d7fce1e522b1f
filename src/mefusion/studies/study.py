"""A study: one configuration run over all its folds and seeds, each result kept when it is whole."""

import json
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import lightning as L
import numpy as np
import pandas as pd

from mefusion.clips.table import KEY
from mefusion.common.distributed import broadcast, rank
from mefusion.common.errors import MefusionError
from mefusion.common.files import remove_leftovers, try_lock, write_table, write_text
from mefusion.evaluation.folds import Fold, take_out_validation
from mefusion.studies.examples import save_examples
from mefusion.studies.results import run_name
from mefusion.training.checkpoints import rule_callbacks, selected_checkpoint, validates
from mefusion.training.examples import predict_examples
from mefusion.training.loggers import finish_loggers
from mefusion.training.module import MERModule, Prediction
from mefusion.training.resume import FoldCallback, Resumed, last_checkpoint, read_checkpoint, trim_log
from mefusion.windows.datamodule import FoldData, Statistics
from mefusion.windows.store import ClipStore, TestWindows

MakeData = Callable[[Fold, int], FoldData]
MakeModule = Callable[[Statistics], MERModule]
MakeTrainer = Callable[["Run", list[L.Callback]], L.Trainer]


@dataclass(frozen=True)
class Study:
    """What is run, and where its results stand.

    Attributes:
        directory: `outputs/<study>`.
        config: the resolved configuration, YAML.
        facts: what `study.json` tells: classes, folds, hashes, versions.
        seeds: every fold is run with each.
        rule: which weights predict, see `mefusion.training.checkpoints`.
        validation: share of the training subjects that the rule `inner_val` takes out.
    """

    directory: Path
    config: str
    facts: Mapping[str, object]
    seeds: tuple[int, ...]
    rule: str
    validation: float

    @property
    def name(self) -> str:
        """Name of the study, that of its directory."""
        return self.directory.name

    def runs(self, folds: Sequence[Fold], clips: pd.DataFrame) -> list["Run"]:
        """Every fold with every seed, a seed after the other, with the validation subjects that the rule asks for.

        Args:
            folds: without validation subjects.
            clips: labelled clips with the columns subject and label.

        Raises:
            MefusionError: a fold's training subjects cannot be split as the rule asks.
        """
        return [Run(self, self._validated(fold, clips, seed), seed) for seed in self.seeds for fold in folds]

    def _validated(self, fold: Fold, clips: pd.DataFrame, seed: int) -> Fold:
        if self.rule == "inner_val":
            return take_out_validation(fold, clips, share=self.validation, seed=seed)
        return replace(fold, validation=fold.test) if self.rule == "oracle" else fold


@dataclass(frozen=True)
class Run:
    """A fold with one of its study's seeds, which is what is trained, kept and resumed.

    Attributes:
        study: the study.
        fold: its subjects.
        seed: of everything random.
    """

    study: Study
    fold: Fold
    seed: int

    @property
    def name(self) -> str:
        """The fold's, with the seed where there are several."""
        return run_name(self.fold.name, self.seed, self.study.seeds)

    @property
    def folder(self) -> Path:
        """`folds/<fold>/`, or `folds/<fold>/seed<n>/` in a study of several seeds."""
        return self.study.directory / "folds" / self.name

    @property
    def checkpoints(self) -> Path:
        """The folder of its checkpoints."""
        return self.folder / "checkpoints"

    @property
    def done(self) -> bool:
        """Whether its result is whole."""
        return (self.folder / "DONE").exists()

    @property
    def own_seed(self) -> int:
        """A seed of the fold's own, so that its result does not depend on what ran before it."""
        return zlib.crc32(f"{self.seed}/{self.fold.name}".encode())

    @property
    def origin(self) -> dict[str, str | int]:
        """What its checkpoints are marked with."""
        return {"study": self.study.name, "fold": self.fold.name, "seed": self.seed}


def run_study(
    study: Study,
    runs: Sequence[Run],
    store: ClipStore,
    *,
    make_data: MakeData,
    make_module: MakeModule,
    make_trainer: MakeTrainer,
    say: Callable[[str], None],
) -> None:
    """Train and predict every fold that is not done yet and that no other process is at.

    Args:
        study: where to.
        runs: its folds and seeds to run.
        store: the clips.
        make_data, make_module, make_trainer: what a fold is run with: its data given a seed, the network given
            the training subjects' statistics, the trainer.
        say: receives a line a fold.
    """
    clock = Clock()
    for number, run in enumerate(runs, 1):
        with _taken(run) as obstacle:
            outcome = obstacle
            if outcome is None:
                table = run_fold(run, store, make_data=make_data, make_module=make_module, make_trainer=make_trainer)
                right = int((table["label"] == table["prediction"]).sum())
                outcome = f"{right} of {len(table)} clips right, {clock.lap(len(runs) - number)}"
        say(f"fold {number}/{len(runs)} {run.name}: {outcome}")


@contextmanager
def _taken(run: Run) -> Iterator[str | None]:
    """Claim a fold for this training, in its first process; what there is against it, or None."""
    if rank() > 0:
        yield broadcast(None)
        return
    with try_lock(run.folder) as mine:
        yield broadcast("done before" if run.done else None if mine else "another process is at it")


@dataclass
class Clock:
    """Tells how long folds take, and how long the rest will."""

    laps: list[float] = field(default_factory=list)
    start: float = field(default_factory=time.perf_counter)

    def lap(self, left: int) -> str:
        """End a lap, of which so many are left."""
        now = time.perf_counter()
        self.laps.append(now - self.start)
        self.start = now
        rest = left * sum(self.laps) / len(self.laps)
        return f"{self.laps[-1]:.0f} s" + (f", about {rest / 60:.0f} min left" if rest > 90 else "")


def run_fold(
    run: Run, store: ClipStore, *, make_data: MakeData, make_module: MakeModule, make_trainer: MakeTrainer
) -> pd.DataFrame:
    """Train on a fold's training subjects and predict its test subjects with the weights of the study's rule.

    A fold that was interrupted goes on from its last checkpoint.

    Returns:
        The fold's prediction table, which is also written, with the marker DONE after it.
    """
    L.seed_everything(run.own_seed, verbose=False)
    data = make_data(run.fold, run.own_seed)
    module = make_module(data.statistics)
    resumed = last_checkpoint(run.checkpoints, run.origin)
    if rank() == 0:
        remove_leftovers(run.folder, age=0)  # the folder is locked: they are no other process's
        trim_log(run.folder / "metrics.csv", resumed.epochs if resumed else 0)
    rule = run.study.rule
    callbacks = [FoldCallback(run.own_seed, run.origin), *rule_callbacks(rule, run.checkpoints)]
    trainer = make_trainer(run, callbacks)
    _require_whole_epochs(run, trainer, data)
    if rank() == 0:
        _write_study(run.study)  # not before all is built: what cannot be leaves no study
    try:
        epoch = _train(run, trainer, module, data, resumed)
        prediction = _predict(trainer, module, data, data.test_windows)
        validation = _predict(trainer, module, data, data.validation_windows) if rule == "inner_val" else None
    finally:
        finish_loggers()
    facts = {"study": run.study.name, "fold": run.fold.name, "seed": run.seed, "rule": rule, "epoch": epoch}
    table = prediction_table(prediction, store).assign(**facts)
    _check(table, data)
    if rank() == 0:
        if validation:
            write_table(run.folder / "validation.parquet", prediction_table(validation, store).assign(**facts))
        _write_result(run, table, module, data, trainer)
    return table


def _write_study(study: Study) -> None:
    if not (study.directory / "study.json").exists():
        write_text(study.directory / "config.yaml", study.config)
        write_text(study.directory / "study.json", json.dumps({"study": study.name, **study.facts}, indent=2))


def _require_whole_epochs(run: Run, trainer: L.Trainer, data: FoldData) -> None:
    """Raise a MefusionError where the study's rule selects among whole epochs, and there is none."""
    steps = len(data.train_dataloader())
    if validates(run.study.rule) and -1 < trainer.max_steps < steps:
        raise MefusionError(
            f"rule={run.study.rule} selects among whole epochs, of {steps} steps in fold {run.fold.name}: raise "
            f"model.training.max_steps={trainer.max_steps}"
        )


def _train(run: Run, trainer: L.Trainer, module: MERModule, data: FoldData, resumed: Resumed | None) -> int:
    """Train and load the weights that the study's rule selects; how many epochs they have seen."""
    if not module.learns:
        return 0
    start = resumed.path if resumed else None
    trainer.fit(module, datamodule=data, ckpt_path=start, weights_only=True)
    selected = read_checkpoint(selected_checkpoint(run.study.rule, run.checkpoints))
    module.load_state_dict(selected["state_dict"])
    return selected["epoch"] + 1


def _predict(trainer: L.Trainer, module: MERModule, data: FoldData, windows: TestWindows) -> Prediction:
    data.predicted = windows
    batches = trainer.predict(module, datamodule=data)
    prediction = Prediction.joined(batches, len(windows))  # type: ignore[arg-type]
    assert prediction.clip.tolist() == [clip for clip, _ in windows.windows]  # each window once
    return prediction


def _write_result(run: Run, table: pd.DataFrame, module: MERModule, data: FoldData, trainer: L.Trainer) -> None:
    write_table(run.folder / "predictions.parquet", table)
    save_examples(run.folder / "examples.safetensors", predict_examples(module, data, attention=True), table)
    facts = {name: run.study.facts[name] for name in ("git_revision", "versions")}
    facts |= {"device": str(trainer.strategy.root_device), "processes": trainer.world_size}
    if run.study.rule == "inner_val":
        facts |= {"validation": run.fold.validation}
    write_text(run.folder / "fold.json", json.dumps(facts, indent=2))
    write_text(run.folder / "DONE", "")


def _check(table: pd.DataFrame, data: FoldData) -> None:
    """Every test clip is there once, with probabilities.

    Raises:
        MefusionError: the training diverged.
    """
    expected = data.store.index.loc[data.test_clips, KEY]
    found, expected = (sorted(rows[KEY].itertuples(index=False, name=None)) for rows in (table, expected))
    assert found == expected, f"{data.fold.name}: a test clip is missing or twice"
    if not np.isfinite(table.select_dtypes("number").to_numpy()).all():
        raise MefusionError(f"the training of fold {data.fold.name} diverged: lower model.optimizer.lr")


def prediction_table(prediction: Prediction, store: ClipStore) -> pd.DataFrame:
    """One row a clip: its probabilities and errors are the means over its windows.

    Args:
        prediction: of windows.
        store: the clips.

    Returns:
        The columns dataset, subject, clip_id, label, prediction, probability_<class>, and the tasks' errors.
    """
    columns = {"clip": prediction.clip.numpy()}
    probabilities = prediction.probabilities.double().numpy()
    columns |= {f"probability_{name}": probabilities[:, k] for k, name in enumerate(store.classes)}
    columns |= {name: errors.double().numpy() for name, errors in prediction.errors.items()}
    clips = pd.DataFrame(columns).groupby("clip", as_index=True).mean()
    best = clips[[f"probability_{name}" for name in store.classes]].to_numpy().argmax(1)
    keys = store.index.loc[clips.index, ["dataset", "subject", "clip_id", "label"]]
    return keys.assign(prediction=np.array(store.classes)[best]).join(clips).reset_index(drop=True)
