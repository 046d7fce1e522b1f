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
    given = OmegaConf.select(hydra or OmegaConf.create(), "overrides.hydra") or ()
    found = [text for text in given if text.lstrip("+").startswith("hydra.searchpath")]
    return [sys.executable, "-m", "mefusion.commands.train", *config_dir_option(hydra), *found, *overrides]


def config_dir_option(hydra: Any) -> list[str]:
    """`--config-dir` of a command, as its jobs and the commands that it names take it too; none if it had none.

    Args:
        hydra: the node `hydra` of its configuration, or None.
    """
    sources = OmegaConf.select(hydra or OmegaConf.create(), "runtime.config_sources") or ()
    found = [source.path for source in sources if source.provider == "command-line"]
    return ["--config-dir", found[0]] if found else []
