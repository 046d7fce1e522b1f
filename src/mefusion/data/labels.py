"""Label schemes: maps from a dataset's emotions to classes."""

from collections.abc import Mapping, Sequence

import pandas as pd

from mefusion.errors import MefusionError


def label_clips(table: pd.DataFrame, classes: Mapping[str, Sequence[str]], *, scheme: str) -> pd.DataFrame:
    """Clips that have a class in the scheme, with the column `label`; the others are left out.

    Args:
        table: clip table; emotions are compared in lower case.
        classes: class -> the emotions that count as it.
        scheme: its name, for messages.

    Raises:
        MefusionError: a class has no clip, or an emotion counts as two classes.
    """
    class_of: dict[str, str] = {}
    for name, emotions in classes.items():
        for emotion in emotions:
            if emotion in class_of:
                raise MefusionError(
                    f"labels={scheme} counts the emotion '{emotion}' as {class_of[emotion]} and as {name}"
                )
            class_of[emotion] = name
    labels = table["emotion"].str.strip().str.lower().map(class_of)
    labelled = table.assign(label=labels.astype("string")).dropna(subset="label").reset_index(drop=True)
    absent = [name for name in classes if name not in set(labelled["label"])]
    if absent:
        present = ", ".join(sorted(table["emotion"].dropna().unique()))
        raise MefusionError(
            f"labels={scheme} has no clip of class {', '.join(absent)}: "
            f"the data's emotions are {present}; choose another scheme"
        )
    return labelled
