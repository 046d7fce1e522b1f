"""A study: one configuration run over all its folds, each fold's result kept when it is whole."""

import json
import pickle
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import numpy as np
import pandas as pd
import torch

from mefusion.data.cache import save_arrays
from mefusion.data.clips import Batch, ClipStore
from mefusion.data.datamodule import FoldData, Statistics
from mefusion.data.folds import Fold
from mefusion.data.records import KEY
from mefusion.errors import MefusionError
from mefusion.files import write_table, write_text
from mefusion.loggers import finish_loggers
from mefusion.models.module import MERModule, Prediction

MakeData = Callable[[Fold, int], FoldData]
MakeModule = Callable[[Statistics], MERModule]
MakeTrainer = Callable[[str, Path], L.Trainer]


@dataclass(frozen=True)
class Study:
    """What is run, and where its results stand.

    Attributes:
        directory: `outputs/<study>`.
        config: the resolved configuration, YAML.
        facts: what `study.json` tells: classes, folds, hashes, versions.
        seed: of everything random.
    """

    directory: Path
    config: str
    facts: Mapping[str, object]
    seed: int

    @property
    def name(self) -> str:
        """Name of the study, that of its directory."""
        return self.directory.name

    def fold_folder(self, fold: Fold) -> Path:
        """`folds/<fold>/`."""
        return self.directory / "folds" / fold.name

    def fold_seed(self, fold: Fold) -> int:
        """A seed of the fold's own, so that its result does not depend on which folds ran before it."""
        return zlib.crc32(f"{self.seed}/{fold.name}".encode())


def run_study(
    study: Study,
    folds: Sequence[Fold],
    store: ClipStore,
    *,
    make_data: MakeData,
    make_module: MakeModule,
    make_trainer: MakeTrainer,
    say: Callable[[str], None],
) -> None:
    """Train and predict every fold that is not done yet.

    Args:
        study: where to.
        folds: which.
        store: the clips.
        make_data, make_module, make_trainer: what a fold is run with: its data given a seed, the network given
            the training subjects' statistics, the trainer given the fold's name and folder.
        say: receives a line a fold.
    """
    if not (study.directory / "study.json").exists():
        write_text(study.directory / "config.yaml", study.config)
        write_text(study.directory / "study.json", json.dumps({"study": study.name, **study.facts}, indent=2))
    for number, fold in enumerate(folds, 1):
        if (study.fold_folder(fold) / "DONE").exists():
            say(f"fold {number}/{len(folds)} {fold.name}: done before")
            continue
        start = time.perf_counter()
        table = run_fold(study, fold, store, make_data=make_data, make_module=make_module, make_trainer=make_trainer)
        right = int((table["label"] == table["prediction"]).sum())
        seconds = time.perf_counter() - start
        say(f"fold {number}/{len(folds)} {fold.name}: {right} of {len(table)} clips right, {seconds:.0f} s")


def run_fold(
    study: Study,
    fold: Fold,
    store: ClipStore,
    *,
    make_data: MakeData,
    make_module: MakeModule,
    make_trainer: MakeTrainer,
) -> pd.DataFrame:
    """Train on a fold's training subjects and predict its test subjects with the last weights.

    A fold that was interrupted goes on from its last checkpoint.

    Returns:
        The fold's prediction table, which is also written, with the marker DONE after it.
    """
    folder, seed = study.fold_folder(fold), study.fold_seed(fold)
    L.seed_everything(seed, verbose=False)
    data = make_data(fold, seed)
    module = make_module(data.statistics)
    trainer = make_trainer(fold.name, folder)
    trainer.callbacks.append(SeedSteps(seed))  # type: ignore[attr-defined]
    try:
        if any(parameter.requires_grad for parameter in module.parameters()):
            trainer.fit(module, datamodule=data, ckpt_path=_last_checkpoint(folder), weights_only=True)
        predictions = trainer.predict(module, datamodule=data)
    finally:
        finish_loggers()
    assert predictions is not None
    table = prediction_table(predictions, store)  # type: ignore[arg-type]
    extra = {"study": study.name, "fold": fold.name, "seed": study.seed, "rule": "last", "epoch": trainer.current_epoch}
    table = table.assign(**extra)
    _check(table, fold, data)
    write_table(folder / "predictions.parquet", table)
    _save_examples(folder / "examples.safetensors", module, data, table)
    facts = {name: study.facts[name] for name in ("git_revision", "versions")}
    write_text(folder / "fold.json", json.dumps({"device": str(trainer.strategy.root_device), **facts}, indent=2))
    write_text(folder / "DONE", "")
    return table


