import numpy as np
import pytest
from fake_examples import example, save_examples
from safetensors.numpy import save_file

from mefusion.common.errors import MefusionError
from mefusion.studies.examples import load_examples


def test_examples_come_back_as_they_were_saved(tmp_path):
    path = tmp_path / "examples.safetensors"
    save_examples(path, {"a|b": example(), "c": example(label="surprise", flow=False)})
    first, second = load_examples(path)
    assert (first["clip_id"], first["label"], first["prediction"]) == ("a|b", "negative", "positive")
    assert (second["clip_id"], second["label"], second["subject"]) == ("c", "surprise", "s1")
    np.testing.assert_array_equal(first["flow"], example()["flow"])
    assert "flow" not in second


def test_only_the_clips_that_are_asked_for_are_read(tmp_path):
    path = tmp_path / "examples.safetensors"
    # Two subjects have a clip a; the second is saved with its subject before the id.
    save_examples(path, {"a": example(), "s2 a": example(subject="s2"), "b": example()})
    assert [clip["subject"] for clip in load_examples(path, wanted={("s2", "a")})] == ["s2"]
    assert [clip["clip_id"] for clip in load_examples(path, wanted={("s1", "a"), ("s1", "b")})] == ["a", "b"]
    assert load_examples(path, wanted={("s3", "a")}) == []


@pytest.mark.parametrize(
    "change",
    [
        {"frames": np.zeros((4, 32), dtype=np.uint8)},
        {"flow": np.zeros((4, 2, 32, 32), dtype=np.float16)},
        {"landmarks": np.zeros((3, 5, 2), dtype=np.float32)},
        {"rank_scores": np.zeros(3, dtype=np.float32)},
        {"frames": None},
        {"times": np.arange(3)},
        {"apex": np.arange(4)},
    ],
)
def test_broken_examples(tmp_path, change):
    path = tmp_path / "examples.safetensors"
    save_examples(path, {"a": example() | change})
    with pytest.raises(MefusionError, match="no readable example clips"):
        load_examples(path)


def test_examples_without_a_description_or_cut_off(tmp_path):
    path = tmp_path / "examples.safetensors"
    save_file({"a|frames": example()["frames"]}, path)
    with pytest.raises(MefusionError, match="no readable example clips"):
        load_examples(path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(MefusionError, match="no readable example clips"):
        load_examples(path)
