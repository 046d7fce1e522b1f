"""What all commands share: where the configuration is, and errors printed as one sentence."""

import functools
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from mefusion.common import opencv
from mefusion.common.errors import MefusionError, first_line
from mefusion.common.quiet import quiet_matplotlib
from mefusion.configuration.schema import register_schema


def configuration_folder(name: str) -> Path:
    """The folder `conf` or `experiments`: of the checkout if there is one, else of the installed package."""
    package = Path(__file__).parents[1]
    checkout = package.parents[1]
    return checkout / name if (checkout / "pyproject.toml").exists() else package / name


class ExperimentsSearchPath(SearchPathPlugin):
    """Lets `+ablation=tasks` find experiments/ablation/tasks.yaml."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add experiments/ to the folders that Hydra searches."""
        search_path.append("experiments", f"file://{configuration_folder('experiments')}")


def options_first(arguments: Sequence[str]) -> list[str]:
    """Move the options of a command line before the overrides; Hydra does not accept options between overrides."""
    with_value = (
        "--config-dir",
        "-cd",
        "--config-name",
        "-cn",
        "--config-path",
        "-cp",
        "--package",
        "-p",
        "--cfg",
        "-c",
    )
    options: list[str] = []
    overrides: list[str] = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        (options if argument.startswith("-") or before in with_value else overrides).append(argument)
    return [*options, *overrides]


WHOLE_SCHEME = ("labels.name=own", "labels.datasets=???", "+labels.datasets={}", "labels.classes=???")
"""What comes before `+labels.classes={...}`, so that nothing of the base's name and classes is left."""


def replace_classes(overrides: Sequence[str]) -> list[str]:
    """Let `labels.classes={...}` be all classes of a scheme called `own`; Hydra would merge them with the base's.

    `labels.classes.surprise=[...]` still changes a class of the base, and `+labels.classes={...}` adds to them.
    """
    given = re.compile(r"labels\.classes=\s*\{")
    if not any(map(given.match, overrides)):
        return list(overrides)
    return [*WHOLE_SCHEME, *(f"+{text}" if given.match(text) else text for text in overrides)]


def prepare_hydra(name: str = "train") -> None:
    """Let Hydra find the types of the settings of a file in conf/, experiments/, and modules in the current folder."""
    register_schema(name)
    # Hydra copies what is stored, for each group that the help lists; `load` copies what it gives anyway.
    setattr(ConfigStore, "__deepcopy__", lambda store, memo: store)  # noqa: B010
    Plugins.instance().register(ExperimentsSearchPath)
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.append(folder)  # at the end, so that a module there hides no installed one


def compose(overrides: Sequence[str], config_dir: Path | None = None, *, name: str = "train") -> DictConfig:
    """Compose a file of conf/ with overrides, as `mefusion-train` does with conf/train.yaml.

    Args:
        overrides: of the command line.
        config_dir: a folder that is added to conf/, as by `--config-dir`.
        name: of the file.

    Raises:
        MefusionError: `config_dir` is not a folder.
    """
    prepare_hydra(name)
    require_options(overrides)
    added = []
    if config_dir is not None:
        if not config_dir.is_dir():
            raise MefusionError(f"--config-dir={config_dir} is not a folder: give one with model/, labels/ and so on")
        path = config_dir.resolve().as_posix().replace("'", r"\'")
        added = [f"hydra.searchpath=['file://{path}']"]
    with hydra.initialize_config_dir(str(configuration_folder("conf")), version_base="1.3"):
        return hydra.compose(name, overrides=[*added, *replace_classes(overrides)])


