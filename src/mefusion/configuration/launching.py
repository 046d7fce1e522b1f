"""Processes that work at a study, such as the jobs of a sweep: their command, and where they leave their result."""

import sys
from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf

RESULT_VARIABLE = "MEFUSION_RESULT_FILE"
"""Environment variable with the file to which a job writes its result."""


def train_command(hydra: Any, overrides: Sequence[str]) -> list[str]:
    """The command of a process that works at a study.

    Args:
        hydra: the node `hydra` of the configuration, or None.
        overrides: of the study.
    """
    return [sys.executable, "-m", "mefusion.commands.train", *own_folders(hydra), *overrides]


def own_folders(hydra: Any) -> list[str]:
    """`--config-dir` and `hydra.searchpath` of a command, as its jobs and the commands that it names take them too.

    Args:
        hydra: the node `hydra` of its configuration, or None.
    """
    node = hydra or OmegaConf.create()
    sources, given = (OmegaConf.select(node, key) or () for key in ("runtime.config_sources", "overrides.hydra"))
    folders = [source.path for source in sources if source.provider == "command-line"]
    found = [text for text in given if text.lstrip("+").startswith("hydra.searchpath")]
    return [*(["--config-dir", folders[0]] if folders else []), *found]
