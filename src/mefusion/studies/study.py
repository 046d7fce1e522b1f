"""A study: one configuration run over all its folds and seeds; the result of each run is kept."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd

from mefusion.clips.table import KEY
from mefusion.common.errors import MefusionError
from mefusion.common.files import remove_leftovers, try_lock, write_table, write_text
from mefusion.evaluation.folds import Fold, take_out_validation
from mefusion.evaluation.predictions import PROBABILITY
from mefusion.processes.assignments import Event
from mefusion.processes.distributed import broadcast, rank
from mefusion.studies.examples import save_examples
from mefusion.studies.record import update_study
from mefusion.studies.runs import Run, runs_of
from mefusion.training.checkpoints import rule_callbacks, selected_checkpoint
from mefusion.training.examples import predict_examples
from mefusion.training.loggers import finish_loggers
from mefusion.training.module import MERModule, Prediction
from mefusion.training.resume import FoldCallback, Resumed, last_checkpoint, read_checkpoint, require_fit, trim_log
from mefusion.training.settings import Rule, batches_of_epoch
from mefusion.training.start import Start
from mefusion.training.weights import save_weights
from mefusion.windows.datamodule import FoldData, Statistics
from mefusion.windows.store import ClipStore, TestWindows


@dataclass(frozen=True)
class Study:
    """What is run, and where the results are written.

    Attributes:
        directory: `outputs/<study>`.
        config: the resolved configuration, YAML.
        facts: content of `study.json`: classes, folds, hashes, versions.
        folds: without validation subjects.
        seeds: every fold is run with each seed.
        rule: which weights predict.
        validation: share of the training subjects that the rule `inner_val` uses for validation.
        keep_weights: whether each fold keeps its weights, beside its predictions.
        start: what the networks start from.
    """

    directory: Path
    config: str
    facts: Mapping[str, Any]
    folds: Sequence[Fold]
    seeds: tuple[int, ...]
    rule: Rule
    validation: float
    keep_weights: bool = False
    start: Start = field(default_factory=Start)

    @property
    def name(self) -> str:
        """Name of the study and of its directory."""
        return self.directory.name

    @property
    def code(self) -> str:
        """Digest of the code that makes its results, see `mefusion.studies.code`."""
        return self.facts["code"]

    @property
    def runs(self) -> list[Run]:
        """Each fold with each seed, sorted by seed."""
        runs = runs_of(self.directory, [fold.name for fold in self.folds], self.seeds)
        return sorted(runs, key=lambda run: self.seeds.index(run.seed))

    def is_done(self, run: Run) -> bool:
        """Whether a run has all that the study keeps of it."""
        return run.done and (run.weights.is_file() or not self.keep_weights)

    def fold(self, run: Run, clips: pd.DataFrame) -> Fold:
        """Subjects of a run, with the validation subjects that the rule needs.

        Args:
            run: one of the study's runs.
            clips: labelled clips with the columns subject and label.

        Raises:
            MefusionError: there are too few training subjects to take out validation subjects.
        """
        fold = next(fold for fold in self.folds if fold.name == run.fold)
        if self.rule == Rule.inner_val:
            return take_out_validation(fold, clips, share=self.validation, seed=run.seed)
        return replace(fold, validation=fold.test) if self.rule == Rule.oracle else fold


@dataclass(frozen=True)
class Builder:
    """Functions that make what a run needs.

    Attributes:
        data: makes the windows, from the fold and a seed.
        module: makes the network with its tasks, from the training subjects' statistics.
        trainer: makes the trainer, from the run and the callbacks that its study needs.
    """

    data: Callable[[Fold, int], FoldData]
    module: Callable[[Statistics], MERModule]
    trainer: Callable[[Run, list[L.Callback]], L.Trainer]


def run_study(
    study: Study,
    runs: Sequence[Run],
    clips: ClipStore,
    build: Builder,
    told: Callable[[Event], None],
    begin: Callable[[str], None] = lambda fold: None,
) -> None:
    """Train and predict every fold that is not done yet and that no other process is working on.

    Args:
        study: the study.
        runs: the runs of the study that this process does.
        clips: all clips of the study.
        build: makes the data, module and trainer of a fold.
        told: is called with what is told of each fold: that it begins, and how it has ended.
        begin: is called with the name of each fold before it begins.
    """
    begin_study(study)
    for run in runs:
        begin(run.name)
        told(Event("step", fold=run.name, text="begins"))
        outcome, ran = run_if_free(study, run, clips, build)
        told(Event("ended", fold=run.name, text=outcome, share=float(ran)))


def begin_study(study: Study) -> None:
    """Remove what killed processes have left of a study, and note what its folds are gone on with."""
    if rank() == 0:
        remove_leftovers(study.directory)
        for_use = {
            name: study.facts[name] for name in ("preparation", "trained_on", "init_from") if name in study.facts
        }
        update_study(study.directory, code=study.code, left_out=study.facts["left_out"], **for_use)


def run_if_free(study: Study, run: Run, clips: ClipStore, build: Builder) -> tuple[str, bool]:
    """Run a fold, unless it is done or another process is working on it.

    Returns:
        What became of it, in words; and whether it was run.
    """
    with _claim_fold(study, run) as obstacle:
        if obstacle is not None:
            return obstacle, False
        return _outcome(run_fold(study, run, clips, build)), True


def _outcome(table: pd.DataFrame | None) -> str:
    """The result of a fold in words; `table` is what `run_fold` returns."""
    if table is None:
        return "trained"
    return f"{int((table['label'] == table['prediction']).sum())} of {len(table)} clips right"


@contextmanager
def _claim_fold(study: Study, run: Run) -> Iterator[str | None]:
    """Lock a fold in the first process; gives the reason why it is not run, or None."""
    if rank() > 0:
        yield broadcast(None)
        return
    with try_lock(run.folder) as mine:
        yield broadcast("done before" if study.is_done(run) else None if mine else "another process is working on it")


def run_fold(study: Study, run: Run, clips: ClipStore, build: Builder) -> pd.DataFrame | None:
    """Train on a fold's training subjects and predict its test subjects with the weights of the study's rule.

    A fold that was interrupted continues from its last checkpoint.

    Returns:
        The fold's prediction table. It is also written to disk, and then the marker DONE. None if the fold tests no
        one; then the weights are written.
    """
    L.seed_everything(run.own_seed, verbose=False)
    fold = study.fold(run, clips.index)
    data = build.data(fold, run.own_seed)
    module = build.module(data.statistics)
    resumed = last_checkpoint(run.checkpoints, run.origin, module)
    if rank() == 0:
        remove_leftovers(run.folder, age=0)  # the folder is locked: no other process is writing there
        done = (resumed.epochs, resumed.steps) if resumed else (0, 0)
        trim_log(run.folder / "metrics.csv", *done)
    trainer = build.trainer(run, [FoldCallback(run.own_seed, run.origin), *rule_callbacks(study.rule, run.checkpoints)])
    _require_whole_epochs(study.rule, trainer, data)
    if rank() == 0:
        _write_study(study)  # after everything is built, so that a wrong setting leaves no study behind
        origin = _origin(study, fold, trainer) | _code(study, run, resumed)
        write_text(run.folder / "fold.json", json.dumps(origin, indent=2))
        run.failure_log.unlink(missing_ok=True)
        (run.folder / "DONE").unlink(missing_ok=True)  # a fold that is done, but has not kept its weights
    try:
        epoch = _train(study.rule, run, trainer, module, data, resumed)
        prediction = _predict(trainer, module, data, data.test_windows) if fold.test else None
        validated = study.rule == Rule.inner_val
        validation = _predict(trainer, module, data, data.validation_windows) if validated else None
    finally:
        finish_loggers()
    facts = {"study": study.name, "fold": fold.name, "seed": run.seed, "rule": str(study.rule), "epoch": epoch}
    if validation and rank() == 0:
        write_table(run.folder / "validation.parquet", prediction_table(validation, clips).assign(**facts))
    if prediction is None or study.keep_weights:
        _keep_weights(run, module, data, facts)
    if prediction is None:
        if rank() == 0:
            run.mark_done(run.weights)
        return None
    table = prediction_table(prediction, clips).assign(**facts)
    _check_table(table, data)
    if rank() == 0:
        write_table(run.predictions, table)
        save_examples(run.folder / "examples.safetensors", predict_examples(module, data, attention=True), table)
        run.mark_done(run.predictions, *([run.weights] if study.keep_weights else []))
    return table


def _keep_weights(run: Run, module: MERModule, data: FoldData, facts: Mapping[str, Any]) -> None:
    """Write the weights of a fold.

    Raises:
        MefusionError: the training diverged.
    """
    if not all(bool(tensor.isfinite().all()) for tensor in module.state_dict().values()):
        raise MefusionError(f"the training of fold {data.fold.name} diverged: lower model.optimizer.lr")
    if rank() == 0:
        trained = {"clips": len(data.train_clips), "subjects": len(data.fold.train)}
        save_weights(run.weights, module.network, data.statistics, {**facts, **trained})


def _write_study(study: Study) -> None:
    if not (study.directory / "study.json").exists():
        write_text(study.directory / "config.yaml", study.config)
        write_text(study.directory / "study.json", json.dumps({"study": study.name, **study.facts}, indent=2))


def _require_whole_epochs(rule: Rule, trainer: L.Trainer, data: FoldData) -> None:
    """Raise a MefusionError if the rule selects among complete epochs, but the training ends before the first one."""
    batches = batches_of_epoch(len(data.train_dataloader()), trainer.limit_train_batches)
    steps = math.ceil(batches / trainer.accumulate_grad_batches)
    if rule.validates and -1 < trainer.max_steps < steps:
        raise MefusionError(
            f"rule={rule} selects among complete epochs, which have {steps} steps in fold {data.fold.name}: raise "
            f"model.training.max_steps={trainer.max_steps}"
        )


def _train(rule: Rule, run: Run, trainer: L.Trainer, module: MERModule, data: FoldData, resumed: Resumed | None) -> int:
    """Train, and load the weights that the rule selects; returns the number of epochs that they were trained for.

    A network that is fitted at once has the same weights by every rule.
    """
    if module.is_fitted:
        module.fit_network(data.whole_training())
    if not module.learns:
        return 0
    start = resumed.path if resumed else None
    trainer.fit(module, datamodule=data, ckpt_path=start, weights_only=True)
    path = selected_checkpoint(rule, run.checkpoints)
    selected = read_checkpoint(path)
    require_fit(path, selected["state_dict"], module)
    module.load_state_dict(selected["state_dict"])
    return selected["epoch"] + 1


def _predict(trainer: L.Trainer, module: MERModule, data: FoldData, windows: TestWindows) -> Prediction:
    data.predicted = windows
    batches = trainer.predict(module, datamodule=data)
    prediction = Prediction.joined(batches, len(windows))  # type: ignore[arg-type]
    assert prediction.clip.tolist() == [clip for clip, *_ in windows.windows]  # each window once
    return prediction


def _origin(study: Study, fold: Fold, trainer: L.Trainer) -> dict[str, Any]:
    """Where a fold was run, for `fold.json`."""
    facts = {name: study.facts[name] for name in ("git_revision", "versions")}
    facts |= {"device": str(trainer.strategy.root_device), "processes": trainer.world_size}
    return facts | ({"validation": fold.validation} if study.rule == Rule.inner_val else {})


def _code(study: Study, run: Run, resumed: Resumed | None) -> dict[str, str]:
    """Which code makes a fold, for `fold.json`: all that worked at it; nothing if it was begun by unknown code."""
    if resumed is None:
        return {"code": study.code}
    before = run.code
    return {} if before is None else {"code": "+".join(dict.fromkeys([*before.split("+"), study.code]))}


def _check_table(table: pd.DataFrame, data: FoldData) -> None:
    """Check that the table has every test clip once, with finite numbers.

    Raises:
        MefusionError: the training diverged.
    """
    expected = data.store.index.loc[data.test_clips, KEY]
    found, expected = (sorted(rows[KEY].itertuples(index=False, name=None)) for rows in (table, expected))
    assert found == expected, f"{data.fold.name}: a test clip is missing or twice"
    if not np.isfinite(table.select_dtypes("number").to_numpy()).all():
        raise MefusionError(f"the training of fold {data.fold.name} diverged: lower model.optimizer.lr")


def prediction_table(prediction: Prediction, clips: ClipStore) -> pd.DataFrame:
    """Make one row for each clip; its probabilities and errors are the means over its windows.

    Args:
        prediction: of windows.
        clips: all clips of the study.

    Returns:
        The columns dataset, subject, clip_id, label, prediction, probability_<class>, and the tasks' errors.
    """
    names = {number: f"{PROBABILITY}{name}" for number, name in enumerate(clips.classes)}
    means = prediction.by_clip().rename(columns=names)
    best = means[[*names.values()]].to_numpy().argmax(1)
    keys = clips.index.loc[means.index, [*KEY, "label"]]
    return keys.assign(prediction=np.array(clips.classes)[best]).join(means).reset_index(drop=True)
