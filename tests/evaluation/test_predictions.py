import re

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from mefusion.evaluation.predictions import KEY, sample_list_hash


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
