"""Share of a study's time that is not spent in training steps.

    python experiments/benchmarks/fold_overhead.py [overrides of mefusion-train]

The data are prepared as for the `mefusion-train` with these overrides; results go to a temporary folder. Process start
and reading of the data, which a process does once for all folds, are told apart.
"""

import functools
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

TIMES: Counter[str] = Counter()


def timed(owner: Any, name: str, label: str) -> None:
    """Add what a function takes to a label."""
    function = getattr(owner, name)

    @functools.wraps(function)
    def wrapper(*arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            TIMES[label] += time.perf_counter() - start

    setattr(owner, name, wrapper)


def time_steps(module: type) -> None:
    """Add what lies between a training batch's start and end to `steps`."""
    starts: list[float] = []

    def on_train_batch_start(self: Any, *_: Any) -> None:
        starts.append(time.perf_counter())

    def on_train_batch_end(self: Any, *_: Any) -> None:
        TIMES["steps"] += time.perf_counter() - starts.pop()

    module.on_train_batch_start, module.on_train_batch_end = on_train_batch_start, on_train_batch_end  # type: ignore[attr-defined]


def main(overrides: list[str], report: Callable[[str], None] = print) -> float:
    """Run the study; returns the share outside training steps."""
    import lightning as L

    from mefusion.commands import train
    from mefusion.configuration import building, composition
    from mefusion.studies import study
    from mefusion.training.module import MERModule
    from mefusion.training.resume import AtomicCheckpointIO

    timed(study, "run_fold", "folds")
    timed(composition, "load_clips", "reading of the data, once a process")
    timed(building, "make_data", "statistics")
    timed(building, "make_module", "network")
    timed(L.Trainer, "fit", "fit")
    timed(L.Trainer, "predict", "prediction")
    timed(AtomicCheckpointIO, "save_checkpoint", "checkpoints")
    timed(study, "predict_examples", "results")
    time_steps(MERModule)
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = ["mefusion-train", *overrides, f"output_dir={folder}"]
        train.main()
    whole, steps, fit = TIMES["folds"], TIMES["steps"], TIMES["fit"]
    report(f"folds {whole:.1f} s, of which training steps {steps:.1f} s: {1 - steps / whole:.1%} outside")
    TIMES["loading, logging and hooks"] = fit - steps - TIMES["checkpoints"]
    named = ("statistics", "network", "loading, logging and hooks", "checkpoints", "prediction", "results")
    report("of it " + ", ".join(f"{name} {TIMES[name] / whole:.1%}" for name in named))
    report(f"reading of the data, once a process: {TIMES['reading of the data, once a process']:.1f} s")
    return 1 - steps / whole


if __name__ == "__main__":
    main(sys.argv[1:])
