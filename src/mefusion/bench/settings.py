"""Settings of a measurement. Does not import torch, so that `mefusion-bench --help` answers at once."""

from dataclasses import dataclass

DEVICES = ("cpu", "cuda")
PRECISIONS = ("32-true", "bf16-mixed")
MEMORY = {
    "max_memory_allocated": "largest GPU memory of tensors in the timed training steps (max_memory_allocated of torch)",
    "VmHWM": "largest resident memory of the whole process in the timed training steps (VmHWM)",
    "ru_maxrss": "largest resident memory of the whole process since its start (getrusage)",
    "none": "not measured on Windows",
}
"""Ways to measure peak memory, each with its explanation below the table."""


@dataclass(frozen=True)
class Settings:
    """Settings of a measurement.

    Attributes:
        batch_size: clips in a batch; None means the model's own.
        device, precision: one of `DEVICES` and one of `PRECISIONS`.
        steps: number of timed steps.
        warmup: number of steps before them.
    """

    batch_size: int | None = None
    device: str = "cpu"
    precision: str = "32-true"
    steps: int = 5
    warmup: int = 2
