"""What the commands share."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from mefusion.common.errors import MefusionError
from mefusion.configuration.cli import compose, exit_on_error, options_first, replace_classes


@pytest.mark.parametrize(
    ("given", "sorted_"),
    [
        (["model=mol", "-m", "seeds=[1]"], ["-m", "model=mol", "seeds=[1]"]),
        (["model=mol", "--config-dir", "conf"], ["--config-dir", "conf", "model=mol"]),
        (["a=-1", "--config-dir=conf", "b=2"], ["--config-dir=conf", "a=-1", "b=2"]),
        (["a=1", "--cfg", "job", "+b=2", "~c"], ["--cfg", "job", "a=1", "+b=2", "~c"]),
        (["--help"], ["--help"]),
    ],
)
def test_options_may_stand_anywhere(given, sorted_):
    assert options_first(given) == sorted_


def scheme_of(*overrides, config_dir=None):
    return OmegaConf.to_container(compose(overrides, config_dir).labels, enum_to_str=True)


@pytest.mark.parametrize("base", ["three", "values"])
def test_classes_on_the_command_line_are_all_that_a_scheme_has(base):
    scheme = scheme_of(f"labels={base}", "labels.classes={smile:[smile,grin],frown:[anger]}")
    classes = {"smile": ["smile", "grin"], "frown": ["anger"]}
    assert scheme == {"name": "own", "classes": classes, "column": "emotion", "datasets": {}}


def test_a_scheme_keeps_its_column_and_may_be_named():
    scheme = scheme_of("labels.name=halves", "labels.classes={low:[I,II],high:[III]}", "labels=objective")
    assert (scheme["name"], scheme["column"]) == ("halves", "objective_class")
    assert scheme["classes"] == {"low": ["I", "II"], "high": ["III"]}


def test_single_classes_change_the_base():
    assert scheme_of("labels.classes.surprise=[astonished]")["classes"]["surprise"] == ["astonished"]
    added = scheme_of("+labels.classes={others:[others]}")
    assert (added["name"], list(added["classes"])) == ("three", ["negative", "positive", "surprise", "others"])
    assert replace_classes(["seeds=[1]", "labels.classes.surprise=[a]"]) == ["seeds=[1]", "labels.classes.surprise=[a]"]


def test_what_is_replaced_once_is_not_replaced_again():
    """The jobs of a sweep are given what its command was turned into."""
    once = replace_classes(["-m", "labels.classes={a:[a]},{b:[b]}"])
    assert once[-2:] == ["-m", "+labels.classes={a:[a]},{b:[b]}"]
    assert replace_classes(once) == once


def test_a_folder_of_one_s_own_is_added_whatever_its_name(tmp_path):
    folder = tmp_path / "it's 50 %, isn't it"
    (folder / "labels").mkdir(parents=True)
    (folder / "labels" / "smiles.yaml").write_text("name: smiles\nclasses: {smile: [smile]}\n")
    assert scheme_of("labels=smiles", config_dir=folder)["classes"] == {"smile": ["smile"]}
    with pytest.raises(MefusionError, match=r"--config-dir=nowhere is not a folder"):
        compose([], Path("nowhere"))


def test_an_opencv_that_cannot_be_imported_is_one_sentence_with_the_cure(tmp_path):
    code = compile("raise ImportError('libGL.so.1: cannot open')", str(tmp_path / "cv2" / "__init__.py"), "exec")
    with pytest.raises(SystemExit) as stop, exit_on_error("mefusion-train"):
        exec(code)
    assert stop.value.code.startswith("mefusion-train: OpenCV cannot be imported (libGL.so.1: cannot open): ")
    assert stop.value.code.endswith("pip install --force-reinstall --no-deps opencv-contrib-python-headless")
    with pytest.raises(ImportError), exit_on_error("mefusion-train"):
        import mefusion.nothing  # noqa: F401


def test_a_configuration_file_that_is_not_yaml_is_one_sentence(tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "mine.yaml").write_text("classes: [")
    with pytest.raises(SystemExit, match=r"mine\.yaml") as ended, exit_on_error("mefusion-train"):
        compose(["labels=mine"], tmp_path)
    assert "\n" not in str(ended.value)
