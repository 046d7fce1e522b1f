"""`mefusion-train`: one study, or a sweep of them with `-m`."""

import functools
import json
import logging
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

# --help has to answer at once, and Ctrl-C from the start: what takes time to import comes in where it is used.
from mefusion.common.errors import MefusionError
from mefusion.common.files import write_text
from mefusion.common.memory import reuse_freed_memory
from mefusion.common.stopping import end_with_named_parent, stoppable

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from mefusion.configuration.composition import Experiment
    from mefusion.studies.study import Study


def train(config: "DictConfig") -> float | None:
    """Run a study over its folds and print its pooled metrics.

    Returns:
        Pooled UF1, for a sweeper, with `rule=inner_val` that of the validation subjects; None while folds are missing,
        or where the rule looked at the test subjects.

    Raises:
        MefusionError: the data is not prepared, or the configuration makes no sense.
    """
    from mefusion.common.distributed import rank
    from mefusion.configuration import building, composition, processes
    from mefusion.evaluation.folds import select_folds, select_shard
    from mefusion.studies.study import Builder, run_study
    from mefusion.training.callbacks import progress_bar

    quiet_lightning()
    require_one_study()
    experiment = composition.resolve_experiment(config)
    settings = experiment.settings
    building.check_settings(settings)
    if settings.trainer["accelerator"] == "cpu":
        reuse_freed_memory()
    clips = composition.load_clips(experiment)
    study = composition.plan_study(experiment, clips)
    names = {fold.name for fold in select_folds(study.folds, settings.protocol.folds)}
    chosen = select_shard([run for run in study.runs if run.fold in names], settings.protocol.shard)
    processes.start_processes(settings.trainer)
    first = rank() == 0
    say = functools.partial(print, flush=True) if first else lambda line: None
    before = sum(run.done for run in study.runs)
    subjects = clips.index["subject"].nunique()
    tasks = " + ".join(experiment.tasks)
    say(f"{study.directory}: {len(clips.index)} clips of {subjects} subjects, {tasks}, {settings.protocol.name}")
    if settings.rule == "oracle":
        say("rule=oracle looks for the best epoch on the test subjects: its scores are called oracle and are no result")
    with processes.report_errors_once(), progress_bar(sum(not run.done for run in chosen)) as shown:
        build = Builder(
            data=functools.partial(building.make_data, experiment, clips),
            module=functools.partial(building.make_module, settings, experiment.tasks),
            trainer=lambda run, callbacks: building.make_trainer(experiment, study, run, [*callbacks, *shown]),
        )
        run_study(study, chosen, clips, build, say)
    return finish(experiment, study, done_before=before) if first else None


def finish(experiment: "Experiment", study: "Study", *, done_before: int) -> float | None:
    """Score a study that is complete, print and log the scores, and tell the launcher; name the folds that are missing.

    Returns:
        As `train`.
    """
    from mefusion.configuration import building
    from mefusion.studies.results import headline, pool, validation_uf1

    missing = [run.name for run in study.runs if not run.done]
    trained = len(study.runs) - len(missing) - done_before
    if missing:
        print(f"{study.directory} still lacks the folds {', '.join(missing)}: nothing is pooled")
        report_to_launcher(complete=False, uf1=None, objective=None, trained=trained)
        return None
    result = pool(study.directory)
    print(headline(result.summary))
    building.log_study(experiment, study, result.summary, result.predictions)
    uf1 = result.summary.get("uf1")  # what is chosen on the test subjects has no say in a sweep
    objective = validation_uf1([run.folder for run in study.runs]) if study.rule == "inner_val" else uf1
    report_to_launcher(complete=True, uf1=uf1, objective=objective, trained=trained)
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


def report_to_launcher(**result: float | None) -> None:
    """Tell the launcher, where this is a job of a sweep, what came of it."""
    from hydra_plugins.mefusion_launcher import RESULT_VARIABLE

    if path := os.environ.get(RESULT_VARIABLE):
        write_text(Path(path), json.dumps(result))


def quiet_lightning() -> None:
    """Leave the terminal to the study's own lines; warnings that users can act on stay."""
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
    kept = "folds that are done are kept, and the others from their last checkpoint on: the same command goes on"
    with stoppable("mefusion-train", kept):
        end_with_named_parent()
        from mefusion.configuration.cli import run

        run(train, config_name="train", program="mefusion-train")


if __name__ == "__main__":
    main()
