import re

import pandas as pd
import pytest
from fake_studies import fold_table
from hypothesis import given
from hypothesis import strategies as st

from mefusion.common.errors import MefusionError
from mefusion.common.files import write_table
from mefusion.evaluation.predictions import KEY, load_predictions, sample_list_hash


def labelled(*rows):
    return pd.DataFrame(rows, columns=[*KEY, "label"])


clips = st.lists(
    st.tuples(st.sampled_from("de"), st.text(max_size=3), st.text(max_size=3), st.sampled_from("xyz")),
    unique_by=lambda clip: clip[:3],
    min_size=2,
    max_size=6,
)


@given(clips, st.randoms())
def test_the_sample_list_hash_does_not_depend_on_the_order(rows, random):
    shuffled = random.sample(rows, len(rows))
    digest = sample_list_hash(labelled(*rows))
    assert digest == sample_list_hash(labelled(*shuffled))
    assert re.fullmatch("[0-9a-f]{12}", digest)


@given(clips)
def test_the_sample_list_hash_tells_what_changed(rows):
    digest = sample_list_hash(labelled(*rows))
    relabelled = [(*rows[0][:3], {"x": "y", "y": "z", "z": "x"}[rows[0][3]]), *rows[1:]]
    assert digest != sample_list_hash(labelled(*relabelled))
    assert digest != sample_list_hash(labelled(*rows[1:]))


def test_a_flipped_bit_of_a_value_is_found(tmp_path):
    path = tmp_path / "predictions.parquet"
    table = fold_table("s1", study="mol")
    write_table(path, table)
    pd.testing.assert_frame_equal(load_predictions(path), table)
    whole, clip_id = path.read_bytes(), table["clip_id"][0].encode()
    place = whole.index(clip_id)  # a letter, which makes another name
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(MefusionError, match=r"predictions\.parquet is not a readable Parquet table"):
        load_predictions(path)
