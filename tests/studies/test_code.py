"""The digest of the code that makes a fold's result, and what happens when it differs from a finished fold's."""

import json
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

from mefusion.studies import code
from mefusion.studies.code import code_digest
from mefusion.studies.results import read_result
from mefusion.training.module import MERModule

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_model"
MOL, FDP = "mefusion.models.mol.network", "mefusion.models.fdp.network"

NETWORK = '''"""A network."""
import math

import torch  # installed

from {helper} import SLOPE


class Net(torch.nn.Module):
    """Docstring."""

    def forward(self, x):
        return math.pi * SLOPE * x
'''


# What counts.


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of one's own and a helper beside it: digests after an edit of one of them."""
    monkeypatch.syspath_prepend(tmp_path)
    net, helper = (tmp_path / f"{name}_of_{tmp_path.name.replace('-', '_')}.py" for name in ("net", "helper"))
    net.write_text(NETWORK.replace("{helper}", helper.stem))
    helper.write_text("SLOPE = 1\n")

    def digest(path=net, old="", new=""):
        path.write_text(path.read_text().replace(old, new) if old else path.read_text())
        return code_digest([net.stem])

    digest.net, digest.helper = net, helper
    return digest


def test_comments_docstrings_and_formatting_do_not_count(own):
    before = own()
    assert own(own.net, "# installed", "# an installed package") == before
    assert own(own.net, '"""Docstring."""', '"""Another docstring."""') == before
    assert own(own.net, "    return math.pi * SLOPE * x", "    return (math.pi * SLOPE\n                * x)") == before
    assert own(own.helper, "SLOPE = 1", "# The slope.\nSLOPE = (1)") == before


@pytest.mark.parametrize(("file", "old", "new"), [("net", "* x", "+ x"), ("helper", "1", "2")])
def test_the_own_module_and_what_it_imports_from_beside_it_count(own, file, old, new):
    before = own()
    assert own(getattr(own, file), old, new) != before


def test_packages_and_relative_imports_are_followed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "nets_of_mine"
    (package / "parts").mkdir(parents=True)
    (package / "__init__.py").write_text("from .net import Net\n")
    (package / "net.py").write_text("from .parts import layer\nfrom . import other\nclass Net: pass\n")
    (package / "parts" / "layer.py").write_text("WIDTH = 1\n")
    (package / "other.py").write_text("WIDTH = 1\n")
    found = {code_digest(["nets_of_mine.net"])}
    for number, name in enumerate(("net.py", "parts/layer.py", "other.py"), 2):
        with (package / name).open("a") as file:
            file.write("MORE = 1\n")
        found.add(code_digest(["nets_of_mine.net"]))
        assert len(found) == number


def test_installed_packages_do_not_count(tmp_path, monkeypatch, own):
    site = tmp_path / "lib" / "site-packages"
    site.mkdir(parents=True)
    monkeypatch.syspath_prepend(site)
    (site / "somebody_s.py").write_text("raise RuntimeError('it is imported')\n")
    before = own(own.net, "import math", "import math\nimport somebody_s")
    (site / "somebody_s.py").write_text("raise RuntimeError('it is another')\n")
    assert own() == before


@pytest.fixture
def edited(monkeypatch):
    """Make a module of mefusion read as if it were edited."""
    read = code.read_source

    def edit(path, text):
        monkeypatch.setattr(
            code,
            "read_source",
            lambda file: read(file) + (text if file.as_posix().endswith(f"mefusion/{path}") else ""),
        )

    return edit


@pytest.fixture(scope="module")
def digests_of_the_package():
    return {module: code_digest([module]) for module in (MOL, FDP)}


@pytest.mark.parametrize(
    ("path", "changed"),
    [
        ("models/mol/blocks.py", [MOL]),
        ("models/fdp/pooling.py", [FDP]),
        ("models/options.py", [MOL, FDP]),
        ("training/module.py", [MOL, FDP]),
        ("training/losses.py", [MOL, FDP]),
        ("windows/views.py", [MOL, FDP]),
        ("windows/augmentation.py", [MOL, FDP]),
        ("clips/motion.py", [MOL, FDP]),
        ("models/__init__.py", []),
        ("training/settings.py", []),
        ("acceleration/layers.py", []),
        ("studies/study.py", []),
    ],
)
def test_of_the_package_what_makes_the_result_counts(digests_of_the_package, edited, path, changed):
    before = digests_of_the_package
    edited(path, "\n# a comment\n")
    assert {module: code_digest([module]) for module in (MOL, FDP)} == before
    edited(path, "\nMORE = 1\n")
    assert [module for module in (MOL, FDP) if code_digest([module]) != before[module]] == changed


def test_a_network_of_the_package_that_an_own_one_uses_counts_alone(own, edited):
    own(own.net, "import math\n", "import math\n\nfrom mefusion.models import MOL\n")
    before = own()
    edited("models/fdp/network.py", "\nMORE = 1\n")
    assert own() == before
    edited("models/mol/network.py", "\nMORE = 1\n")
    assert own() != before


# What a study does.


@pytest.fixture
def here(tmp_path):
    """The example's folder, with a module whose name no other test imports."""
    folder = shutil.copytree(EXAMPLE, tmp_path / "own", ignore=shutil.ignore_patterns("__pycache__"))
    name = f"net_{tmp_path.name.replace('-', '_')}"
    (folder / "difference_net.py").rename(folder / f"{name}.py")
    settings = folder / "model" / "difference.yaml"
    settings.write_text(settings.read_text().replace("difference_net", name))
    yield folder
    if str(folder) in sys.path:  # the command puts it there
        sys.path.remove(str(folder))


