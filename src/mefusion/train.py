"""`mefusion-train`: one study, or a sweep of them with `-m`."""

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from hydra_plugins.mefusion_launcher import RESULT_VARIABLE
from mefusion.cli import run
from mefusion.files import write_text
from mefusion.memory import spare_fresh_pages

if TYPE_CHECKING:
    from omegaconf import DictConfig


def train(config: "DictConfig") -> float | None:
    """Run a study over its folds and print its pooled metrics.

    Returns:
        Pooled UF1, for a sweeper; None while folds are missing.

    Raises:
        MefusionError: the data is not prepared, or the configuration makes no sense.
    """
    # Imported here, so that --help does not wait for torch.
    from mefusion import composition
    from mefusion.data.folds import select_folds
    from mefusion.results import headline, pool
    from mefusion.study import run_study

    quiet_lightning()
    if config.trainer.accelerator == "cpu":
        spare_fresh_pages()
    store = composition.load_clips(config)
    folds = composition.plan_folds(config, store)
    study = composition.plan_study(config, store, folds)
    tasks = " + ".join(composition.task_weights(config))
    clips, subjects = len(store.index), store.index["subject"].nunique()
    print(f"{study.directory}: {clips} clips of {subjects} subjects, {tasks}, {config.protocol.name}", flush=True)
    run_study(
        study,
        select_folds(folds, config.protocol.folds),
        store,
        make_data=functools.partial(composition.make_data, config, store),
        make_module=functools.partial(composition.make_module, config, len(store.classes)),
        make_trainer=functools.partial(composition.make_trainer, config, study),
        say=functools.partial(print, flush=True),
    )
    missing = [fold.name for fold in folds if not (study.fold_folder(fold) / "DONE").exists()]
    if missing:
        print(f"{study.directory} still lacks the folds {', '.join(missing)}: nothing is pooled")
        return None
    summary = pool(study.directory)
    print(headline(summary))
    if result := os.environ.get(RESULT_VARIABLE):
        write_text(Path(result), str(summary["uf1"]))
    return summary["uf1"]


def quiet_lightning() -> None:
    """Leave the terminal to the study's own lines; warnings that users can act on stay."""
    import logging
    import warnings

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*LeafSpec.*",
        ".*does not have many workers.*",
        ".*Checkpoint directory .* exists.*",
        ".*Experiment logs directory.*",
    ):
        warnings.filterwarnings("ignore", message=message)


def main() -> None:
    """Console script."""
    run(train, config_name="train", program="mefusion-train")


if __name__ == "__main__":
    main()
