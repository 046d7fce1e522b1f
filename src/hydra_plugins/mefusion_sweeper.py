"""`hydra/sweeper=search`: a Hydra sweeper in which Optuna searches the values that are best on validation subjects.

The values are given in `hydra.sweeper.params` or on the command line, in Hydra's syntax: `interval(0, 1)`,
`tag(log, interval(1e-4, 1e-2))`, `range(1, 9)`, `choice(a, b)`.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from mefusion.common.errors import MefusionError
from mefusion.common.files import remove_leftovers, try_lock, write_text

if TYPE_CHECKING:
    import optuna


@dataclass
class SearchConfig:
    """`n_trials`: number of trials, including those of earlier runs; `at_once`: trials that run at the same time."""

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
            MefusionError: optuna is not installed, no values are searched, the rule is not inner_val, another process
                runs the same search, or trials failed.
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
        places = ("output_dir=", "cache_dir=", "workers=", "processes", "logger")
        content = [sorted(text for text in fixed if not text.startswith(places)), sorted(map(str, space.items()))]
        digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:10]
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
            _report_best(study, folder)

    def _split(self, arguments: list[str]) -> "tuple[list[str], dict[str, Any]]":
        """Overrides that are the same in all trials, and the distributions of the values that are searched."""
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        given = [f"{key}={value}" for key, value in self.params.items()] + arguments
        overrides = {override.get_key_element(): override for override in parser.parse_overrides(given)}
        space = {key: distribution(override) for key, override in overrides.items() if override.is_sweep_override()}
        return [str(override.input_line) for key, override in overrides.items() if key not in space], space

    def _run(self, study: "optuna.Study", fixed: Sequence[str], space: dict[str, Any]) -> None:
        from optuna.samplers import TPESampler
        from optuna.trial import TrialState

        assert self.launcher is not None
        for left in study.get_trials(states=(TrialState.RUNNING,)):  # trials of a search that was killed
            _retry_later(study, left.number, left.params)
        # The seed depends on the number of trials, so that a resumed search does not repeat its first draws.
        study.sampler = TPESampler(seed=self.seed + len(study.trials))
        while (missing := self.n_trials - len(study.get_trials(states=(TrialState.COMPLETE,)))) > 0:
            trials = [study.ask(space) for _ in range(min(self.at_once, missing))]
            jobs = [[*fixed, *overrides_of(trial.params)] for trial in trials]
            try:
                self.validate_batch_is_legal(jobs)
                results = [job.return_value for job in self.launcher.launch(jobs, initial_job_idx=trials[0].number)]
                if None in results:
                    raise MefusionError("a trial has no score because folds are missing: a search must run all folds")
            except BaseException:
                for trial in trials:
                    _retry_later(study, trial.number, trial.params)
                raise
            for trial, result in zip(trials, results, strict=True):
                study.tell(trial, result)
                print(f"[{trial.number}] UF1 {result:.3f} on the validation subjects")


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


def _report_best(study: "optuna.Study", folder: Path) -> None:
    best = study.best_trial
    overrides = overrides_of(best.params)
    content = {"validation_uf1": best.value, "trial": best.number, "overrides": overrides}
    write_text(folder / "best.yaml", OmegaConf.to_yaml(OmegaConf.create(content)))
    print(f"best on the validation subjects, UF1 {best.value:.3f}: {' '.join(overrides)} ({folder / 'best.yaml'})")


ConfigStore.instance().store(group="hydra/sweeper", name="search", node=SearchConfig, provider="mefusion")
