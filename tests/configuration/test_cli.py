"""What the commands share."""

import pytest

from mefusion.configuration.cli import options_first


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
