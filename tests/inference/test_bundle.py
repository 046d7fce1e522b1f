"""Bundles that are damaged, changed, harmful or of an unknown network are refused with one sentence."""

import json
import pickle
import shutil

import pytest
import torch
from trained import train_study

import mefusion
from mefusion.common.errors import MefusionError
from mefusion.common.files import sha256
from mefusion.inference.bundle import description_text
from mefusion.inference.export import export_study


@pytest.fixture(scope="module")
def exported(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    return export_study(train_study(folder, tiny, "protocol=all", "model=ststnet"), to=folder / "bundle")


@pytest.fixture
def bundle(exported, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(exported, tmp_path / "bundle")


def content_of(bundle):
    return json.loads((bundle / "bundle.json").read_text())


def rewrite(bundle, **changes):
    """As someone who can compute checksums would change it."""
    (bundle / "bundle.json").write_text(description_text(content_of(bundle) | changes))


def test_a_bundle_can_be_moved_and_loaded(bundle):
    assert mefusion.load_bundle(bundle).classes == ("negative", "positive", "surprise")
    (bundle / "README.md").unlink()  # the card is for people
    assert mefusion.load_bundle(str(bundle)).name.startswith("ststnet-synthetic-three-")


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def change(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("file", ["model.safetensors", "bundle.json"])
@pytest.mark.parametrize("damage", [cut, change, lambda path: path.write_bytes(b"")])
def test_a_damaged_file_is_named(bundle, file, damage):
    damage(bundle / file)
    with pytest.raises(MefusionError, match=f"{file} (is damaged or was changed|cannot be read as JSON)"):
        mefusion.load_bundle(bundle)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("model.safetensors", "model.safetensors is missing"),
        ("bundle.json", "is no bundle, since it has no bundle.json"),
    ],
)
def test_a_missing_file_is_named(bundle, file, message):
    (bundle / file).unlink()
    with pytest.raises(MefusionError, match=message):
        mefusion.load_bundle(bundle)


def test_a_changed_word_is_found(bundle):
    path = bundle / "bundle.json"
    path.write_text(path.read_text().replace('"negative"', '"angry"'))
    with pytest.raises(MefusionError, match=r"bundle.json is damaged or was changed"):
        mefusion.load_bundle(bundle)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "is of format 2, and this version of mefusion reads format 1"),
        ({"classes": ["a", "a", "b"]}, "classes must be different names"),
        ({"classes": "abc"}, "has no usable 'classes'"),
        ({"classes": ["a", "b"]}, "2 classes, and a network of 3"),
        ({"temperature": 0}, "temperature is 0.0, not from 0.01 to 100"),
        ({"temperature": True}, "has no usable 'temperature'"),
        ({"windows": "some"}, "'some' is not a valid Windows"),
        ({"view": "x-ray"}, "the view x-ray is not known"),
        ({"files": {}}, "has no usable checksum of model.safetensors"),
        ({"normalisation": {"mean": [0]}}, "has a value that cannot be used"),
        ({"preparation": {"backend": "dlib"}}, "has a value that cannot be used"),
        ({"preparation": {"flow": "lucas_kanade"}}, "has a value that cannot be used"),
    ],
)
def test_a_value_that_makes_no_sense_is_said(bundle, changes, message):
    rewrite(bundle, **changes)
    with pytest.raises(MefusionError, match=message):
        mefusion.load_bundle(bundle)


def test_flow_is_measured_as_for_the_training(bundle, tiny, monkeypatch):
    content = content_of(bundle)
    assert content["preparation"].pop("flow") == "tvl1"
    rewrite(bundle, preparation=content["preparation"])  # as the first bundles were written
    assert mefusion.load_bundle(bundle).inputs.preparation.flow == "tvl1"
    rewrite(bundle, preparation=content["preparation"] | {"flow": "dis"})
    monkeypatch.setattr("mefusion.preparation.arrays.tvl1_flow", None)
    clip = sorted(next(tiny.frames.glob("frames/*/*")).iterdir())[0].parent
    assert sum(mefusion.load_bundle(bundle).predict(clip).values()) == pytest.approx(1)


def test_a_checksum_of_another_file_reads_no_other_file(bundle, tmp_path):
    (tmp_path / "secret").write_text("x")
    rewrite(bundle, files={**content_of(bundle)["files"], "../secret": "0"})
    with pytest.raises(MefusionError, match=r"no usable checksum of \.\./secret"):
        mefusion.load_bundle(bundle)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("code of a bundle was run",))


def test_a_pickle_in_place_of_weights_is_not_loaded(bundle):
    path = bundle / "model.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    rewrite(bundle, files={"model.safetensors": sha256(path)})
    with pytest.raises(MefusionError, match=r"model.safetensors cannot be read"):
        mefusion.load_bundle(bundle)


@pytest.mark.parametrize(
    "named", ["os.system", "torch.nn.Linear", "mefusion.models.fdp.FDP", "mefusion.models.os", "builtins.eval"]
)
def test_only_mefusion_s_networks_are_made_by_their_name(bundle, named):
    rewrite(bundle, network={"class": named, "arguments": {"num_classes": 3}})
    with pytest.raises(MefusionError, match="is none of mefusion's, and a bundle has no code: import its class"):
        mefusion.load_bundle(bundle)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 3}, "describes a STSTNet that cannot be built"),
        ({"image_size": "big"}, "cannot be built"),
        ({"image_size": 64}, "has the weights of another network"),
    ],
)
def test_other_arguments_do_not_fit(bundle, arguments, message):
    network = content_of(bundle)["network"]
    rewrite(bundle, network={**network, "arguments": {**network["arguments"], **arguments}})
    with pytest.raises(MefusionError, match=message):
        mefusion.load_bundle(bundle)


class Mine(mefusion.models.STSTNet):
    pass


def test_an_own_network_is_used_where_its_class_is_passed(bundle):
    rewrite(bundle, network={**content_of(bundle)["network"], "class": "my_file.Mine"})
    with pytest.raises(MefusionError, match=r"pass it, as in mefusion\.load_bundle\(.*, network=Mine\)"):
        mefusion.load_bundle(bundle)
    with pytest.raises(MefusionError, match=r"describes the network my_file\.Mine, not Linear"):
        mefusion.load_bundle(bundle, network=torch.nn.Linear)
    assert mefusion.load_bundle(bundle, network=Mine).classes == ("negative", "positive", "surprise")


def test_a_device_that_is_not_there_is_said(bundle):
    with pytest.raises(MefusionError, match="device=tpu: torch finds no such device; choose cpu"):
        mefusion.load_bundle(bundle, device="tpu")
