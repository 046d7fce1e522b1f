import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from mefusion import composition
from mefusion.cli import configuration_folder
from mefusion.config import register_schemas
from mefusion.errors import MefusionError

CONF = configuration_folder("conf")


def options(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def configuration(name, *overrides):
    register_schemas()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, overrides=list(overrides))


@pytest.mark.parametrize("name", ["prepare", "check"])
@pytest.mark.parametrize("data", sorted({*options("data")} - {"pooled"}))
def test_every_source_is_built_from_its_configuration(name, data, tmp_path):
    roots = ["data.casme2", "data.samm", "data.smic"] if data == "megc2019" else ["data.root"]
    config = configuration(name, f"data={data}", *(f"{root}={tmp_path}" for root in roots))
    source = instantiate(config.data)
    assert source.name == config.data.name == data
    assert source.root == tmp_path
    assert source.digest() is None  # nothing is there
    assert isinstance(source.official, tuple)
    assert composition.preparation(config)[2].parent.name == data


def test_every_source_of_a_pool_is_that_of_its_name(tmp_path):
    names = options("data/sources")
    roots = [f"data.sources.{name}.root={tmp_path}" for name in names]
    config = configuration("prepare", "data=pooled", f"data/sources=[{','.join(names)}]", *roots)
    for name in names:
        alone = configuration("prepare", f"data={name}", f"data.root={tmp_path}")
        assert config.data.sources[name] == alone.data
    source = instantiate(config.data)
    assert source.root == tmp_path
    assert source.digest() is None
    assert {"casme2", "samm", "smic", "cas_me_3"} <= set(source.official)


def test_a_pool_takes_a_kind_of_source_twice(tmp_path):
    lab = ["+data@data.sources.lab=manifest", "data.sources.lab.name=lab", f"data.sources.lab.root={tmp_path}"]
    own = ["data/sources=[manifest]", f"data.sources.manifest.root={tmp_path}"]
    source = instantiate(configuration("prepare", "data=pooled", *lab, *own).data)
    assert [(name, part.name) for name, part in source.sources.items()] == [("lab", "lab"), ("manifest", "manifest")]


def test_where_pooled_sources_lie_does_not_change_a_study():
    def content(*overrides):
        pool = ("data=pooled", "data/sources=[casme2,samm]", "data.sources.casme2.root=x", "data.sources.samm.root=y")
        return composition.study_content(configuration("train", *pool, *overrides))

    assert content("data.sources.samm.root=z", "data.allow_partial=true", "workers=3") == content()
    assert content("data.sources.casme2.frames=cropped") != content()


@pytest.mark.parametrize("labels", options("labels"))
def test_every_scheme_is_built_from_its_configuration(labels):
    scheme = composition.label_scheme(configuration("prepare", f"labels={labels}"))
    assert scheme.name == labels
    assert scheme.classes or scheme.column != "emotion"


class Source:
    name, official, allow_partial = "smic", ("smic",), False


def test_a_partial_download_stops_a_study_unless_it_is_allowed(tmp_path):
    clip = {"dataset": "smic", "subject": "smic/s1", "clip_id": "s1_ne_01"}
    labelled = pd.DataFrame([clip | {"label": "negative"}])
    failures = tmp_path / "failures.csv"
    pd.DataFrame([clip | {"clip_id": "s1_ne_02", "problem": "no face"}]).to_csv(failures, index=False)
    with pytest.raises(MefusionError) as error:
        composition.require_whole(labelled, Source, "three", failures=failures)
    for part in ("negative 1 of 70 clips (69 missing)", "not prepared: smic/s1/s1_ne_02", "data.allow_partial=true"):
        assert part in str(error.value)
    allowed = type("Allowed", (Source,), {"allow_partial": True})
    composition.require_whole(labelled, allowed, "three", failures=failures)


def test_a_source_without_official_counts_is_never_partial(tmp_path):
    labelled = pd.DataFrame([{"dataset": "smic", "subject": "smic/s1", "label": "negative"}])
    composition.require_whole(labelled, type("Own", (), {"official": ()}), "three", failures=tmp_path / "none")
