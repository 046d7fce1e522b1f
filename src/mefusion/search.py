"""What a search over hyperparameters maximises."""

from collections.abc import Sequence
from pathlib import Path


def validation_uf1(folders: Sequence[Path]) -> float:
    """UF1 pooled over the inner-validation clips of folds, each predicted by a network that was not trained on it.

    Args:
        folders: of the folds of a study with `rule=inner_val`; each holds a `validation.parquet`.
    """
    import pandas as pd

    from mefusion.metrics import confusion_matrix, uf1
    from mefusion.results import classes_of

    table = pd.concat([pd.read_parquet(folder / "validation.parquet") for folder in folders])
    return float(uf1(confusion_matrix(table["label"].tolist(), table["prediction"].tolist(), classes_of(table))))
