"""Where a result comes from: versions, revision, device."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path

import torch

PACKAGES = ("mefusion", "torch", "lightning", "numpy", "pandas", "opencv-contrib-python-headless", "dlib-bin")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES}


def git_revision() -> str | None:
    """Revision of the checkout, with `-dirty` where files are changed; None for an installed package."""
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def device_name() -> str:
    """The GPU's name, or the processor's kind and the number of threads."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
