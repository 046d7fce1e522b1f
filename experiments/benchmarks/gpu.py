"""Training steps of MOL and FDP on a GPU: eager and compiled, in single precision and bfloat16, and with channels last.

    python experiments/benchmarks/gpu.py [--device cpu] [--models NAME ...] [overrides of conf/train.yaml]

For each way it prints the median step, clips a second and the largest memory of tensors; on a GPU it stops at a step
that waits for a value of the GPU. Then it prints how long a batch of shifted and mirrored windows takes: cut on the
host and moved, or cut in the GPU's memory. One network is on the device at a time. `--device cpu` tries it out.
"""

import argparse
import gc
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import torch

from mefusion.bench.measuring import BenchModel, measure, time_in_turn
from mefusion.bench.settings import DEVICES, MEMORY, Settings
from mefusion.clips.cache import save_arrays
from mefusion.evaluation.folds import Fold
from mefusion.preparation.arrays import random_clip
from mefusion.preparation.settings import PreparationSettings
from mefusion.processes.memory import reuse_freed_memory
from mefusion.studies.provenance import device_name
from mefusion.windows.datamodule import FoldData
from mefusion.windows.settings import Windows, WindowSettings
from mefusion.windows.store import ClipStore
from mefusion.windows.views import make_view

MODELS = {"mol": 32, "mol_released": 32, "fdp": 36, "fdp_released": 36}  # with the published batch
WAYS = {
    "eager": ("32-true", []),
    "eager bf16": ("bf16-mixed", []),
    "channels last bf16": ("bf16-mixed", ["model.channels_last=true"]),
    "compiled": ("32-true", ["model.compile=true"]),
    "compiled bf16": ("bf16-mixed", ["model.compile=true"]),
    "compiled, channels last bf16": ("bf16-mixed", ["model.compile=true", "model.channels_last=true"]),
}
VIEWS = {"canvas": 128, "small": 64, "flow_image": 28}
CLIPS = 64


def step_row(name: str, way: str, arguments: argparse.Namespace) -> str:
    """Row of a model computed in one way."""
    precision, options = WAYS[way]
    batch_size = arguments.batch_size or MODELS[name]
    settings = Settings(batch_size, arguments.device, precision, arguments.steps, warmup=3)
    model = BenchModel([f"model={name}", *options, *arguments.overrides], settings)
    (found,) = measure([model], settings)
    if arguments.device == "cuda":
        torch.cuda.set_sync_debug_mode("error")
        model.training_step()
        torch.cuda.set_sync_debug_mode("default")
    assert found.peak_memory is not None
    return (
        f"| {name} | {batch_size} | {way} | {1000 * found.training_step:.4g} | {found.clips_per_second:.4g} "
        f"| {found.peak_memory / 1e6:.0f} |"
    )


def batch_times(view: str, device: torch.device, folder: Path, wait: Callable[[], None]) -> tuple[float, float]:
    """Milliseconds of a batch of 32 on the device, normalised: cut on the host, and cut on the device."""
    size = VIEWS[view]
    settings = PreparationSettings(clip_length=8)
    save_arrays(folder / "clip.safetensors", random_clip(settings), {})
    row = {"file": "clip.safetensors", "label": "x", "stride": 1, "apex_place": 4}
    index = pd.DataFrame([{"subject": f"{number}", **row} for number in range(CLIPS)])
    store = ClipStore(index, folder, classes=["x"], clip_length=8, view=make_view(view, image_size=size))
    first, *rest = index["subject"]
    fold = Fold("random", train=tuple(rest), test=(first,))
    windows = WindowSettings(batch_size=32, windows=Windows.random, flip=True, crop_jitter=0 if size == 28 else 3)

    def batches(resident: bool) -> Callable[[], None]:
        data = FoldData(store, fold, windows, image_size=size, seed=0, resident=resident)

        def batch() -> None:
            data.on_after_batch_transfer(next(iter(data.train_dataloader())).to(device), 0)

        batch()  # which takes the clips to the device
        return batch

    times = time_in_turn([batches(resident=False), batches(resident=True)], steps=20, wait=wait)
    host, on_device = (1000 * statistics.median(one) for one in times)
    return host, on_device


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("overrides", metavar="OVERRIDE", nargs="*", help="of conf/train.yaml")
    parser.add_argument("--device", choices=DEVICES, default="cuda")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="NAME")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY")
    parser.add_argument("--batch-size", metavar="N", type=int, help="default: the published one")
    parser.add_argument("--steps", metavar="N", type=int, default=20, help="timed steps")
    arguments = parser.parse_args(argv)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU here: give --device cpu to try the script out")
    memory = MEMORY["max_memory_allocated" if arguments.device == "cuda" else "VmHWM"]
    print(f"{device_name(arguments.device)}, torch {torch.__version__}; memory: {memory}\n")
    print("| model | batch | way | step ms | clips/s | memory MB |\n| --- | ---: | --- | ---: | ---: | ---: |")
    for name in arguments.models:
        for way in arguments.ways:
            print(step_row(name, way, arguments), flush=True)
            torch._dynamo.reset()
            gc.collect()  # the network before is freed, so that its memory does not count
            torch.cuda.empty_cache()
    wait = torch.cuda.synchronize if arguments.device == "cuda" else lambda: None
    print("\n| batch of 32 for the view | cut on the host ms | cut on the device ms |\n| --- | ---: | ---: |")
    for view in VIEWS:
        with tempfile.TemporaryDirectory() as folder:
            host, on_device = batch_times(view, torch.device(arguments.device), Path(folder), wait)
        print(f"| {view} | {host:.3g} | {on_device:.3g} |")


if __name__ == "__main__":
    reuse_freed_memory()
    main()
