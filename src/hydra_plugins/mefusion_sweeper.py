"""`hydra/sweeper=search`: a Hydra sweeper in which Optuna searches the values that are best on validation subjects.

The values are given in `hydra.sweeper.params` or on the command line, in Hydra's syntax: `interval(0, 1)`,
`tag(log, interval(1e-4, 1e-2))`, `range(1, 9)`, `choice(a, b)`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from mefusion.common.errors import JobsFailed, MefusionError
from mefusion.common.files import remove_leftovers, try_lock, write_text

if TYPE_CHECKING:
    import optuna

FAILED, KILLED = "failed", "killed"
"""What is noted of a trial whose job failed by itself, or was killed: the reason."""


@dataclass
class SearchConfig:
    """`n_trials`: number of trials, with those of earlier runs and failed ones; `at_once`: trials side by side."""

    _target_: str = "hydra_plugins.mefusion_sweeper.SearchSweeper"
    n_trials: int = 20
    at_once: int = 1
    seed: int = 0
    params: dict[str, str] = field(default_factory=dict)


class SearchSweeper(Sweeper):
    """Runs trials with the launcher, saves them in a SQLite file below the output directory, and resumes from it."""

    def __init__(self, n_trials: int, at_once: int, seed: int, params: dict[str, str]) -> None:
        self.n_trials, self.at_once, self.seed, self.params = n_trials, at_once, seed, dict(params)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `sweep`."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run the missing trials and print the best one.

        Raises:
            MefusionError: optuna is not installed, no values are searched, the rule is not inner_val, the data is not
                prepared, another process runs the same search, or all trials failed.
        """
        try:
            import optuna
        except ImportError as error:
            raise MefusionError("hydra/sweeper=search needs the package optuna: pip install optuna") from error
        assert self.config is not None
        if self.config.rule != "inner_val":
            raise MefusionError(
                f"rule={self.config.rule}: a search maximises the UF1 of validation subjects, so it needs "
                "rule=inner_val, which takes them from the training subjects"
            )
        for name in ("n_trials", "at_once"):
            if getattr(self, name) < 1:
                raise MefusionError(f"hydra.sweeper.{name}={getattr(self, name)}: give a number above 0")
        fixed, space = self._split(arguments)
        if not space:
            raise MefusionError("no values are searched: give some, for example model.optimizer.lr=interval(1e-4,1e-2)")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        digest = self._digest(fixed, space)
        folder = Path(self.config.output_dir) / f"search-{digest}"
        with try_lock(folder) as mine:
            if not mine:
                raise MefusionError(f"{folder}: another process runs this search; wait for it, or end it")
            remove_leftovers(folder, age=0)
            study = optuna.create_study(
                storage=f"sqlite:///{(folder / 'trials.sqlite').absolute()}",
                study_name=digest, direction="maximize", load_if_exists=True,
            )  # fmt: skip
            self._run(study, fixed, space)
            _report_failed(study)
            _report_best(study, folder)

    def _split(self, arguments: list[str]) -> "tuple[list[str], dict[str, Any]]":
        """Overrides that are the same in all trials, and the distributions of the values that are searched."""
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        given = [f"{key}={value}" for key, value in self.params.items()] + arguments
        overrides = {override.get_key_element(): override for override in parser.parse_overrides(given)}
        space = {key: distribution(override) for key, override in overrides.items() if override.is_sweep_override()}
        return [str(override.input_line) for key, override in overrides.items() if key not in space], space

    def _digest(self, fixed: Sequence[str], space: dict[str, Any]) -> str:
        """What names a search: its space, and all that its trials share.

        That is what names the study of the first values, and of each option where groups such as `model` are searched.
        """
        from mefusion.clips.cache import settings_hash

        assert self.hydra_context is not None
        groups = {key for key in space if self.hydra_context.config_loader.get_group_options(key.lstrip("+"))}
        first = {key: first_value(values) for key, values in space.items()}
        trials = [first, *({**first, key: option} for key in groups for option in space[key].choices[1:])]
        studies = sorted({self._study_digest([*fixed, *overrides_of(trial)]) for trial in trials})
        return settings_hash({"space": sorted(map(str, space.items())), "studies": studies})

    def _study_digest(self, overrides: Sequence[str]) -> str:
        """The digest that names the study of a trial: of its settings and clips."""
        from mefusion.configuration.composition import load_clips, plan_study, resolve_experiment

        assert self.hydra_context is not None
        assert self.config is not None
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        before = HydraConfig.instance().cfg
        try:
            HydraConfig.instance().set_config(config)  # messages name the command that prepares the clips
            with open_dict(config):
                del config["hydra"]
            experiment = resolve_experiment(config)
            return plan_study(experiment, load_clips(experiment)).facts["config_hash"]
        finally:
            HydraConfig.instance().cfg = before

    def _run(self, study: "optuna.Study", fixed: Sequence[str], space: dict[str, Any]) -> None:
        from optuna.samplers import TPESampler
        from optuna.trial import TrialState

        for left in study.get_trials(states=(TrialState.RUNNING,)):  # trials of a search that was killed
            _retry_later(study, left.number, left.params)
        # The seed depends on the number of trials, so that a resumed search does not repeat its first draws.
        study.sampler = TPESampler(seed=self.seed + len(study.trials))
        while (missing := self.n_trials - len(_complete(study)) - len(_failed(study))) > 0:
            trials = [study.ask(space) for _ in range(min(self.at_once, missing))]
            jobs = [[*fixed, *overrides_of(trial.params)] for trial in trials]
            try:
                self.validate_batch_is_legal(jobs)
                results, error = self._launch(jobs, trials[0].number)
                if any(job.status is JobStatus.COMPLETED and job.return_value is None for job in results):
                    raise MefusionError("a trial has no score because folds are missing: a search must run all folds")
            except BaseException:
                for trial in trials:
                    _retry_later(study, trial.number, trial.params)
                raise
            for trial, result in zip(trials, results, strict=True):
                _note(study, trial, result)
            if error and not _complete(study):  # perhaps no trial can be run
                raise error

    def _launch(self, jobs: Sequence[Sequence[str]], first: int) -> tuple[Sequence[JobReturn], JobsFailed | None]:
        """What became of jobs, and the error if some failed."""
        assert self.launcher is not None
        try:
            return self.launcher.launch(jobs, initial_job_idx=first), None
        except JobsFailed as error:
            return error.results, error


