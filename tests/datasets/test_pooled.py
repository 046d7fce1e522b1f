import pytest

from mefusion.common.errors import MefusionError
from mefusion.datasets.manifest import ManifestSource
from mefusion.datasets.pooled import PooledSource
from mefusion.datasets.smic import SmicSource


@pytest.fixture
def manifest(tmp_path):
    """Make a manifest of clips of (subject, clip_id) in a folder of its own."""

    def make(folder, name, *clips):
        (tmp_path / folder).mkdir()
        lines = ["clip_id,subject,path,emotion", *(f"{clip},{subject},x.avi,surprise" for subject, clip in clips)]
        (tmp_path / folder / "manifest.csv").write_text("\n".join(lines))
        return ManifestSource(root=str(tmp_path / folder), name=name)

    return make


def test_subjects_of_two_sources_stay_apart(manifest, tmp_path):
    one, other = manifest("x", "labA", ("sub01", "c1"), ("sub02", "c2")), manifest("y", "labB", ("sub01", "c1"))
    source = PooledSource(sources={"b": other, "a": one})
    table = source.table()
    assert table[["subject", "clip_id"]].to_numpy().tolist() == [
        ["labA/sub01", "c1"],
        ["labA/sub02", "c2"],
        ["labB/sub01", "c1"],
    ]
    assert table.dtypes.equals(one.table().dtypes)
    assert (source.root, source.official, source.allow_partial) == (tmp_path, {}, False)


def test_a_source_may_be_partial_and_the_others_not():
    whole, partial = SmicSource(root="a", modality="VIS"), SmicSource(root="b", modality="NIR", allow_partial=True)
    assert PooledSource(sources={"a": whole, "b": partial}).required_counts == whole.official
    pool = PooledSource(sources={"a": whole, "b": partial}, allow_partial=True)
    assert (pool.required_counts, list(pool.official)) == ({}, ["smic_vis", "smic_nir"])


def test_the_order_of_sources_is_of_no_account(manifest):
    one, other = manifest("x", "labA", ("sub01", "c1")), manifest("y", "labB", ("sub01", "c1"))
    sources = [PooledSource(sources=dict(pair)) for pair in ((("a", one), ("b", other)), (("b", other), ("a", one)))]
    assert sources[0].identity() == sources[1].identity()
    assert sources[0].digest() == sources[1].digest()


def test_what_a_source_lists_and_is_called_tells_pools_apart(manifest, tmp_path):
    one, other = manifest("x", "labA", ("sub01", "c1")), manifest("y", "labB", ("sub01", "c1"))
    pool = PooledSource(sources={"a": one, "b": other})
    renamed = ManifestSource(root=str(tmp_path / "y"), name="labC")
    assert PooledSource(sources={"a": one, "b": renamed}).identity() != pool.identity()
    before = pool.digest()
    (tmp_path / "y" / "manifest.csv").write_text("clip_id,subject,path,emotion\nc2,sub01,x.avi,surprise\n")
    assert pool.digest() != before
    (tmp_path / "y" / "manifest.csv").unlink()
    assert pool.digest() is None


def test_a_dataset_comes_from_one_source(manifest):
    one, other = manifest("x", "manifest", ("sub01", "c1")), manifest("y", "manifest", ("sub01", "c2"))
    with pytest.raises(MefusionError, match=r"data\.sources\.a and data\.sources\.b both have the dataset manifest"):
        PooledSource(sources={"a": one, "b": other}).table()


def test_a_pool_needs_sources():
    with pytest.raises(MefusionError, match="data=pooled has no sources"):
        PooledSource()


def test_counts_of_all_sources_are_asserted(manifest, tmp_path):
    sources = {"lab": manifest("x", "lab", ("sub01", "c1")), "smic": SmicSource(root=str(tmp_path))}
    assert PooledSource(sources=sources).official == {"smic": SmicSource.counts}
