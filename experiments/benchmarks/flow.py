"""Error and speed of the methods of optical flow, on prepared clips of the synthetic set, where the flow is known.

    mefusion-prepare flow=dis                # only the frames are used, so the quickest method will do
    python experiments/benchmarks/flow.py    # more overrides of mefusion-prepare: the same for both, data.seed=1

One clip of each subject and class; three pairs of frames of each: from the first frame of a window to the second, from
the one before the apex to the apex, and from onset to apex. Errors are mean end-point errors on the face. Speed is that
of one core, in processor time, torch's too.
"""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd

from mefusion.clips.cache import load_arrays, read_index
from mefusion.preparation.arrays import measure_flow
from mefusion.preparation.settings import FlowMethod
from mefusion.synthetic.scene import list_clips, make_clip
from mefusion.synthetic.truth import exact_flow

NEAR, FAR = "frame to frame", "onset to apex"
METHODS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "none": lambda first, second: np.zeros((len(first), 2, *first.shape[1:]), np.float32),
    "tvl1": measure_flow,
    "tvl1, flow_device=cpu": lambda first, second: measure_flow(first, second, device="cpu"),
    "dis": lambda first, second: measure_flow(first, second, method=FlowMethod.dis),
    "farneback": lambda first, second: measure_flow(first, second, method=FlowMethod.farneback),
}


@dataclass(frozen=True)
class Pair:
    """Two aligned frames [H, W], the exact flow [2, H, W] px between them, and which pixels [H, W] show the face."""

    kind: str
    first: np.ndarray
    second: np.ndarray
    exact: np.ndarray
    face: np.ndarray

    def error(self, flow: np.ndarray) -> float:
        """Mean end-point error on the face, px."""
        return float(np.linalg.norm(flow - self.exact, axis=0)[self.face].mean())


def pairs(overrides: list[str]) -> Iterator[Pair]:
    """Pairs of frames of the prepared clips."""
    from hydra import compose, initialize_config_dir

    from mefusion.configuration.cli import configuration_folder
    from mefusion.configuration.preparing import resolve_preparation
    from mefusion.configuration.schema import register_schema

    register_schema("prepare")
    with initialize_config_dir(str(configuration_folder("conf").resolve()), version_base="1.3"):
        preparation = resolve_preparation(compose("prepare", ["flow=dis", *overrides]))
    index = read_index(preparation.cache, command="mefusion-prepare flow=dis with the same overrides")
    settings = preparation.source.settings  # type: ignore[attr-defined]
    clips = {clip.name(settings): clip for clip in list_clips(settings)}
    for row in index.groupby(["subject", "emotion"], as_index=False).first().itertuples():
        arrays, clip = load_arrays(preparation.cache / row.file), make_clip(settings, clips[row.clip_id])
        apex = min(max(row.apex_place, row.stride), len(arrays["frames"]) - 1)
        for kind, start, end in ((NEAR, 0, row.stride), (NEAR, apex - row.stride, apex), (FAR, 0, apex)):
            exact, face = exact_flow(clip, arrays, first=start, second=end)
            yield Pair(kind, arrays["frames"][start], arrays["frames"][end], exact, face)


def measured(found: list[Pair]) -> pd.DataFrame:
    """A row for each method: errors in px and as shares of zero flow's, distance to TV-L1 in px, pairs a second."""
    first, second = (np.stack([getattr(pair, name) for pair in found]) for name in ("first", "second"))
    kinds = np.array([pair.kind for pair in found])
    rows, flows = {}, {}
    for name, method in METHODS.items():
        method(first[:1], second[:1])  # what is loaded at first use
        start = time.process_time()
        flows[name] = method(first, second)
        seconds = time.process_time() - start
        errors = np.array([pair.error(flow) for pair, flow in zip(found, flows[name], strict=True)])
        rows[name] = {kind: errors[kinds == kind].mean() for kind in (NEAR, FAR)} | {"pairs/s": len(found) / seconds}
    table = pd.DataFrame.from_dict(rows, orient="index")
    for kind in (NEAR, FAR):
        table.insert(table.columns.get_loc(kind) + 1, f"share, {kind}", table[kind] / table.loc["none", kind])
    distance = {name: np.linalg.norm(flow - flows["tvl1"], axis=1).mean() for name, flow in flows.items()}
    table.insert(4, "to TV-L1", pd.Series(distance))
    return table


def main() -> None:
    """Print the figures."""
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    found = list(pairs(sys.argv[1:]))
    print(f"{len(found)} pairs of 144x144; mean end-point errors in px")
    table = measured(found)
    speed = [f"{value:.1f}" if value < 1000 else "" for value in table.pop("pairs/s")]
    print(table.round(3).assign(**{"pairs/s": speed}).to_string())


if __name__ == "__main__":
    main()
