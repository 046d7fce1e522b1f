"""Label schemes of one's own, without a change of the package."""

import json

import pytest
from composed import config_of
from hydra.core.hydra_config import HydraConfig

from mefusion.configuration.cli import replace_classes
from mefusion.configuration.composition import resolve_experiment

QUICK = ("model=majority", "trainer=smoke", "data.scheme=three")


@pytest.fixture
def study(tiny, command, tmp_path):
    """Run a study of the majority class; gives its `study.json`."""

    def study(*arguments):
        done = command("mefusion-train", *tiny.overrides, *QUICK, *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return json.loads((tmp_path / done.stdout.split(":")[0] / "study.json").read_text())

    return study


def test_classes_are_given_on_the_command_line(study):
    first = study("labels.classes={smile:[Positive],frown:[negative,surprise]}")
    assert first["classes"] == ["smile", "frown"]
    assert (first["labels"], first["clips"]) == ("own", 6)
    other = study("labels.classes={smile:[positive],frown:[negative]}", "labels.name=two")
    assert (other["classes"], other["labels"], other["clips"]) == (["smile", "frown"], "two", 4)
    renamed = study("labels.classes={smile:[positive],scowl:[negative,surprise]}")
    assert len({first["study"], other["study"], renamed["study"]}) == 3


def test_each_value_is_a_class(study):
    facts = study("labels=values")
    assert facts["classes"] == ["negative", "positive", "surprise"]
    assert facts["study"].startswith("majority-synthetic-values-")


def test_a_scheme_is_a_file_of_one_s_own(study, tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "smiles.yaml").write_text("name: smiles\nclasses: {smile: [positive], frown: [negative]}\n")
    facts = study("labels=smiles", "--config-dir", str(tmp_path))
    assert (facts["labels"], facts["classes"]) == ("smiles", ["smile", "frown"])


def test_a_class_that_no_clip_has_is_named_with_what_to_do(tiny, command, tmp_path):
    done = command("mefusion-train", *tiny.overrides, *QUICK, "labels.classes={smile:[smile]}", cwd=tmp_path)
    (line,) = done.stderr.splitlines()
    for part in ("labels=own has no clip of class smile", "negative, positive, surprise", "labels=values"):
        assert part in line


def test_preparing_is_told_without_the_classes():
    overrides = replace_classes(["data=manifest", "data.root=a", "labels.classes={smile:[smile]}"])
    HydraConfig.instance().set_config(config_of(*overrides, hydra=True))
    told = resolve_experiment(config_of(*overrides)).prepare_command
    assert told == "mefusion-prepare data=manifest labels=three labels.name=own data.root=a"