def _check(table: pd.DataFrame, fold: Fold, data: FoldData) -> None:
    """Every test clip is there once, with probabilities.

    Raises:
        MefusionError: the training diverged.
    """
    expected = data.store.index.loc[data.test_clips, KEY]
    found, expected = (sorted(rows[KEY].itertuples(index=False, name=None)) for rows in (table, expected))
    assert found == expected, f"{fold.name}: a test clip is missing or twice"
    if not np.isfinite(table.select_dtypes("number").to_numpy()).all():
        raise MefusionError(f"the training of fold {fold.name} diverged: lower model.optimizer.lr")


def _last_checkpoint(folder: Path) -> str | None:
    """Where an interrupted fold goes on from.

    Raises:
        MefusionError: the file is broken.
    """
    path = folder / "checkpoints" / "last.ckpt"
    if not path.exists():
        return None
    try:
        torch.load(path, map_location="meta", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise MefusionError(f"{path} is broken: delete it, and the fold starts anew") from error
    return str(path)


class SeedSteps(L.Callback):
    """Seeds dropout by fold and step, so that a resumed fold draws what an uninterrupted one draws."""

    def __init__(self, seed: int):
        self.seed = seed

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Called by Lightning."""
        torch.manual_seed(zlib.crc32(f"{self.seed}/{trainer.global_step}".encode()))


def prediction_table(predictions: Sequence[Prediction], store: ClipStore) -> pd.DataFrame:
    """One row a clip: its probabilities and errors are the means over its windows.

    Args:
        predictions: of batches of windows.
        store: the clips.

    Returns:
        The columns dataset, subject, clip_id, label, prediction, probability_<class>, and the tasks' errors.
    """
    columns = {"clip": torch.cat([p.clip for p in predictions]).numpy()}
    probabilities = torch.cat([p.probabilities for p in predictions]).double().numpy()
    columns |= {f"probability_{name}": probabilities[:, k] for k, name in enumerate(store.classes)}
    for name in predictions[0].errors:
        columns[name] = torch.cat([p.errors[name] for p in predictions]).double().numpy()
    clips = pd.DataFrame(columns).groupby("clip", as_index=True).mean()
    best = clips[[f"probability_{name}" for name in store.classes]].to_numpy().argmax(1)
    keys = store.index.loc[clips.index, ["dataset", "subject", "clip_id", "label"]]
    return keys.assign(prediction=np.array(store.classes)[best]).join(clips).reset_index(drop=True)


@torch.no_grad()
def _save_examples(path: Path, module: MERModule, data: FoldData, table: pd.DataFrame) -> None:
    """Keep one window a class, with targets and predictions, for the report's pictures."""
    raw = data.examples()
    if raw.inputs.dim() != 5:  # a picture shows frames
        return
    output = module.eval()(data.normalise(raw).inputs.to(module.device))
    arrays: dict[str, np.ndarray] = {}
    metadata: dict[str, str] = {}
    answers = table.set_index(KEY)["prediction"]
    for row, clip in enumerate(raw.clip.tolist()):
        facts = data.store.index.loc[clip]
        # Clips of two subjects may share an id.
        key = facts["clip_id"] if facts["clip_id"] not in metadata else f"{facts['subject']} {facts['clip_id']}"
        arrays[f"{key}|frames"] = raw.inputs[row, :, 0].numpy()
        for name, dtype in (("flow", np.float16), ("landmarks", np.float32), ("dynamic_image", np.float16)):
            if name in module.tasks:
                arrays[f"{key}|{name}"] = getattr(output, name)[row].float().cpu().numpy().astype(dtype)
                arrays[f"{key}|{name}_target"] = getattr(raw, name)[row].numpy().astype(dtype)
        answer = {"label": facts["label"], "prediction": answers[tuple(facts[KEY])], "subject": facts["subject"]}
        metadata[key] = json.dumps(answer)
    save_arrays(path, arrays, metadata)
