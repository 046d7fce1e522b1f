"""What a folder holds, so that an interrupted run's can be compared with an uninterrupted one's: all but times."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd

_TIMES = re.compile(r"\d{4}-\d\d-\d\d(?:[ T_]\d\d[:-]\d\d(?:[:-]\d\d(?:\.\d+)?)?)?")
_LEFT_OUT = ("outputs/sweeps/", "tmp/")  # logs that have a time in their names; temporary files


def contents(folder: Path) -> dict[str, str]:
    """A digest of each file of a folder, by its path in it; hidden files are left out.

    Files of arrays count by their arrays, tables by their values and checkpoints by their weights. The folder's own
    path, times, and the fingerprints of source files (which have times in them) do not count.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden and not name.startswith(_LEFT_OUT):
            found[name] = hashlib.sha256(_content(path, folder)).hexdigest()[:16]
    return found


def differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """What is missing, changed or more, in words."""
    lines = [f"{name} is missing" for name in expected if name not in found]
    lines += [f"{name} differs" for name, digest in expected.items() if found.get(name, digest) != digest]
    return lines + [f"{name} is more" for name in found if name not in expected]


def _content(path: Path, folder: Path) -> bytes:
    if path.suffix == ".safetensors":
        return _arrays(path)
    if path.suffix == ".parquet":
        table = pd.read_parquet(path)
        digest = "" if "root" not in table else str(folder)
        return table.to_csv().replace(digest or "\0", "").encode()
    if path.suffix == ".ckpt":
        return _weights(path)
    content = path.read_bytes()
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return content
    return _TIMES.sub("TIME", text.replace(str(folder), "")).encode()


def _arrays(path: Path) -> bytes:
    from safetensors import safe_open

    digest = hashlib.sha256()
    with safe_open(path, framework="np") as file:
        for name in sorted(file.keys()):
            array = np.ascontiguousarray(file.get_tensor(name))
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(array.tobytes())
        metadata = dict(file.metadata() or {})
    described = json.loads(metadata.pop("clip", "{}"))
    described.pop("state", None)
    described.get("checksums", {}).pop("", None)  # of the description with the state
    digest.update(json.dumps([metadata, described], sort_keys=True).encode())
    return digest.digest()


def _weights(path: Path) -> bytes:
    import torch

    digest = hashlib.sha256()
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    for name, value in sorted(checkpoint["state_dict"].items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.numpy().tobytes())
    digest.update(f"{checkpoint['epoch']} {checkpoint['global_step']}".encode())
    return digest.digest()
