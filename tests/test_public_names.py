"""What is reached from the package's top."""

import subprocess
import sys

import pytest

import mefusion


@pytest.mark.parametrize("name", mefusion.__all__)
def test_every_public_name_is_there_with_a_docstring(name):
    assert getattr(mefusion, name).__doc__
    assert name in dir(mefusion)


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="scores"):
        _ = mefusion.scores


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, mefusion; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "pandas", "numpy", "hydra"} & set(loaded)
