"""`mefusion-train`: run one study, or a sweep of studies with `-m`."""

import functools
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

# --help has to answer at once, and Ctrl-C from the start: what takes time to import comes in where it is used.
from mefusion.common.errors import MefusionError
from mefusion.common.files import write_text
from mefusion.common.quiet import quiet_lightning
from mefusion.processes.memory import reuse_freed_memory
from mefusion.processes.stopping import end_with_named_parent, stoppable

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from mefusion.configuration.composition import Experiment
    from mefusion.studies.runs import Run
    from mefusion.studies.study import Study
    from mefusion.windows.store import ClipStore

PROGRAM = "mefusion-train"
ESTIMATE = "--estimate"
KEPT = "finished folds and the last checkpoint of the others are kept: run the same command to go on"


def train(config: "DictConfig") -> float | None:
    """Run the folds of a study and print its pooled metrics.

    Returns:
        The value that a sweeper maximises: the pooled UF1, or with `rule=inner_val` the UF1 of the validation subjects.
        None if folds are missing, if the rule selects on the test subjects, or if there are none.

    Raises:
        MefusionError: the data are not prepared, or settings are wrong.
    """
    # Imported here, so that --help does not wait for torch.
    from mefusion.configuration import complete
    from mefusion.processes.assignments import is_further, is_worker

    require_one_study()
    further, path = is_further(), complete.note_path(config)
    if path is not None and not further and (note := complete.read_note(path)):
        print("\n".join(note.lines))
        report_to_launcher(**note.result)
        return note.result["objective"]

    from mefusion.configuration import processes
    from mefusion.processes.distributed import rank
    from mefusion.studies.code import require_same_code

    experiment, clips, study, chosen = plan(config)
    settings = experiment.settings
    processes.start_processes(settings.trainer)
    first = rank() == 0
    say = functools.partial(print, flush=True) if first and not further else lambda line: None
    with processes.report_errors_once():
        require_same_code(study, again=settings.again, accept=settings.accept_code, say=say)
    before = sum(run.done for run in study.runs)
    lines = introduction(experiment, clips, study)
    say("\n".join(lines))
    run_folds = serve if is_worker() else run_here
    with processes.report_errors_once():
        scores = run_folds(experiment, clips, study, chosen)
    if not (first and scores):
        return None
    result = finish(experiment, study, done_before=before)
    if path is not None and result.get("headline") and complete.note_path(config) == path:  # nothing changed meanwhile
        folds = [f"fold {number}/{len(chosen)} {run.name}: done before" for number, run in enumerate(chosen, 1)]
        lines += [*folds, str(result.pop("headline"))]
        complete.write_note(path, study.directory, result_files(study), lines, result | {"trained": 0})
    return result["objective"]


def introduction(experiment: "Experiment", clips: "ClipStore", study: "Study") -> list[str]:
    """What is said of a study before its folds."""
    from mefusion.studies.record import left_out_phrase, origin_phrase

    settings = experiment.settings
    subjects, tasks = clips.index["subject"].nunique(), " + ".join(experiment.tasks)
    lines = [f"{study.directory}: {len(clips.index)} clips of {subjects} subjects, {tasks}, {settings.protocol.name}"]
    if left_out := left_out_phrase(study.facts):
        lines.append(f"{left_out}, see {experiment.preparation.cache / 'failures.csv'}")
    if origin := origin_phrase(study.facts):
        lines.append(origin)
    if settings.rule == "oracle":
        lines.append(
            "rule=oracle selects the best epoch on the test subjects: its scores are named oracle and are not results"
        )
    return lines


def result_files(study: "Study") -> list[str]:
    """The files that a complete study's scores were made from and written to, relative to it."""
    folds = ["DONE", "fold.json", "predictions.parquet", *(["validation.parquet"] * (study.rule == "inner_val"))]
    files = [run.folder.relative_to(study.directory) / name for run in study.runs for name in folds]
    return ["config.yaml", "study.json", "summary.json", "predictions.parquet", *map(str, files)]


def run_here(experiment: "Experiment", clips: "ClipStore", study: "Study", runs: "list[Run]") -> bool:
    """Run the folds in this process, and in further ones where this is faster; show how far they are.

    Returns:
        True: this process scores the study.
    """
    from mefusion.configuration.building import make_builder
    from mefusion.configuration.sharing import plan_sharing
    from mefusion.studies.display import folds_shown
    from mefusion.studies.sharing import share_folds
    from mefusion.studies.study import run_study
    from mefusion.training.callbacks import FoldProgress

    sharing = plan_sharing(experiment.settings, folds=len(runs))
    with folds_shown([run.name for run in runs], sum(not study.is_done(run) for run in runs)) as display:
        progress = FoldProgress(display.show)
        build = make_builder(experiment, clips, study, [progress])
        if sharing is None:
            run_study(study, runs, clips, build, display.show, progress.begin)
        else:
            share_folds(study, runs, clips, build, progress, sharing, lambda job, event: display.show(event))
    return True


