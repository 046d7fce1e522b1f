"""What is done to a folder: each function gives a change, and takes a file's place as a pattern (the first match)."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .cases import Change


def find(folder: Path, pattern: str, *, place: int = 0) -> Path:
    """The first file (or `place`-th) that fits a pattern; the path itself if it is no pattern."""
    if not any(sign in pattern for sign in "*?"):
        return folder / pattern
    found = sorted(folder.glob(pattern))
    assert found, f"nothing fits {pattern} in {folder}"
    return found[place]


def both(*changes: Change) -> Change:
    """One change after the other."""

    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change


def write(pattern: str, content: str | bytes) -> Change:
    """Write a file, in place of what is there."""

    def change(folder: Path) -> None:
        path = find(folder, pattern)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def edit(pattern: str, old: str, new: str) -> Change:
    """Replace a text in a file, once."""

    def change(folder: Path) -> None:
        path = find(folder, pattern)
        text = path.read_text()
        assert old in text, f"{old!r} is not in {path}"
        path.unlink()
        path.write_text(text.replace(old, new, 1))

    return change


def remove(pattern: str, *, place: int = 0) -> Change:
    """Remove a file or folder."""

    def change(folder: Path) -> None:
        path = find(folder, pattern, place=place)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    return change


def put_folder(pattern: str) -> Change:
    """Put a folder in the place of a file."""

    def change(folder: Path) -> None:
        path = find(folder, pattern)
        path.unlink(missing_ok=True)
        path.mkdir(parents=True)

    return change


def put_file(pattern: str) -> Change:
    """Put a file in the place of a folder."""

    def change(folder: Path) -> None:
        path = find(folder, pattern)
        shutil.rmtree(path, ignore_errors=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a file\n")

    return change


def put_link(pattern: str, target: str) -> Change:
    """Put a link in the place of a file or folder."""

    def change(folder: Path) -> None:
        path = find(folder, pattern)
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)

    return change


def make_pipe(pattern: str) -> Change:
    """Put a named pipe, which nobody writes to, in the place of a file."""

    def change(folder: Path) -> None:
        path = find(folder, pattern)
        path.unlink(missing_ok=True)
        os.mkfifo(path)

    return change


def cut(pattern: str, share: float) -> Change:
    """Keep the first part of a file."""
    return rewrite(pattern, lambda content: content[: int(len(content) * share)])


def flip(pattern: str, share: float) -> Change:
    """Flip one bit, at a share of the file's length."""

    def flipped(content: bytes) -> bytes:
        place = int((len(content) - 1) * share)
        return content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :]

    return rewrite(pattern, flipped)


def rewrite(pattern: str, function: Callable[[bytes], bytes]) -> Change:
    """Replace a file's bytes by others."""

    def change(folder: Path) -> None:
        path = find(folder, pattern)
        content = function(path.read_bytes())
        path.unlink()
        path.write_bytes(content)

    return change


def swap(pattern: str, one: int, other: int) -> Change:
    """Swap two of the files that fit a pattern."""

    def change(folder: Path) -> None:
        first, second = (find(folder, pattern, place=place) for place in (one, other))
        aside = first.with_name("aside")
        first.rename(aside)
        second.rename(first)
        aside.rename(second)

    return change


# Tables.


def rows(pattern: str, function: Callable[[pd.DataFrame], pd.DataFrame]) -> Change:
    """Change the rows of a CSV or Parquet table."""

    def change(folder: Path) -> None:
        path = find(folder, pattern)
        if path.suffix == ".parquet":
            table = function(pd.read_parquet(path))
            path.unlink()
            table.to_parquet(path, index=False)
        else:
            table = function(pd.read_csv(path, dtype=str, keep_default_na=False))
            path.unlink()
            table.to_csv(path, index=False)

    return change


def cell(pattern: str, column: str, value: object, *, row: int = 0) -> Change:
    """Change one value of a table; the column may be new. A text makes a column of numbers one of texts."""

    def changed(table: pd.DataFrame) -> pd.DataFrame:
        values = list(table[column]) if column in table else [""] * len(table)
        values[row] = value
        if isinstance(value, str):
            values = [str(other) for other in values]
        elif value is not None and any(isinstance(other, str) for other in values):
            values = [value] * len(values)
        return table.assign(**{column: pd.Series(values, index=table.index)})

    return rows(pattern, changed)


def columns(pattern: str, value: Mapping[str, object]) -> Change:
    """Give a table columns of one value each."""
    return rows(pattern, lambda table: table.assign(**value))


def drop(pattern: str, column: str) -> Change:
    """Drop a column of a table."""
    return rows(pattern, lambda table: table.drop(columns=column))


# JSON and arrays.


def entry(pattern: str, key: str, value: Any) -> Change:
    """Change an entry of a JSON file; the value `None` is null, and `...` removes it."""

    def change(folder: Path) -> None:
        path = find(folder, pattern)
        content = json.loads(path.read_text())
        node, *rest = content, *key.split(".")
        for name in rest[:-1]:
            node = node[name]
        if value is ...:
            del node[rest[-1]]
        else:
            node[rest[-1]] = value
        path.unlink()
        path.write_text(json.dumps(content))

    return change


def arrays(
    pattern: str,
    function: Callable[[dict[str, np.ndarray]], Mapping[str, np.ndarray | None]],
    *,
    clip: Mapping[str, object] | None = None,
    text: str | None = None,
) -> Change:
    """Change the arrays of a safetensors file (None removes one), entries of its description, or its whole text."""
    from safetensors import safe_open
    from safetensors.numpy import save_file

    def change(folder: Path) -> None:
        path = find(folder, pattern)
        with safe_open(path, framework="np") as file:
            held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = dict(file.metadata() or {})
        changed = {**held, **function(held)}
        if clip is not None:
            described = {**json.loads(metadata["clip"]), **clip}
            metadata["clip"] = json.dumps({name: value for name, value in described.items() if value is not None})
        if text is not None:
            metadata["clip"] = text
        kept = {name: np.ascontiguousarray(array) for name, array in changed.items() if array is not None}
        path.unlink()
        save_file(kept, path, metadata=metadata)

    return change


def array(pattern: str, content: np.ndarray, *, allow_pickle: bool = False) -> Change:
    """Write a NumPy array."""

    def change(folder: Path) -> None:
        path = find(folder, pattern)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        np.save(path, content, allow_pickle=allow_pickle)

    return change


def checkpoint(pattern: str, function: Callable[[dict[str, Any]], Any]) -> Change:
    """Change the content of a checkpoint: the function gets its dictionary and gives what is written instead."""

    def change(folder: Path) -> None:
        import torch

        path = find(folder, pattern)
        content = function(torch.load(path, map_location="cpu", weights_only=False))
        path.unlink()
        torch.save(content, path)

    return change
