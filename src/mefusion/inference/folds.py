"""The networks of a study's folds, each of which recognises the subjects that it has not seen: those it tests."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mefusion.models
from mefusion.common.errors import MefusionError
from mefusion.evaluation.predictions import load_predictions, some
from mefusion.inference.bundle import OWN_MODELS
from mefusion.inference.export import TrainedStudy, write_bundle
from mefusion.inference.predictor import Predictor, load_bundle
from mefusion.studies.record import has_score, load_study, planned_runs, read_config
from mefusion.studies.runs import Run
from mefusion.training.weights import load_weights


@dataclass(frozen=True)
class TestedStudy:
    """A complete study that has kept the weights of its folds.

    Attributes:
        directory: of the study.
        facts: of `study.json`.
        config: of `config.yaml`.
        runs: of each subject that the study tests, the run whose network has not seen it; of the first seed.
    """

    directory: Path
    facts: Mapping[str, Any]
    config: Mapping[str, Any]
    runs: Mapping[str, Run]

    @property
    def name(self) -> str:
        """Name of the study."""
        return str(self.facts["study"])


def read_tested(directory: Path) -> TestedStudy:
    """Read a study whose folds recognise their own test subjects.

    Raises:
        MefusionError: the study tests no one, selects on its test subjects, is not complete, has not kept weights, or
            its networks cannot be used on recordings.
    """
    facts = load_study(directory)
    if not has_score(facts):
        raise MefusionError(
            f"{directory} was trained on all subjects (protocol=all), so it has seen those who are to be recognised: "
            "give the study with the same settings and protocol=loso keep_weights=true"
        )
    if facts["rule"] == "oracle":
        raise MefusionError(f"{directory} has rule=oracle, which selects on the test subjects: give another study")
    runs = [run for run in planned_runs(directory, facts) if run.seed == facts["seeds"][0]]
    if missing := [run.name for run in runs if not run.done]:
        raise MefusionError(
            f"{directory} is incomplete: the folds {some(missing)} are missing; run its mefusion-train command again "
            "with keep_weights=true, which runs only these"
        )
    if not (all(run.weights.is_file() for run in runs) and isinstance(facts.get("preparation"), dict)):
        raise MefusionError(
            f"{directory} has not kept the weights of its folds: run its mefusion-train command again with "
            "keep_weights=true, which takes them from the last checkpoints, in seconds a fold"
        )
    config = read_config(directory)
    _require_usable(directory, facts, config)
    return TestedStudy(
        directory,
        facts,
        config,
        {str(subject): run for run in runs for subject in load_predictions(run.folder)["subject"].unique()},
    )


def _require_usable(directory: Path, facts: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    try:
        module, _, name = config["model"]["network"]["_target_"].rpartition(".")
        backend, flow_images = facts["preparation"]["backend"], facts["trained_on"]["flow_images"]
    except (KeyError, TypeError, AttributeError) as error:
        raise MefusionError(f"{directory} does not say what it was trained on: run the study again") from error
    if module != OWN_MODELS or name not in mefusion.models.__all__:
        raise MefusionError(f"{directory} has the network {module}.{name}, which is none of mefusion's: give another")
    if backend == "none" or flow_images:
        raise MefusionError(
            f"{directory} was trained on {'flow images' if flow_images else 'pictures that show the face only'}, which "
            "are not known of a recording: give a study that was trained on whole frames, with faces=dlib"
        )


def fold_predictor(study: TestedStudy, run: Run) -> Predictor:
    """The network of a fold, to predict the subjects that it tests; its probabilities are not calibrated.

    Raises:
        MefusionError: the fold's weights are damaged or were changed, or are not those of the study's network.
    """
    weights = load_weights(run.weights)
    if not run.has_own(run.weights):
        raise MefusionError(f"{run.weights} was changed after the training: delete {run.folder} and train again")
    with tempfile.TemporaryDirectory() as folder:
        write_bundle(
            Path(folder), TrainedStudy(study.directory, study.facts, study.config, run, weights), None, run.folder
        )
        return load_bundle(folder)
