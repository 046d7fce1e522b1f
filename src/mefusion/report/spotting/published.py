"""Published figures of spotting, as context: each was made by its authors' own protocol."""

from collections.abc import Mapping, Sequence

from mefusion.report.document import Table

PUBLISHED: Mapping[str, Sequence[tuple[str, str, str]]] = {
    "cas_me_2_long": (
        ("MDMD", ".0082", ".0376"),
        ("SOFTNet's features without its network", ".1379", ".1551"),
        ("SOFTNet (trained)", ".1173", ".2022"),
        ("He Yuhong, optical flow", ".1965", ".3436"),
        ("AUW-GCN (trained)", ".1538", ".3834"),
        ("shengjianda", ".2522", ".4436"),
    ),
    "samm_long": (
        ("MDMD", ".0364", ".0445"),
        ("SOFTNet's features without its network", ".1063", ".1293"),
        ("SOFTNet (trained)", ".1520", ".1881"),
        ("He Yuhong, optical flow", ".2162", ".3638"),
        ("AUW-GCN (trained)", ".1984", ".3728"),
    ),
}
"""Dataset -> method, and its F1 at IoU .5 of micro-expressions and of all."""

NOTE = (
    "The published figures are context, not a comparison. They were made by other protocols: AUW-GCN scores each epoch "
    "on the test subject; SOFTNet's threshold is the one of the highest F1, its k comes from all labels, and videos "
    "without an expression of the kind are left out with what is spotted in them."
)


def published_table(data: str) -> Table | None:
    """What others have published on a dataset; None if nothing is known."""
    rows = PUBLISHED.get(data)
    if rows is None:
        return None
    return Table(f"Published on {data}, by others' protocols", ["method", "micro F1", "all F1"], rows)
