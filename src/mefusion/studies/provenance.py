"""Where a result comes from: versions of packages, revision of the code, device."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path

PACKAGES = ("mefusion", "torch", "lightning", "numpy", "pandas", "opencv-contrib-python-headless", "dlib-bin")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def git_revision() -> str | None:
    """Revision of the checkout, with `-dirty` if files are changed; None for an installed package."""
    folder = Path(__file__).parents[3]
    if not (folder / ".git").exists():
        return None
    command = [
        "git",
        "--no-optional-locks",
        "-C",
        str(folder),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=12",
        "--exclude=*",
    ]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def device_name(accelerator: str) -> str:
    """The name of the GPU, or the architecture of the processor."""
    import torch  # here, since versions are told without it

    if accelerator != "cpu" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU"
