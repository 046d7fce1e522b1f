"""How long expressions last, for the method that has to know it, from the labels of other subjects alone."""

import math

import pandas as pd


def half_duration(truth: pd.DataFrame, recordings: pd.DataFrame, subject: str) -> float | None:
    """Half of the mean duration of the other subjects' micro-expressions, rounded to frames as SOFTNet has it.

    k = floor((mean duration + 1) / 2) frames. The subject's own expressions do not count.

    Args:
        truth: expressions: recording, kind, onset and offset (frames, both included).
        recordings: recording, subject and fps.
        subject: who is spotted.

    Returns:
        s; None if the other subjects have no micro-expression, or the frame rate is not known.
    """
    others = recordings[recordings["subject"] != subject].set_index("recording")["fps"].dropna()
    known = truth[(truth["kind"] == "micro") & truth["recording"].isin(others.index)]
    own = recordings.loc[recordings["subject"] == subject, "fps"].dropna()
    if known.empty or own.empty:
        return None
    seconds = (known["offset"] - known["onset"] + 1).astype(float) / known["recording"].map(others).astype(float)
    fps = float(own.iloc[0])
    return max(math.floor((float(seconds.mean()) * fps + 1) / 2), 1) / fps