def distribution(override: Override) -> Any:
    """Make Optuna's distribution of the values that an override sweeps over.

    Raises:
        MefusionError: Optuna has no such distribution.
    """
    from optuna import distributions

    value = override.value()
    if isinstance(value, IntervalSweep):
        kind: Any = distributions.IntDistribution if isinstance(value.start, int) else distributions.FloatDistribution
        return kind(value.start, value.end, log="log" in value.tags)
    if isinstance(value, RangeSweep) and isinstance(steps := value.range(), range):
        return distributions.IntDistribution(steps[0], steps[-1], step=steps.step)
    if isinstance(value, ChoiceSweep):
        return distributions.CategoricalDistribution([str(text) for text in override.sweep_string_iterator()])
    raise MefusionError(
        f"{override.input_line} cannot be searched: give interval(...), range(...) of whole numbers, or a,b"
    )


def overrides_of(params: dict[str, Any]) -> list[str]:
    """Overrides of the command line that set the values of a trial."""
    return [f"{key}={value}" for key, value in params.items()]


def _retry_later(study: "optuna.Study", number: int, params: dict[str, Any]) -> None:
    """Mark a trial as failed, and let the next one use the same values: it resumes the study of the failed trial."""
    from optuna.trial import TrialState

    study.tell(number, state=TrialState.FAIL)
    study.enqueue_trial(params)


def first_value(values: Any) -> Any:
    """A value of one of Optuna's distributions: the first, or the lowest."""
    return values.choices[0] if hasattr(values, "choices") else values.low


def _complete(study: "optuna.Study") -> "list[optuna.trial.FrozenTrial]":
    from optuna.trial import TrialState

    return study.get_trials(states=(TrialState.COMPLETE,))


def _failed(study: "optuna.Study") -> "list[optuna.trial.FrozenTrial]":
    """Trials that failed by themselves, whose values are not tried again."""
    return [trial for trial in study.trials if FAILED in trial.user_attrs]


def _note(study: "optuna.Study", trial: "optuna.Trial", result: JobReturn) -> None:
    """Note what became of a trial; one whose job was killed is tried again, but once, since it may need more memory."""
    from optuna.trial import TrialState

    killed_before = any(other.params == trial.params and KILLED in other.user_attrs for other in study.trials)
    if result.status is JobStatus.COMPLETED:
        study.tell(trial, result.return_value)
        print(f"[{trial.number}] UF1 {result.return_value:.3f} on the validation subjects")
    elif result.status is JobStatus.UNKNOWN and not killed_before:
        trial.set_user_attr(KILLED, str(result._return_value))
        _retry_later(study, trial.number, trial.params)
    else:
        trial.set_user_attr(FAILED, str(result._return_value))
        study.tell(trial, state=TrialState.FAIL)


def _report_failed(study: "optuna.Study") -> None:
    failed = _failed(study)
    if failed:
        print(f"{len(failed)} of {len(failed) + len(_complete(study))} trials failed, and are not tried again:")
    for trial in failed:
        print(f"[{trial.number}] {' '.join(overrides_of(trial.params))}: {trial.user_attrs[FAILED]}")


def _report_best(study: "optuna.Study", folder: Path) -> None:
    if not _complete(study):
        raise MefusionError(
            f"{folder}: all {len(_failed(study))} trials failed, so none is the best: solve the problem, and give a "
            "larger hydra.sweeper.n_trials for further ones"
        )
    best = study.best_trial
    overrides = overrides_of(best.params)
    content = {"validation_uf1": best.value, "trial": best.number, "overrides": overrides}
    write_text(folder / "best.yaml", OmegaConf.to_yaml(OmegaConf.create(content)))
    print(f"best on the validation subjects, UF1 {best.value:.3f}: {' '.join(overrides)} ({folder / 'best.yaml'})")


ConfigStore.instance().store(group="hydra/sweeper", name="search", node=SearchConfig, provider="mefusion")
