"""How a model is measured; without torch, so that `mefusion-bench --help` answers at once."""

from dataclasses import dataclass

DEVICES = ("cpu", "cuda")
PRECISIONS = ("32-true", "bf16-mixed")
MEMORY = {
    "max_memory_allocated": "what torch.cuda.max_memory_allocated saw during the timed training steps",
    "VmHWM": "the largest resident size of the whole process during the timed training steps (VmHWM)",
    "ru_maxrss": "the largest resident size of the whole process since it started (getrusage)",
    "none": "not measured on Windows",
}
"""Ways to measure peak memory, and what the table says of them."""


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        batch_size: clips a batch; the model's own where None.
        device, precision: one of `DEVICES` and one of `PRECISIONS`.
        steps: timed steps.
        warmup: steps before them.
    """

    batch_size: int | None = None
    device: str = "cpu"
    precision: str = "32-true"
    steps: int = 5
    warmup: int = 2
