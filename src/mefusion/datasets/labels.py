"""Label clips with the classes of a label scheme."""

from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from mefusion.common.errors import MefusionError
from mefusion.datasets.schemes import Classes, Scheme


def label_clips(
    table: pd.DataFrame, scheme: Scheme, *, known: Mapping[str, Collection[str]] | None = None
) -> pd.DataFrame:
    """Add the column `label` to a clip table; clips without a class in the scheme are left out.

    Args:
        table: clip table; emotions are compared in lower case.
        scheme: label scheme.
        known: dataset -> names of its schemes, such as those of `Source.official`; error messages suggest them.

    Raises:
        MefusionError: a class has no clip, an emotion belongs to two classes, or the datasets have different classes.
    """
    labelled = table.assign(label=classes_of_clips(table, scheme)).dropna(subset="label").reset_index(drop=True)
    names = scheme.class_names(table)
    absent = [name for name in names if name not in set(labelled["label"])]
    if absent or not names:
        raise MefusionError(_no_such_scheme(table, scheme, absent, known or {}))
    return labelled


def classes_of_clips(table: pd.DataFrame, scheme: Scheme) -> pd.Series:
    """The class of each clip of a clip table in the scheme, missing where it has none."""
    parts = [_label(clips, scheme, str(dataset)) for dataset, clips in table.groupby("dataset", sort=False)]
    return (pd.concat(parts) if parts else pd.Series()).astype("string")


def _label(clips: pd.DataFrame, scheme: Scheme, dataset: str) -> pd.Series:
    values = clips[scheme.column]
    if scheme.classes:
        values = values.str.strip().str.lower().map(_class_of(scheme.classes_of(dataset), scheme.name))
    own = scheme.datasets.get(dataset)
    if own and own.leave_out:
        names = clips["subject"].str.removeprefix(f"{dataset}/") + "/" + clips["clip_id"]
        values = values.mask(names.isin(own.leave_out))
    return values


def _class_of(classes: Classes, scheme: str) -> dict[str, str]:
    class_of: dict[str, str] = {}
    for name, emotions in classes.items():
        for emotion in (text.strip().lower() for text in emotions):
            if emotion in class_of:
                raise MefusionError(
                    f"labels={scheme} has the emotion '{emotion}' in two classes, {class_of[emotion]} and {name}: "
                    "keep it in one"
                )
            class_of[emotion] = name
    return class_of


def _no_such_scheme(
    table: pd.DataFrame, scheme: Scheme, absent: Sequence[str], known: Mapping[str, Collection[str]]
) -> str:
    datasets = sorted(table["dataset"].unique())
    shared = sorted(set.intersection(*(set(known.get(dataset, ())) for dataset in datasets))) if datasets else []
    present = ", ".join(sorted(table[scheme.column].dropna().unique())) or "all missing"
    what = f"class {', '.join(absent)}" if absent else "any class"
    own = "labels=values, or name the classes, as labels.classes={smile:[smile]}"
    column = {"emotion": "emotions", "objective_class": "objective classes"}.get(scheme.column, scheme.column)
    return (
        f"labels={scheme.name} has no clip of {what} in {', '.join(datasets)}, whose {column} are {present}: "
        f"choose {' or '.join(f'labels={name}' for name in shared) or own}"
    )
