"""A checkpoint to resume from that is damaged or of something else."""

from collections.abc import Callable
from typing import Any

from ..cases import Change, Expected, table
from ..changes import checkpoint, cut, flip, make_pipe, put_folder, put_link, remove, write
from ..templates import DATA, SMALL

TRAIN = " ".join(["mefusion-train", *DATA, *SMALL, "trainer.max_epochs=2 output_dir=outputs/mol"])
FILE = "outputs/mol/*/folds/synthetic-sub02/checkpoints/last.ckpt"


class Command:
    """A harmful object: reading it by pickle runs a command."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        import os

        return os.system, ("touch pickle-was-run",)


def entries(**values: Any) -> Change:
    """Change entries of the checkpoint; `...` removes one."""

    def change(content: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in {**content, **values}.items() if value is not ...}

    return checkpoint(FILE, change)


def weights(function: Callable[[dict[str, Any]], dict[str, Any]]) -> Change:
    """Change the weights of the checkpoint."""
    return checkpoint(FILE, lambda content: {**content, "state_dict": function(content["state_dict"])})


def first(state: dict[str, Any]) -> str:
    """Name of the first weight that has two dimensions or more."""
    return next(name for name, value in state.items() if value.ndim > 1)


def nested(depth: int) -> list:
    """A list in a list in a list."""
    content: list = []
    for _ in range(depth):
        content = [content]
    return content


ROWS = [
    ("empty", write(FILE, b"")),
    ("text", write(FILE, "no checkpoint\n")),
    ("zeros", write(FILE, bytes(10_000))),
    ("half", cut(FILE, 0.5)),
    ("without its end", cut(FILE, 0.99)),
    *((f"a bit at {share:.1%}", flip(FILE, share)) for share in (0.01, 0.3, 0.5, 0.7, 0.9, 0.999)),
    ("a folder", put_folder(FILE)),
    ("a link to itself", put_link(FILE, "last.ckpt")),
    ("a pickle that runs a command", write(FILE, b"cposix\nsystem\n(S'touch pickle-was-run'\ntR.")),
    ("an object that runs a command", entries(harm=Command())),
    ("a tensor", checkpoint(FILE, lambda content: content["state_dict"][first(content["state_dict"])])),
    ("a list", checkpoint(FILE, lambda content: [1, 2])),
    ("a number", checkpoint(FILE, lambda content: 3)),
    ("nothing", checkpoint(FILE, lambda content: None)),
    ("an empty dictionary", checkpoint(FILE, lambda content: {})),
    ("weights alone", checkpoint(FILE, lambda content: content["state_dict"])),
    *((f"no {name}", entries(**{name: ...})) for name in ("epoch", "state_dict", "origin", "optimizer_states", "lr_schedulers", "loops", "callbacks", "pytorch-lightning_version", "global_step")),
    *((f"epoch {value!r}", entries(epoch=value)) for value in ("2", None, -1, 1.5, 99, float("nan"), [1])),
    *((f"origin {value!r}", entries(origin=value)) for value in (None, 3, {}, {"study": "other", "fold": "f", "seed": 0}, [1])),
    *((f"{name} {value!r}", entries(**{name: value})) for name in ("optimizer_states", "lr_schedulers", "loops", "callbacks", "state_dict") for value in (None, 3, [], {})),
    ("global_step text", entries(global_step="many")),
    ("a version of the future", entries(**{"pytorch-lightning_version": "99.0"})),
    ("a version that is text", entries(**{"pytorch-lightning_version": "abc"})),
    ("a weight less", weights(lambda state: {name: value for name, value in state.items() if name != first(state)})),
    ("a weight more", weights(lambda state: {**state, "more": state[first(state)]})),
    ("a weight of another shape", weights(lambda state: {**state, first(state): state[first(state)].flatten()})),
    ("a weight that is text", weights(lambda state: {**state, first(state): "text"})),
    ("a weight that is nan", weights(lambda state: {**state, first(state): state[first(state)] * float("nan")})),
    ("weights of another name", weights(lambda state: {f"other.{name}": value for name, value in state.items()})),
    ("weights that are whole numbers", weights(lambda state: {**state, first(state): state[first(state)].int()})),
    ("deeply nested", entries(more=nested(400))),
]  # fmt: skip
GOES_ON = [
    ("gone: trained again", remove(FILE), "pooled over 6 clips"),
    # The archive's last bytes count those of a comment; all that it holds has checksums.
    ("a bit of the last byte", flip(FILE, 1.0), "pooled over 6 clips"),
]
CASES = [
    *table("checkpoints", "interrupted", TRAIN, [(name, change, "last.ckpt") for name, change in ROWS]),
    *table("checkpoints", "interrupted", TRAIN, [("a pipe", make_pipe(FILE), "last.ckpt")]),
    *table("checkpoints", "interrupted", TRAIN, GOES_ON, expected=Expected.works),
]  # fmt: skip
