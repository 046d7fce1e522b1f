import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mefusion.annotation.extraction.crops import Crop


def test_a_crop_is_a_square_around_all_boxes_moved_into_the_picture():
    boxes = np.array([[100, 50, 200, 150], [120, 60, 220, 160]], float)
    assert Crop.around(boxes, width=640, height=360, times=1.6, size=512) == Crop(64, 9, 192, 192)
    assert Crop.around(boxes - 50, width=640, height=360, times=1.6, size=100) == Crop(14, 0, 192, 100)


def test_what_lies_outside_of_a_small_picture_is_black():
    crop = Crop.around(np.array([[0, 0, 90, 90]], float), width=100, height=60, times=1.6, size=512)
    assert (crop.side, crop.size) == (144, 144)
    shown = crop.cut(np.full((60, 100, 3), 200, np.uint8))
    assert shown.shape == (144, 144, 3)
    assert (shown == 200).all(axis=2).sum() == 60 * 100


@given(st.integers(0, 150), st.integers(0, 100), st.integers(20, 120), st.integers(64, 200))
def test_landmarks_go_with_the_picture(left, top, side, size):
    picture = np.zeros((240, 320), np.uint8)
    picture[top + 5 : top + 9, left + 5 : left + 9] = 255
    crop = Crop.around(
        np.array([[left, top, left + side, top + side]], float), width=320, height=240, times=1.6, size=size
    )
    shown = crop.cut(picture).astype(float)
    assert crop.size <= min(size, crop.side)
    y, x = np.mgrid[: crop.size, : crop.size]
    seen = np.array([(x * shown).sum(), (y * shown).sum()]) / shown.sum()
    assert seen == pytest.approx(crop.moved(np.array([left + 6.5, top + 6.5])), abs=0.6)
