"""Studies on disk: read and check them, pool their folds and seeds, score.

The layout of a study is in the README; `predictions.COLUMNS` are those of its tables.
"""

import json
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mefusion.common.errors import MefusionError
from mefusion.common.files import write_table, write_text
from mefusion.evaluation import metrics
from mefusion.evaluation.predictions import (
    AUXILIARY_COLUMNS,
    COLUMNS,
    PROBABILITY,
    broken,
    check_predictions,
    classes_of,
    first_line,
    load_predictions,
    sample_list_hash,
    some,
)
from mefusion.evaluation.scoring import score, spread

# Entry points import this module for `--help` too: pandas comes in where a table is read.
if TYPE_CHECKING:
    import pandas as pd


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_name(value: Any) -> bool:
    return _is_text(value) and value == Path(value).name != ".."


def _holds(value: Any, *kinds: type) -> bool:
    return isinstance(value, list) and all(type(item) in kinds for item in value)


def _tells_apart(value: Any, kind: type) -> bool:
    return _holds(value, kind) and 0 < len({*value}) == len(value)


_USABLE: dict[str, Callable[[Any], bool]] = {
    "study": _is_name,
    "model": _is_text,
    "tasks": lambda value: isinstance(value, dict) and bool(value) and _holds([*value.values()], int, float),
    "classes": lambda value: _tells_apart(value, str),
    "folds": lambda value: _tells_apart(value, str) and all(map(_is_name, value)),
    "seeds": lambda value: _tells_apart(value, int),
    "rule": _is_text,
    "sample_list_hash": _is_text,
    "partial": lambda value: _holds(value, str),
    "versions": lambda value: isinstance(value, dict),
}
"""What of `study.json` is relied on, and what it has to be."""


@dataclass(frozen=True)
class RunFolder:
    """A fold trained with one seed.

    Attributes:
        fold: name of the fold.
        seed: of the training.
        path: where its result is.
    """

    fold: str
    seed: int
    path: Path

    @property
    def done(self) -> bool:
        """Whether its result is whole."""
        return (self.path / "DONE").is_file()


def run_name(fold: str, seed: int, seeds: Sequence[int]) -> str:
    """Where a run is below `folds/`: `<fold>` in a study of one seed, `<fold>/seed<n>` in one of several."""
    return fold if len(seeds) == 1 else f"{fold}/seed{seed}"


