"""`mefusion-train`: one study, or a sweep of them with `-m`."""

import functools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra_plugins.mefusion_launcher import RESULT_VARIABLE
from mefusion.common.errors import MefusionError
from mefusion.common.files import write_text
from mefusion.common.memory import reuse_freed_memory
from mefusion.configuration.cli import run

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from mefusion.studies.study import Run, Study


def train(config: "DictConfig") -> float | None:
    """Run a study over its folds and print its pooled metrics.

    Returns:
        Pooled UF1, for a sweeper, with `rule=inner_val` that of the validation subjects; None while folds are missing,
        or where the rule looked at the test subjects.

    Raises:
        MefusionError: the data is not prepared, or the configuration makes no sense.
    """
    # Imported here, so that --help does not wait for torch.
    from mefusion.common.distributed import rank
    from mefusion.configuration import composition, trainer
    from mefusion.evaluation.folds import select_folds, select_shard
    from mefusion.studies.study import run_study
    from mefusion.training.callbacks import progress_bar

    quiet_lightning()
    require_one_study()
    composition.require_sense(config)
    trainer.require_sense(config)
    if config.trainer.accelerator == "cpu":
        reuse_freed_memory()
    store = composition.load_clips(config)
    folds = composition.plan_folds(config, store)
    study = composition.plan_study(config, store, folds)
    runs = study.runs(folds, store.index)
    names = {fold.name for fold in select_folds(folds, config.protocol.folds)}
    chosen = select_shard([run for run in runs if run.fold.name in names], config.protocol.shard)
    trainer.start_processes(config)
    say = functools.partial(print, flush=True) if rank() == 0 else lambda line: None
    before = sum(run.done for run in runs)
    tasks = " + ".join(composition.task_weights(config))
    clips, subjects = len(store.index), store.index["subject"].nunique()
    say(f"{study.directory}: {clips} clips of {subjects} subjects, {tasks}, {config.protocol.name}")
    if config.rule == "oracle":
        say("rule=oracle looks for the best epoch on the test subjects: its scores are called oracle and are no result")
    with trainer.one_voice(), progress_bar(sum(not run.done for run in chosen)) as shown:
        run_study(
            study,
            chosen,
            store,
            make_data=functools.partial(composition.make_data, config, store),
            make_module=functools.partial(composition.make_module, config, len(store.classes)),
            make_trainer=functools.partial(trainer.make_trainer, config, shown),
            say=say,
        )
    return pool_study(config, study, runs, done_before=before) if rank() == 0 else None


def pool_study(config: "DictConfig", study: "Study", runs: "Sequence[Run]", *, done_before: int) -> float | None:
    """Score a study that is complete, print and log the scores, and tell the launcher; say which folds lack otherwise.

    Returns:
        As `train`.
    """
    from mefusion.configuration import trainer
    from mefusion.studies.results import headline, load_predictions, pool, validation_uf1

    missing = [run.name for run in runs if not run.done]
    trained = len(runs) - len(missing) - done_before
    if missing:
        print(f"{study.directory} still lacks the folds {', '.join(missing)}: nothing is pooled")
        leave_result(complete=False, uf1=None, objective=None, trained=trained)
        return None
    summary = pool(study.directory)
    print(headline(summary))
    trainer.study_log(config, study).log_summary(summary, load_predictions(study.directory))
    uf1 = summary.get("uf1")  # what is chosen on the test subjects has no say in a sweep
    objective = validation_uf1([run.folder for run in runs]) if config.rule == "inner_val" else uf1
    leave_result(complete=True, uf1=uf1, objective=objective, trained=trained)
    return objective


def require_one_study() -> None:
    """Refuse a sweep that is not run as one, as `+ablation=tasks` without `-m`, which would leave its values out.

    Raises:
        MefusionError: a value that a sweep would set is not given.
    """
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    given = {override.split("=")[0] for override in hydra.overrides.task}
    if missing := [key for key in hydra.sweeper.params or () if key not in given]:
        raise MefusionError(
            f"{missing[0]} has several values, for a sweep: give -m, or {missing[0]}=VALUE for one study"
        )


def leave_result(**result: float | None) -> None:
    """Tell the launcher, where this is a job of a sweep, what came of it."""
    if path := os.environ.get(RESULT_VARIABLE):
        write_text(Path(path), json.dumps(result))


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
