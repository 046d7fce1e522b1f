import numpy as np
import pytest

from mefusion.clips.motion import dynamic_image
from mefusion.common.errors import MefusionError
from mefusion.plots import contact_sheet
from mefusion.windows.gallery import open_cache, prepared_example


def test_prepared_clip_is_shown_with_its_targets(tiny):
    folder, index = open_cache(tiny.root / "cache")
    assert folder == tiny.cache
    example = prepared_example(folder, index.iloc[0])
    frames, flow = example["frames"], example["flow_target"]
    assert frames.shape == (8, 144, 144)
    assert flow.shape == (7, 2, 144, 144)
    assert example["landmarks_target"].shape == (7, 68, 2)
    np.testing.assert_array_equal(example["dynamic_image_target"], dynamic_image(frames))
    assert example["label"] in example["clip_id"]
    assert len(contact_sheet(example).axes) == 2


def test_folder_without_clips(tmp_path):
    with pytest.raises(MefusionError, match="holds no prepared clips"):
        open_cache(tmp_path)
