"""The networks that recognise what is spotted, by where they lie."""

import functools
import multiprocessing
from dataclasses import dataclass
from pathlib import Path

import torch

from mefusion.inference.folds import fold_predictor, read_tested
from mefusion.inference.predictor import Predictor, load_bundle


@dataclass(frozen=True)
class Network:
    """Where a network lies.

    Attributes:
        folder: of a study, or of a bundle.
        fold: name of the study's fold; None for a bundle.
    """

    folder: Path
    fold: str | None


@functools.lru_cache(maxsize=4)
def load_network(network: Network) -> Predictor:
    """Load a network; the last few are kept.

    Raises:
        MefusionError: its weights cannot be used.
    """
    if multiprocessing.parent_process() is not None:
        torch.set_num_threads(1)  # there is a process for each core already
    if network.fold is None:
        return load_bundle(network.folder)
    study = read_tested(network.folder)
    return fold_predictor(study, next(run for run in study.runs.values() if run.name == network.fold))