@pytest.fixture
def train(tiny, command, here):
    """`mefusion-train` with the own model, a step an epoch."""

    def train(*overrides):
        small = ("model.network.width=2", "model.training.max_epochs=2", *tiny.overrides)
        return command("mefusion-train", "--config-dir", ".", "model=difference", *small, *overrides, cwd=here)

    return train


def edit(here, old, new):
    (file,) = here.glob("net_*.py")
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def the_study(here):
    (study,) = (here / "outputs").iterdir()
    return study


def made_by(study):
    return {path.parent.name: json.loads(path.read_text())["code"] for path in study.glob("folds/*/fold.json")}


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stops(done, *parts):
    assert done.returncode == 1
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("mefusion-train: ")]
    for part in parts:
        assert part in sentence


def test_folds_that_other_code_made_stop_a_study_until_they_are_repeated_or_accepted(train, here):
    assert train().returncode == 0
    study = the_study(here)
    (old,) = {*made_by(study).values()}
    assert json.loads((study / "study.json").read_text())["code"] == old

    edit(here, '"""A network of one\'s own', '# Comments are free.\n"""Our own network')
    again = train()
    assert again.stdout.count("done before") == 2

    before = files(study)
    edit(here, "nn.ReLU()", "nn.GELU()")
    stopped = train()
    names = "synthetic-sub01, synthetic-sub02"
    stops(stopped, str(study.name), "2 of 2 folds", names, f"({old})", "again=true", "output_dir", "accept_code=true")
    (new,) = {word.strip("():") for word in stopped.stderr.split("than now ")[1].split()[:1]}
    assert new != old
    stops(train("--estimate"), "2 of 2 folds", "again=true")
    assert "2 folds x " in train("--estimate", "again=true").stdout
    assert files(study) == before
    assert "fold 1" not in stopped.stdout

    accepted = train("accept_code=true")
    assert accepted.returncode == 0
    both = sorted([old, new])
    assert f"accept_code=true: uses folds of other code ({old}) than now ({new}): {names}" in accepted.stdout
    assert f"made by different code: {', '.join(both)}" in accepted.stdout.splitlines()[-1]
    assert json.loads((study / "summary.json").read_text())["folds_differ"]["code"] == both
    assert read_result(study).summary["folds_differ"]["code"] == both
    stops(train(), "2 of 2 folds")

    was = pd.read_parquet(study / "predictions.parquet")
    repeated = train("again=true")
    assert repeated.returncode == 0
    assert f"again=true: repeats the folds of other code ({old}): {names}" in repeated.stdout
    assert "different code" not in repeated.stdout
    assert the_study(here) == study
    assert {*made_by(study).values()} == {new}
    assert json.loads((study / "summary.json").read_text())["folds_differ"] == {}
    kept = pd.concat([pd.read_parquet(path) for path in sorted(study.glob("replaced/*/*/predictions.parquet"))])
    pd.testing.assert_frame_equal(kept.reset_index(drop=True)[[*was]], was)
    assert {path.name for path in study.glob("replaced/*/*/DONE")} == {"DONE"}
    assert not list(study.rglob(".claimed"))
    assert train("again=true").stdout.count("done before") == 2


def test_folds_that_are_not_repeated_at_once_are_missing(train, here):
    train()
    edit(here, "nn.ReLU()", "nn.GELU()")
    assert "the folds synthetic-sub02 are missing" in train("again=true", "protocol.folds=[sub01]").stdout
    done = train()
    assert done.stdout.count("done before") == 1
    assert "pooled over 6 clips" in done.stdout
    assert "different code" not in done.stdout


def test_a_training_that_other_code_began_is_not_gone_on_with(train, here, monkeypatch):
    step, steps = MERModule.training_step, []

    def stop_at_the_second(self, batch, batch_idx):
        steps.append(batch_idx)
        if len(steps) == 2:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(MERModule, "training_step", stop_at_the_second)
        train("protocol.folds=[sub01]")
    study = the_study(here)
    (old,) = made_by(study).values()
    assert not list(study.rglob("DONE"))
    assert len(list(study.rglob("last.ckpt"))) == 1
    edit(here, "nn.ReLU()", "nn.GELU()")
    stops(train(), "1 of 2 folds (synthetic-sub01)", old)
    done = train("accept_code=true")
    new = made_by(study)["synthetic-sub02"]
    assert made_by(study)["synthetic-sub01"] == f"{old}+{new}"
    assert "made by different code" in done.stdout
    stops(train(), f"{old}+{new}", "synthetic-sub01")


def test_folds_of_versions_that_did_not_record_their_code_are_used(train, here):
    train("protocol.folds=[sub01]")
    study = the_study(here)
    for path in (study / "study.json", study / "folds" / "synthetic-sub01" / "fold.json"):
        facts = json.loads(path.read_text())
        del facts["code"]
        path.write_text(json.dumps(facts))
    edit(here, "nn.ReLU()", "nn.GELU()")
    done = train()
    assert done.stdout.count("done before") == 1
    assert "pooled over 6 clips" in done.stdout
    assert "different code" not in done.stdout


def test_a_target_that_cannot_be_imported_is_one_sentence(train, here):
    stops(train("model.network._target_=no_such_module.Net"), "_target_=no_such_module.Net", "No module named")
    assert not (here / "outputs").exists()
