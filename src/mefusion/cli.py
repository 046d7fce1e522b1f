"""What the entry points share: where the configuration is, and errors as one sentence."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from mefusion.config import register_schemas
from mefusion.errors import MefusionError


def configuration_folder(name: str) -> Path:
    """`conf` or `experiments`: the checkout's where there is one, else the installed package's."""
    package = Path(__file__).parent
    checkout = package.parents[1]
    return checkout / name if (checkout / "pyproject.toml").exists() else package / name


class ExperimentsSearchPath(SearchPathPlugin):
    """Lets `+ablation=tasks` find experiments/ablation/tasks.yaml."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append experiments/ to where Hydra looks."""
        search_path.append("experiments", f"file://{configuration_folder('experiments')}")


def run(task: Callable[[DictConfig], Any], *, config_name: str, program: str) -> None:
    """Run an entry point under Hydra; what the user can mend is one sentence and exit code 1."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let exceptions come here instead of being printed with hints
    register_schemas()
    Plugins.instance().register(ExperimentsSearchPath)
    try:
        hydra.main(version_base="1.3", config_path=str(configuration_folder("conf")), config_name=config_name)(task)()
    except MefusionError as error:
        sys.exit(f"{program}: {error}")
    except (HydraException, OmegaConfBaseException) as error:
        sys.exit(f"{program}: {_sentence(error)}; `{program} --help` shows the options")
    except KeyboardInterrupt:
        sys.exit(130)


def _sentence(error: BaseException) -> str:
    """Hydra's message in one line: what is wrong, and which values there are."""
    causes, cause = [str(error)], error.__cause__
    while cause is not None:
        causes.append(str(cause))
        cause = cause.__cause__
    message = max(causes, key=len) if "Error merging" in causes[0] or "instantiating" in causes[0] else causes[0]
    lines = [line.strip() for line in message.splitlines()]
    kept = [
        line for line in lines if line and not re.match(r"(object_type|reference_type|Set the env|Config search)", line)
    ]
    return re.sub(r":, |: ; ", ": ", ", ".join(kept)).rstrip(".")
