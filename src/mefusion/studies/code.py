"""The code that makes a fold's result: its digest, and what is done when a study's folds were made by different code.

What counts are the modules of the network, the tasks, the view and the LightningModule, with the modules that they
import: of mefusion those of `COUNTED`, of the user's own code those outside site-packages. Comments, docstrings and
formatting do not count. Some code is left out on purpose:

- Modules called `settings`: the values of settings name the study (`mefusion.studies.identity`).
- `mefusion.acceleration`: it computes the same networks, and which of its layers are used depends on the device.
- Installed packages, except the modules that the configuration names.
- The rest of mefusion: `RESULTS` in `mefusion.studies.identity` is raised where it gives other results.
"""

import ast
import importlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mefusion.clips.cache import settings_hash
from mefusion.common.errors import MefusionError
from mefusion.common.files import try_lock
from mefusion.evaluation.predictions import some
from mefusion.processes.distributed import rank
from mefusion.studies.runs import Run

if TYPE_CHECKING:
    from mefusion.studies.study import Study

ALWAYS = ("mefusion.training.module", "mefusion.training.losses", "mefusion.windows.views")
"""Modules that count in every study."""

COUNTED = ("mefusion.models", "mefusion.training", "mefusion.windows", "mefusion.clips.motion")
"""The parts of mefusion that count where a module that counts imports them."""


def code_digest(modules: Iterable[str]) -> str:
    """Digest of the source code that makes a fold's result, ten hex digits.

    Args:
        modules: names of the modules of the study's network, tasks and view.
    """
    found: dict[str, Any] = {}
    waiting = [*ALWAYS, *modules]
    while waiting:
        name = waiting.pop()
        spec = None if name in found else _find(name)
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            continue
        source = read_source(Path(spec.origin))
        try:
            tree = ast.parse(source)
        except SyntaxError:  # of a module that is imported in some function only
            found[name] = source
            continue
        found[name] = _plain(tree)
        waiting += [other for other in _imports(tree, spec) if _counts(other)]
    return settings_hash(found)


def read_source(path: Path) -> str:
    """Source code of a module."""
    return path.read_text(encoding="utf-8", errors="replace")


def require_same_code(study: "Study", *, again: bool, accept: bool, say: Callable[[str], None]) -> None:
    """Stop where folds of a study were made by other code than now, or by several.

    Folds of which the code is not known, as those of version 0.1, do not count.

    Args:
        study: what will be gone on with.
        again: move these folds to `replaced/` in the study, so that they are run again.
        accept: go on with them; results tell that the study was made by different code.
        say: is called with one line of text if one of the two is done.

    Raises:
        MefusionError: there are such folds, and neither is wanted.
    """
    others = runs_of_other_code(study)
    codes = ", ".join(sorted({str(run.code) for run in others}))
    names = some([run.name for run in others])
    if others and not (again or accept):
        raise MefusionError(
            f"{study.directory} has {len(others)} of {len(study.runs)} folds ({names}) that were made by other code of "
            f"network, tasks or view ({codes}) than now ({study.code}): give again=true to repeat them, another "
            "output_dir to leave them as they are, or accept_code=true to use them, which every result then tells"
        )
    if rank() > 0:
        return
    if others and again:
        place = study.directory / "replaced" / time.strftime("%Y%m%d-%H%M%S")
        for run in others:
            with try_lock(run.folder) as mine:
                if mine and _is_of_other_code(run, study):  # another process may have done this
                    _move_files(run.folder, place / run.name)
        say(f"again=true: repeats the folds of other code ({codes}): {names}; the old ones are in {place}")
    elif others:
        say(f"accept_code=true: uses folds of other code ({codes}) than now ({study.code}): {names}")


def runs_of_other_code(study: "Study") -> list[Run]:
    """Runs of a study that were begun with other code of network, tasks or view than now."""
    return [run for run in study.runs if _is_of_other_code(run, study)]


def _is_of_other_code(run: Run, study: "Study") -> bool:
    return run.begun and run.code not in (None, study.code)


def _move_files(folder: Path, place: Path) -> None:
    """Move what is in a fold's folder, `DONE` first, so that the fold never seems complete without its files."""
    place.mkdir(parents=True)
    for path in sorted(folder.iterdir(), key=lambda path: path.name != "DONE"):
        if not path.name.startswith("."):  # the lock
            path.rename(place / path.name)


def _find(name: str) -> ModuleSpec | None:
    try:
        return find_spec(name)
    except (ImportError, ValueError):
        return None


def _imports(tree: ast.AST, spec: ModuleSpec) -> Iterator[str]:
    """Names of the modules that a module imports, installed ones left out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if not _is_installed(alias.name))
        elif isinstance(node, ast.ImportFrom):
            origin = resolve_name("." * node.level + (node.module or ""), spec.parent)
            if not _is_installed(origin):
                for alias in node.names:
                    yield from _modules_of(origin, alias.name)


def _is_installed(name: str) -> bool:
    """Whether a module is Python's or of an installed package, mefusion apart."""
    package = name.partition(".")[0]
    if package == "mefusion" or package in sys.stdlib_module_names:
        return package != "mefusion"
    spec = _find(package)  # of the package alone, which imports nothing
    places = [] if spec is None else [*(spec.submodule_search_locations or [spec.origin or ""])]
    return not places or any({"site-packages", "dist-packages"} & {*Path(place).parts} for place in places)


def _modules_of(origin: str, name: str) -> list[str]:
    """The modules that `from origin import name` reads: of a package, its `__init__.py` and perhaps a module in it.

    A package of mefusion only passes on what its modules define, as `mefusion.models` does MOL: then it is that module.
    """
    spec = _find(origin)
    if spec is None or not spec.submodule_search_locations:
        return [origin]
    if origin.partition(".")[0] == "mefusion":
        origin = getattr(getattr(importlib.import_module(origin), name, None), "__module__", origin)
    return [origin, f"{spec.name}.{name}"]


def _counts(name: str) -> bool:
    if name.partition(".")[0] != "mefusion":
        return True
    return f"{name}.".startswith(tuple(f"{part}." for part in COUNTED)) and not name.endswith(".settings")


def _plain(node: Any) -> Any:
    """A syntax tree as lists, without docstrings, and without empty fields, which differ between versions of Python."""
    if isinstance(node, list):
        return [_plain(part) for part in node if not _is_docstring(part)]
    if isinstance(node, ast.AST):
        fields = [(name, _plain(value)) for name, value in ast.iter_fields(node) if value is not None and value != []]
        return [type(node).__name__, *fields]
    return repr(node)


def _is_docstring(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
