"""How long expressions last, for the method that has to know it, from the labels of other subjects alone."""

import math

import pandas as pd

from mefusion.spotting.apex_score import HALVES


def half_durations(truth: pd.DataFrame, recordings: pd.DataFrame, subject: str) -> list[float]:
    """Half of the mean duration of the other subjects' micro- and macro-expressions, in whole frames as SOFTNet has it.

    k = floor((mean duration + 1) / 2) frames. The subject's own expressions do not count.

    Args:
        truth: expressions: recording, kind, onset and offset (frames, both included).
        recordings: recording, subject and fps.
        subject: who is spotted.

    Returns:
        Micro and macro, s; that of `HALVES` where the others have no such expression, or the frame rate is not known.
    """
    others = recordings[recordings["subject"] != subject].set_index("recording")["fps"].dropna()
    own = recordings.loc[recordings["subject"] == subject, "fps"].dropna()
    halves = []
    for kind, default in zip(("micro", "macro"), HALVES, strict=True):
        known = truth[(truth["kind"] == kind) & truth["recording"].isin(others.index)]
        if known.empty or own.empty:
            halves.append(default)
            continue
        seconds = (known["offset"] - known["onset"] + 1).astype(float) / known["recording"].map(others).astype(float)
        fps = float(own.iloc[0])
        halves.append(max(math.floor((float(seconds.mean()) * fps + 1) / 2), 1) / fps)
    return halves
