"""What someone who can compute checksums may put into a bundle: each is one sentence, with little memory and time."""

import os
import shutil
import signal
import tracemalloc

import pytest
from hostile import CASES, arguments
from trained import train_study

import mefusion
from mefusion.common.errors import MefusionError
from mefusion.inference import bundle as bundles
from mefusion.inference import networks
from mefusion.inference.export import export_study

SECONDS = 60  # the machine may be busy; each takes less than one


@pytest.fixture(scope="module")
def exported(tiny, tmp_path_factory):
    """Bundles by the name of their model."""
    folder = tmp_path_factory.mktemp("hostile")
    made = {}
    for model in ("ststnet", "mol_tiny"):
        study = train_study(folder, tiny, "protocol=all", f"model={model}")
        made[model] = export_study(study, to=folder / model)
    return made


@pytest.fixture
def bundle(exported, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(exported["ststnet"], tmp_path / "bundle")


@pytest.fixture
def no_waiting():
    def stop(*arguments):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def refusal(bundle):
    """The sentence; no more than 600 MB of Python's memory are used for it."""
    tracemalloc.start()
    try:
        with pytest.raises(MefusionError) as error:
            mefusion.load_bundle(bundle)
        assert tracemalloc.get_traced_memory()[1] < 600e6
    finally:
        tracemalloc.stop()
    sentence = str(error.value).replace(str(bundle.parent), "")
    assert len(sentence) < 500
    assert sentence.isprintable()
    return sentence


@pytest.mark.skipif(os.name == "nt", reason="pipes, links and alarms are those of Unix")
@pytest.mark.parametrize("case", CASES)
def test_a_hostile_bundle_is_refused_in_one_sentence(bundle, no_waiting, case):
    change, message = CASES[case]
    change(bundle)
    assert message in refusal(bundle)


@pytest.mark.parametrize(
    "changed",
    [
        {"width": 1000},
        {"width": 1e5},
        {"width": -1},
        {"clip_length": 10**4},
        {"image_size": 64 * 1500},
        {"recognition_hidden": 10**5, "landmark_hidden": 10**5},
        {"correlation_radius": 10**5},
        {"neighbors": 10**5},
        {"flow_scale": 0},
        {"tasks": ["recognition"] * 999},
        {"tasks": "recognition"},
    ],
)
def test_arguments_that_would_take_much_memory_take_none(exported, tmp_path, no_waiting, changed):
    bundle = shutil.copytree(exported["mol_tiny"], tmp_path / "bundle")
    arguments(**changed)(bundle)
    assert (
        "bundle.json describes a MOL that cannot be built" in (found := refusal(bundle)) or "another network" in found
    )


def test_a_network_of_very_many_layers_is_stopped(bundle, no_waiting, monkeypatch):
    monkeypatch.setattr(networks, "MOST_PARTS", 10)
    assert "cannot be built (it has more than 10 parts)" in refusal(bundle)


def test_a_file_that_may_not_be_read_is_said(bundle, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(bundles, "sha256", refuse)
    with pytest.raises(MefusionError, match=r"model.safetensors cannot be read \(.*Permission denied"):
        mefusion.load_bundle(bundle)


@pytest.mark.parametrize("folder", ["nowhere", "bundle/bundle.json", "x" * 5000, "a\0b"])
def test_what_is_no_folder_of_a_bundle_is_said(bundle, folder):
    with pytest.raises(MefusionError):
        mefusion.load_bundle(bundle.parent / folder)