def find_studies(directory: str | Path) -> list[Path]:
    """The study directories that a path stands for: itself, or those one level below it.

    Args:
        directory: a study, or a directory that holds studies.

    Returns:
        Directories with a `study.json`, sorted by name; also those below `directory` that have a pooled table without
        one, or cannot be looked into, so that no study is left out in silence.

    Raises:
        MefusionError: there is none.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise MefusionError(f"{directory} is not a directory; give a study's directory, as under outputs/.")
    if (directory / "study.json").is_file():
        return [directory]
    studies = sorted(path for path in directory.iterdir() if _may_be_study(path))
    if not studies:
        raise MefusionError(
            f"{directory} holds no study (no study.json in it nor one level below); run mefusion-train first."
        )
    return studies


def load_study(directory: str | Path) -> dict[str, Any]:
    """Read and check a study's `study.json`.

    Args:
        directory: the study's directory.

    Returns:
        Its content; `study`, `model`, `tasks`, `classes`, `folds`, `seeds`, `rule`, `sample_list_hash`, `partial` and
        `versions` are there.

    Raises:
        MefusionError: the file is missing, is not JSON, or one of them is missing or cannot be.
    """
    path = Path(directory) / "study.json"
    try:
        study = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MefusionError(f"{directory} has no study.json; give a study's directory.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise MefusionError(f"{path} cannot be read as JSON ({first_line(error)}); run the study again.") from error
    for key, usable in _USABLE.items():
        value = study.get(key) if isinstance(study, dict) else None
        if not usable(value):
            raise MefusionError(f"{path} has no usable {key!r} (found {reprlib.repr(value)}); run the study again.")
    return study


def planned_runs(directory: str | Path) -> list[RunFolder]:
    """Every fold and seed that a study is made of, done or not, in the order of `study.json`.

    Args:
        directory: the study's directory.

    Returns:
        The runs; of a study of one seed they are in `folds/<fold>`, of several in `folds/<fold>/seed<n>`.

    Raises:
        MefusionError: `study.json` is missing or broken.
    """
    study = load_study(directory)
    folds = Path(directory) / "folds"
    return [
        RunFolder(fold, seed, folds / run_name(fold, seed, study["seeds"]))
        for fold in study["folds"]
        for seed in study["seeds"]
    ]


def pool(directory: str | Path, partial: bool = False) -> dict[str, Any]:
    """Gather the tables of a study's runs into its `predictions.parquet` and `summary.json`.

    Each file is replaced as a whole: a reader, or a second process that pools, never sees half of one.

    Args:
        directory: the study's directory.
        partial: where folds are missing, pool those that are complete with every seed.

    Returns:
        The summary: what `score` gives, with `study`, `rule`, `provenance` (all of `study.json`), `missing_folds`,
        with the seed where there are several, and `folds_differ`: of the revision, kind of device and versions those
        in which the folds differ, as none should, with every value.

    Raises:
        MefusionError: folds are missing (with `partial`: all are), a fold's table is broken or does not belong to this
            study, the clips are not those that the study is about, or the files cannot be written.
    """
    import pandas as pd

    directory = Path(directory)
    study, runs = load_study(directory), planned_runs(directory)
    names = {run: run.path.relative_to(directory / "folds").as_posix() for run in runs}
    missing = [run for run in runs if not run.done]
    runs = [run for run in runs if run.fold not in {run.fold for run in missing}]  # a seed's score is of all folds
    if missing and not (partial and runs):
        way_out = ", or give mefusion-report --partial for the others" if runs else ""
        raise MefusionError(
            f"{directory} is incomplete: {len(missing)} of {len(names)} folds are missing "
            f"({some([names[run] for run in missing])}); run its mefusion-train command again, which does only what is "
            f"missing{way_out}."
        )
    tables = [_load_run(run, study) for run in runs]
    for run, table in zip(runs, tables, strict=True):
        if different := {*table.columns} ^ {*tables[0].columns}:
            raise MefusionError(
                f"{directory}: folds {names[runs[0]]} and {names[run]} differ in column {min(different)!r}, so their "
                "settings differed; delete the one that is wrong and run the study again."
            )
    predictions = pd.concat(tables, ignore_index=True)
    check_predictions(predictions, directory / "folds")
    if not missing:
        _require_sample_list(predictions, study, directory)
    summary = {
        "study": study["study"],
        "rule": study["rule"],
        "missing_folds": [names[run] for run in missing],
        **score(predictions, study["classes"]),
        "provenance": study,
        "folds_differ": _differences([_origin(run) for run in runs]),
    }
    write_table(directory / "predictions.parquet", predictions)
    write_text(directory / "summary.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return summary


def validation_uf1(folders: Sequence[Path]) -> float:
    """UF1 pooled over the validation clips of runs, each predicted by a network that was not trained on it.

    Args:
        folders: of a study's runs with the rule `inner_val`; each holds a `validation.parquet`.

    Raises:
        MefusionError: a table is missing or broken.
    """
    import pandas as pd

    table = pd.concat([load_predictions(folder / "validation.parquet") for folder in folders])
    matrix = metrics.confusion_matrix(table["label"].tolist(), table["prediction"].tolist(), classes_of(table))
    return float(metrics.uf1(matrix))


def load_curves(directory: str | Path) -> "pd.DataFrame | None":
    """Read what each run of a study logged.

    Args:
        directory: the study's directory.

    Returns:
        The rows of every `metrics.csv` with the columns `fold`, `seed`, `epoch`, `step` and what was logged; None where
        nothing was, as of a model that does not train.

    Raises:
        MefusionError: a file cannot be read.
    """
    import pandas as pd
    from pandas.api.types import is_numeric_dtype

    tables = []
    for run in planned_runs(directory):
        path = run.path / "metrics.csv"
        if not path.is_file() or not path.stat().st_size:
            continue
        try:
            table = pd.read_csv(path)
        except (OSError, ValueError) as error:  # pandas' ParserError is a ValueError
            raise MefusionError(f"{path} is no readable CSV file ({first_line(error)}); delete it.") from error
        if "epoch" not in table:
            raise MefusionError(f"{path} has no column 'epoch'; delete it.")
        if text := [name for name in table if len(table) and not is_numeric_dtype(table[name])]:
            raise MefusionError(f"{path} holds in column {text[0]!r} what is no number; delete it.")
        tables.append(table.assign(fold=run.fold, seed=run.seed))
    return pd.concat(tables, ignore_index=True) if tables else None


def headline(summary: Mapping[str, Any]) -> str:
    """One line of a summary: the pooled scores beside the majority class, and the tasks' errors."""
    if summary["rule"] == "oracle":
        names = (f"oracle_{name}" for name in metrics.SCORES)
        numbers = ", ".join(f"{name} {summary[name]:.3f}" for name in names)
        return f"the epoch was chosen on the test subjects, so this is no result: {numbers}"
    seeds = f" and {len(summary['seeds'])} seeds" if "seeds" in summary else ""
    parts = [
        f"pooled over {summary['clips']} clips{seeds}: UF1 {spread(summary, 'uf1')} (majority class "
        f"{summary['majority']['uf1']:.3f}), "
        + ", ".join(f"{name.upper()} {summary[name]:.3f}" for name in ("uar", "acc", "wf1"))
    ]
    if "flow_epe" in summary:
        relative = summary["flow_epe_relative"]
        share = "nothing moves" if relative is None else f"{relative:.2f} of zero flow"
        parts.append(f"flow {summary['flow_epe']:.3f} px ({share})")
    if "landmarks_nme" in summary:
        parts.append(f"landmarks {summary['landmarks_nme']:.1f} % of the inter-ocular distance")
    if "dynamic_image_psnr" in summary:
        flat = summary["dynamic_image_psnr_flat"]
        parts.append(f"dynamic image {summary['dynamic_image_psnr']:.1f} dB (flat grey {flat:.1f})")
    if "rank_accuracy" in summary:
        parts.append(f"frame pairs in order {summary['rank_accuracy']:.2f} (chance 0.50)")
    if missing := summary["missing_folds"]:
        parts.append(f"without the folds {', '.join(missing)}")
    if partial := summary["provenance"]["partial"]:
        parts.append(f"not the whole download: {', '.join(partial)}")
    return "; ".join(parts)