def serve(experiment: "Experiment", clips: "ClipStore", study: "Study", runs: "list[Run]") -> bool:
    """Run the folds that the process which started this one names.

    Returns:
        Whether this process scores the study.
    """
    from mefusion.configuration.building import make_builder
    from mefusion.configuration.sharing import share_threads
    from mefusion.processes.assignments import tell
    from mefusion.studies.sharing import serve_folds
    from mefusion.training.callbacks import FoldProgress

    share_threads(len(runs))
    progress = FoldProgress(tell)
    return serve_folds(study, runs, clips, make_builder(experiment, clips, study, [progress]), progress)


def plan(config: "DictConfig") -> "tuple[Experiment, ClipStore, Study, list[Run]]":
    """What a configuration describes: the experiment, its clips, its study, and the runs that are this command's.

    Raises:
        MefusionError: the data is not prepared, or the configuration makes no sense.
    """
    from mefusion.configuration import building, composition
    from mefusion.evaluation.folds import select_folds, select_shard

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
    return experiment, clips, study, chosen


def estimate(config: "DictConfig") -> None:
    """Say what the folds that are not done take here, in time, memory and disk, and write nothing.

    Raises:
        MefusionError: as `train`; or several devices would share a training.
    """
    from mefusion.bench.estimate import estimate as measured
    from mefusion.configuration import processes
    from mefusion.studies.code import require_same_code, runs_of_other_code

    experiment, clips, study, chosen = plan(config)
    settings = experiment.settings
    processes.require_one_process(settings.trainer)
    repeated = runs_of_other_code(study) if settings.again else []
    if not repeated:
        require_same_code(study, again=False, accept=settings.accept_code, say=print)
    left = [run for run in chosen if not run.done or run in repeated]
    if not left:
        print(f"{study.directory}: {len(chosen)} folds are done, none is left to run")
        return
    _, lines = measured(experiment, study, clips, left)
    print("\n".join(lines))


def finish(experiment: "Experiment", study: "Study", *, done_before: int) -> dict[str, Any]:
    """Score a complete study, print and log the scores, and report them to the launcher; or print the missing folds.

    Returns:
        What the launcher is told: `complete`, `uf1`, `objective` (see `train`) and `trained`; and the printed
        `headline` if there are scores.
    """
    from mefusion.configuration import building
    from mefusion.studies.record import has_score
    from mefusion.studies.references import summaries_beside
    from mefusion.studies.results import headline, pool, validation_uf1

    missing = [run.name for run in study.runs if not run.done]
    told: dict[str, Any] = {"complete": not missing, "uf1": None, "objective": None}
    told["trained"] = len(study.runs) - len(missing) - done_before
    line = None
    if missing:
        print(f"{study.directory} is incomplete: the folds {', '.join(missing)} are missing, so nothing is scored")
    elif not has_score(study.facts):
        print(
            f"{study.directory} was trained on all subjects, so it has no score; that of the same command with "
            f"protocol=loso stands for it: mefusion-export {study.directory} --scores {study.directory.parent}/STUDY"
        )
    else:
        result = pool(study.directory)
        line = headline(result.summary, summaries_beside(study.directory))
        print(line)
        building.log_study(experiment, study, result.summary, result.predictions)
        # None under the rule oracle: a sweep must not maximise a score that was selected on the test subjects.
        told["uf1"] = told["objective"] = result.summary.get("uf1")
    if not missing and study.rule == "inner_val":
        told["objective"] = validation_uf1([run.folder for run in study.runs])
    report_to_launcher(**told)
    return told | ({"headline": line} if line else {})


def require_one_study() -> None:
    """Refuse the settings of a sweep without `-m`, as in `+ablation=tasks`: the values of the sweep would be ignored.

    Raises:
        MefusionError: a setting that the sweep would set has no value.
    """
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    given = {override.split("=")[0] for override in hydra.overrides.task}
    if missing := [key for key in hydra.sweeper.params or () if key not in given]:
        raise MefusionError(
            f"{missing[0]} has several values, as for a sweep: add -m to run the sweep, or {missing[0]}=VALUE for one "
            "study"
        )


def report_to_launcher(**result: float | None) -> None:
    """Write the result for the launcher, if this process is a job of a sweep."""
    from mefusion.configuration.launching import RESULT_VARIABLE

    if path := os.environ.get(RESULT_VARIABLE):
        write_text(Path(path), json.dumps(result))


def main() -> None:
    """Console script; `--estimate` is not one of Hydra's options, so it is taken out of the command line."""
    task = train
    if ESTIMATE in sys.argv:
        task = estimate
        sys.argv[1:] = [argument for argument in sys.argv[1:] if argument != ESTIMATE]
        if {"-m", "--multirun"} & {*sys.argv}:
            sys.exit(f"{PROGRAM}: {ESTIMATE} measures one study: give it without -m, with the values of one job")
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # as nvidia-smi counts, which tells processes their GPUs
    with stoppable(PROGRAM, KEPT):
        end_with_named_parent()
        from mefusion.configuration.cli import run

        run(task, config_name="train", program=PROGRAM)


if __name__ == "__main__":
    main()