def run(task: Callable[[DictConfig], Any], *, config_name: str, program: str) -> None:
    """Run a command under Hydra; an error that the user can correct is printed as one sentence, with exit code 1."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises exceptions instead of printing them with hints
    sys.argv[1:] = options_first(replace_classes(sys.argv[1:]))
    prepare_hydra(config_name)

    @functools.wraps(task)
    def run_task(config: DictConfig) -> Any:
        if HydraConfig.get().mode == RunMode.MULTIRUN:  # a job of another launcher, which needs the exception
            return task(config)
        with exit_on_error(program):  # here too: an exception would make Hydra print a line of its own
            return task(config)

    with exit_on_error(program):
        require_options(sys.argv[1:])
        hydra.main(version_base="1.3", config_path=str(configuration_folder("conf")), config_name=config_name)(
            run_task
        )()


def require_options(arguments: Sequence[str]) -> None:
    """Check that groups are given options, such as `model=mol`; for `model=null` Hydra raises a bare ValueError.

    Args:
        arguments: of a command line.

    Raises:
        MefusionError: a group is given something else.
    """
    given = [text for text in arguments if "=" in text and not text.startswith(("-", "~"))]
    for override in OverridesParser.create().parse_overrides(given):
        group, value = override.key_or_group, override.value()
        folder = configuration_folder("conf") / group
        if folder.is_dir() and not override.is_sweep_override() and not isinstance(value, str | list):
            raise MefusionError(f"{group}={value}: choose from {', '.join(_options(group))}")


def _options(group: str) -> list[str]:
    return sorted(path.stem for path in (configuration_folder("conf") / group).glob("*.yaml"))


@contextmanager
def exit_on_error(program: str) -> Iterator[None]:
    """End the program with one sentence and exit code 1 if the block raises an error that the user can correct."""
    quiet_matplotlib()
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except MefusionError as error:
        sys.exit(f"{program}: {error}")
    except (HydraException, OmegaConfBaseException) as error:
        sys.exit(f"{program}: {_explain(error)}; {program} --help shows what there is")
    except YAMLError as error:  # names the file and the line, in several lines
        sys.exit(f"{program}: a configuration file is not readable as YAML: {' '.join(str(error).split())}")
    except BrokenPipeError:  # the program that read the output has ended, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python prints a warning when it exits
        sys.exit(1)
    except RuntimeError as error:
        if not _is_of_slurm(error):
            raise
        sys.exit(
            f"{program}: hydra/launcher=slurm: {first_line(error)}; "
            "correct hydra.launcher.*, or leave hydra/launcher out"
        )
    except ImportError as error:
        if not any(Path(frame.filename).parent.name == "cv2" for frame in traceback.extract_tb(error.__traceback__)):
            raise
        sys.exit(f"{program}: OpenCV cannot be imported ({error}): {opencv.CURE}")
    except OSError as error:
        sys.exit(f"{program}: {error.filename or 'a file'} cannot be used: {error.strerror or error}")


def _is_of_slurm(error: RuntimeError) -> bool:
    """Whether Submitit raised an error: SLURM is not there, or refuses the jobs."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith("submitit.")


def _explain(error: Exception) -> str:
    """Write an error of Hydra or OmegaConf as one line that names the value."""
    message = str(error).strip()
    key = re.search(r"full_key: (\S+)", message)
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        if isinstance(error.__cause__, MefusionError):
            return str(error.__cause__)
        return f"{key[1] if key else 'a _target_'} cannot be built: {first_line(error.__cause__)}"
    if isinstance(error, MissingConfigException):
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        # For a list such as callbacks=[a,b], Hydra does not say which options exist.
        options = error.options or _options(group)
        if option.startswith("submitit_"):
            return f"{group}={option} needs a package: pip install hydra-submitit-launcher"
        return f"{group}={option} is not known: choose from {', '.join(options)}"
    if override := re.match(r"Could not override '([^']+)'", message):
        return f"there is no setting or group called {override[1]}"
    if missing := re.match(r"Missing mandatory value: (\S+)", message):
        name = key[1] if key else missing[1]
        return f"{name} has no value: give it as {name}=VALUE"
    if message.startswith("Error merging override") and error.__cause__ is not None:
        return f"{message.removeprefix('Error merging override ')}: {_choices(first_line(error.__cause__))}"
    if isinstance(error, OverrideParseException):
        return f"the override {error.override} cannot be read: write key=value"
    first = _choices(first_line(error))
    return f"{key[1]}: {first}" if key and key[1] not in first else first


def _choices(message: str) -> str:
    """Write OmegaConf's message about an enumeration like our own messages."""
    found = re.fullmatch(r"Invalid value .*, expected one of \[(.*)\]", message)
    return f"choose from {found[1]}" if found else message