def _load_run(run: RunFolder, study: dict[str, Any]) -> "pd.DataFrame":
    table = load_predictions(run.path)
    expected = {"study": study["study"], "rule": study["rule"], "fold": run.fold, "seed": run.seed}
    for column, value in expected.items():
        if {*table[column]} != {value}:
            raise broken(run.path, f"has {column} {some(table[column].unique())} where {value} belongs")
    if sorted(classes_of(table)) != sorted(study["classes"]):
        raise broken(run.path, f"has other classes than the study ({some(study['classes'])})")
    auxiliary = [name for name in AUXILIARY_COLUMNS if name in table.columns]
    return table[[*COLUMNS[:8], *(PROBABILITY + name for name in study["classes"]), *COLUMNS[8:], *auxiliary]]


def _origin(run: RunFolder) -> dict[str, str]:
    path = run.path / "fold.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        kind = facts["device"].partition(":")[0]  # of several GPUs each may have a part of the folds
        return {"git_revision": str(facts["git_revision"]), "device": kind, **facts["versions"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise broken(path, f"does not tell where the fold was run ({first_line(error)})") from error


def _differences(origins: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    values = {key: sorted({str(origin.get(key, "none")) for origin in origins}) for key in origins[0]}
    return {key: different for key, different in values.items() if len(different) > 1}


def _require_sample_list(predictions: "pd.DataFrame", study: dict[str, Any], directory: Path) -> None:
    expected = study["sample_list_hash"]
    for seed, part in predictions.groupby("seed"):
        if (found := sample_list_hash(part)) != expected:
            raise MefusionError(
                f"{directory}: the folds of seed {seed} hold other clips or labels than the study is about (sample "
                f"list {found}, not {expected}); delete the fold that is wrong and run the study again."
            )


def _may_be_study(path: Path) -> bool:
    try:
        return any((path / name).is_file() for name in ("study.json", "predictions.parquet"))
    except PermissionError:
        return True
