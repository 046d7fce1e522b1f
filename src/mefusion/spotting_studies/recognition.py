"""Who recognises what is spotted: for each subject a network that has not seen it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mefusion.clips.cache import settings_hash
from mefusion.common.errors import MefusionError
from mefusion.datasets.labels import classes_of_clips
from mefusion.datasets.reading.recordings import RecordingSource
from mefusion.datasets.schemes import Scheme
from mefusion.inference.bundle import DESCRIPTION, read_bundle
from mefusion.inference.folds import read_tested
from mefusion.inference.seen import seen_by
from mefusion.spotting_studies.networks import Network, load_network


@dataclass(frozen=True)
class Recogniser:
    """A study whose folds recognise their test subjects, or a bundle that was trained on another dataset.

    Attributes:
        name: of the study.
        folder: of the study or bundle.
        classes: their names.
        labels: the scheme.
        networks: subject of the cut clips -> its network; None for a bundle, whose network recognises everyone.
        digest: of all that decides its answers.
    """

    name: str
    folder: Path
    classes: tuple[str, ...]
    labels: Scheme
    networks: Mapping[str, Network] | None
    digest: str

    def network_of(self, subject: str) -> Network | None:
        """The network that recognises a subject of the cut clips; None if the study has no fold that tests it."""
        return Network(self.folder, None) if self.networks is None else self.networks.get(subject)


def read_recogniser(folder: Path, source: RecordingSource) -> Recogniser:
    """Read the study or the bundle that recognises the subjects of recordings.

    Raises:
        MefusionError: it is neither, cannot be used, or has seen the subjects that it is to recognise.
    """
    if (folder / DESCRIPTION).exists():
        return _read_bundle(folder, source)
    study = read_tested(folder)
    networks = {subject: Network(folder, run.name) for subject, run in study.runs.items()}
    bundle = load_network(next(iter(networks.values()))).bundle  # one of them, to find early what is wrong with all
    # A fold's mark that it is done has the checksum of its weights.
    marks = {run.name: (run.folder / "DONE").read_text(encoding="utf-8") for run in study.runs.values()}
    return Recogniser(study.name, folder, bundle.classes, bundle.labels, networks, settings_hash(marks))


def _read_bundle(folder: Path, source: RecordingSource) -> Recogniser:
    bundle = read_bundle(folder)
    if source.clip_dataset in seen_by(bundle.facts["data"]).datasets:
        raise MefusionError(
            f"{folder} was trained on {source.clip_dataset}, so it has seen the subjects of data={source.name}: give "
            "recognise= the study with the same settings and protocol=loso keep_weights=true"
        )
    digest = settings_hash(bundle.facts["files"])
    return Recogniser(str(bundle.facts["name"]), folder, bundle.classes, bundle.labels, None, digest)


def label_truth(truth: pd.DataFrame, recogniser: Recogniser, source: RecordingSource) -> pd.Series:
    """The class of each true expression, missing where its emotion is not known or has none.

    Args:
        truth: expressions, with the columns of `mefusion.datasets.reading.recordings.EVENT_DTYPES`.
        recogniser: whose scheme says the classes.
        source: of the recordings; the scheme's differences for its `clip_dataset` count.

    Raises:
        MefusionError: the scheme makes classes of what the recordings' tables do not have.
    """
    scheme = recogniser.labels
    if scheme.column not in truth:
        raise MefusionError(
            f"{recogniser.name} names the {scheme.column} of a clip, which data={source.name} does not have: give a "
            "study whose labels are made of emotions"
        )
    table = truth.assign(dataset=source.clip_dataset, subject="", clip_id="")
    labels = classes_of_clips(table, scheme).reindex(truth.index)
    return labels.where(labels.isin(recogniser.classes))
