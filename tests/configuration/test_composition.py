import itertools
from dataclasses import fields

import pandas as pd
import pytest
import torch
from composed import config_of, experiment_of, settings_of
from hydra.utils import instantiate
from omegaconf import OmegaConf

from mefusion.common.errors import MefusionError
from mefusion.configuration import composition
from mefusion.configuration.building import make_network
from mefusion.configuration.cli import configuration_folder
from mefusion.configuration.preparing import resolve_preparation
from mefusion.datasets.reading.recordings import RecordingSource
from mefusion.datasets.reading.source import Source
from mefusion.datasets.smic import SmicSource
from mefusion.studies.identity import study_content
from mefusion.synthetic.recordings import RecordingSettings

CONF, EXPERIMENTS = configuration_folder("conf"), configuration_folder("experiments")


def options(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def recordings():
    """Files of conf/data/ for long videos, which mefusion-spot reads."""
    return [data for data in options("data") if "datasets.recordings" in (CONF / "data" / f"{data}.yaml").read_text()]


def configuration(name, *overrides, hydra=False):
    return config_of(*overrides, name=name, hydra=hydra)


def experiments(kind):
    return sorted(path.stem for path in (EXPERIMENTS / kind).glob("*.yaml"))


def roots_of(data, root="a"):
    """Overrides that say where a dataset is."""
    parts = [f"sources.{part}.root" for part in ("casme2", "samm", "smic")] if data == "megc2019" else ["root"]
    return [f"data.{part}={root}" for part in parts]


@pytest.mark.parametrize("name", ["prepare", "check"])
@pytest.mark.parametrize("data", sorted({*options("data")} - {"pooled", *recordings()}))
def test_every_source_is_built_from_its_configuration(name, data, tmp_path):
    config = configuration(name, f"data={data}", *roots_of(data, tmp_path))
    source = instantiate(config.data)
    assert source.name == config.data.name == data
    assert source.root == tmp_path
    assert source.digest() is None  # nothing is there
    assert source.required_counts == source.official
    assert resolve_preparation(config).cache.parent.name == data


@pytest.mark.parametrize("data", recordings())
def test_every_set_of_long_videos_is_built_from_its_configuration(data, tmp_path):
    config = configuration("prepare", f"data={data}", f"data.root={tmp_path}")
    source = instantiate(config.data)
    assert isinstance(source, RecordingSource)
    assert source.name == config.data.name == data
    assert source.root == tmp_path
    with pytest.raises(MefusionError, match=f"data={data} has recordings, which are for mefusion-spot"):
        resolve_preparation(config)


def test_the_configuration_of_rendered_recordings_has_every_setting():
    config = configuration("prepare", "data=synthetic_long").data
    assert {field.name for field in fields(RecordingSettings)} - {"subject", "take"} <= {*config}
    assert instantiate(config).settings == RecordingSettings(seconds=60)


CASME2 = {"official": ["casme2"], "root": "/data", "frames": "raw"}
SAMM = {"official": ["samm"], "root": "/data"}
SMIC = {"official": ["smic"], "root": "/data", "frames": "raw", "modality": "HS"}


@pytest.mark.parametrize(
    ("data", "identity"),
    [
        ("casme2", CASME2),
        ("samm", SAMM),
        ("smic", SMIC),
        ("cas_me_2", {"official": ["cas_me_2"], "root": "/data", "frames": "selected"}),
        ("cas_me_3", {"official": ["cas_me_3"], "root": "/data", "frames": "raw"}),
        ("megc2019", {"pooled": [{"name": part["official"][0], **part} for part in (CASME2, SAMM, SMIC)]}),
        ("flow_images", {"flow_images": "/data"}),
        ("manifest", {"manifest": "/data"}),
    ],
)
def test_caches_keep_the_names_that_they_have(data, identity):
    config = configuration("prepare", f"data={data}", *roots_of(data, "/data"))
    assert instantiate(config.data).identity() == identity


def test_frames_of_the_composite_are_chosen_at_once():
    chosen = ["data=megc2019", *roots_of("megc2019"), "data.sources.casme2.frames=cropped"]
    sources = instantiate(configuration("prepare", *chosen).data).sources
    assert {name: source.frames for name, source in sources.items()} == {
        **{"casme2": "cropped", "samm": "raw", "smic": "cropped"},
    }


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
        return content_of(*pool, *overrides)

    assert content("data.sources.samm.root=z", "data.allow_partial=true", "workers=3") == content()
    assert content("data.sources.casme2.frames=cropped") != content()


@pytest.mark.parametrize("labels", options("labels"))
def test_every_scheme_is_built_from_its_configuration(labels):
    scheme = settings_of(f"labels={labels}", name="prepare").labels
    assert scheme.name == labels
    assert bool(scheme.classes) == (labels not in ("objective", "values"))  # in which each value is a class


class Own(Source):
    name = "own"
    identity = digest = table = None  # nothing here asks for them


class Smic(Own):
    name, official = "smic", {"smic": SmicSource.counts}


def test_a_partial_download_stops_a_study_unless_it_is_allowed(tmp_path):
    clip = {"dataset": "smic", "subject": "smic/s1", "clip_id": "s1_ne_01"}
    labelled = pd.DataFrame([clip | {"label": "negative"}])
    failures = tmp_path / "failures.csv"
    pd.DataFrame([clip | {"clip_id": "s1_ne_02", "problem": "no face"}]).to_csv(failures, index=False)
    with pytest.raises(MefusionError) as error:
        composition.require_official_clips(labelled, Smic(), "three", failures=failures)
    for part in ("negative 1 of 70 clips (69 missing)", "not prepared: smic/s1/s1_ne_02", "data.allow_partial=true"):
        assert part in str(error.value)
    allowed = type("Allowed", (Smic,), {"allow_partial": True})
    composition.require_official_clips(labelled, allowed(), "three", failures=failures)


def left_out_of(tmp_path, rows, *, classes=True):
    """What a study of two clips of s1 says of the clips that preparation left out."""
    own = experiment_of("data=manifest", f"data.root={tmp_path}", f"cache_dir={tmp_path / 'cache'}")
    folder = own.preparation.cache
    folder.mkdir(parents=True)
    table = pd.DataFrame(rows, columns=["dataset", "subject", "clip_id", "path", "problem", "emotion"])
    (table if classes else table.drop(columns="emotion")).to_csv(folder / "failures.csv", index=False)
    return composition.left_out_facts(own, pd.DataFrame({"subject": ["m/s1", "m/s1"]}))


def test_a_study_knows_the_clips_that_preparation_left_out(tmp_path):
    rows = [
        ("m", "m/s1", "007", "x", "x: no face", "Surprise"),
        ("m", "m/s2", "b", "y", "y: is empty", "negative"),
        ("m", "m/s3", "c", "z", "z: is empty", "boredom"),  # has no class, so it was never the study's
    ]
    assert left_out_of(tmp_path / "new", rows) == {
        "clips": [
            {"subject": "m/s1", "clip_id": "007", "problem": "x: no face"},
            {"subject": "m/s2", "clip_id": "b", "problem": "y: is empty"},
        ],
        "of": 4,
        "lost_subjects": ["m/s2"],
    }
    assert left_out_of(tmp_path / "none", []) == {"clips": [], "of": 2, "lost_subjects": []}
    # A cache of version 0.1 does not say their classes: all count.
    assert left_out_of(tmp_path / "old", rows, classes=False)["of"] == 5


def test_a_source_without_official_counts_is_never_partial(tmp_path):
    labelled = pd.DataFrame([{"dataset": "smic", "subject": "smic/s1", "label": "negative"}])
    composition.require_official_clips(labelled, Own(), "three", failures=tmp_path / "none")
    with pytest.raises(MefusionError, match="is not the official download"):
        composition.require_official_clips(labelled, Smic(), "three", failures=tmp_path / "none")


def network_of(*overrides):
    """The network of a configuration, without memory for its weights."""
    return network_from(settings_of(*overrides))


def network_from(settings):
    with torch.device("meta"):
        return make_network(settings, composition.resolve_tasks(settings), num_classes=3)


def content_of(*overrides):
    """What names a study."""
    return content_from(experiment_of(*overrides))


def content_from(experiment):
    tasks = {name: task.weight for name, task in experiment.tasks.items()}
    return study_content(experiment.plain, backend="dlib", tasks=tasks, datasets=())


CLASSES = {"five": 5, "four": 4, "three": 3}


@pytest.mark.parametrize("name", experiments("reproduce"))
def test_every_published_experiment_is_composed_as_its_name_says(name):
    model, rest = name.split("_", 1) if not name.startswith("off_apexnet") else ("off_apexnet", name[12:])
    data, _, labels = rest.rpartition("_") if rest.endswith(("_five", "_three")) else (rest, "", "")
    overrides = [f"+reproduce={name}", *roots_of(data)]
    config = configuration("train", *overrides)
    assert (config.model.name, config.data.name) == (model, data)
    assert not labels or config.labels.name == labels
    assert len(config.labels.classes) == CLASSES[config.labels.name]
    assert config.protocol.name == "loso"
    assert config.faces.alignment == ("frame" if model in ("mol", "fdp") else "stabilised")
    training = {"mol": (32, 1000, -1), "fdp": (36, 500, -1)}.get(model, (256, -1, 150))
    assert (
        config.model.training.batch_size,
        config.model.training.max_steps,
        config.model.training.max_epochs,
    ) == training
    assert instantiate(config.data).name == data
    assert sum(parameter.numel() for parameter in network_of(*overrides).parameters()) > 1000
    first = (EXPERIMENTS / "reproduce" / f"{name}.yaml").read_text().splitlines()
    assert any(line.startswith(f"# mefusion-train +reproduce={name} ") for line in first)


def test_what_is_given_beside_an_experiment_wins():
    given = ["model.optimizer.lr=3e-4", "labels=three", "faces.alignment=stabilised", "model=mol_tiny"]
    config = configuration("train", "+reproduce=mol_casme2_five", "data.root=a", *given)
    assert config.model.optimizer.lr == 3e-4
    assert (config.labels.name, config.faces.alignment, config.model.name) == ("three", "stabilised", "mol_tiny")


@pytest.mark.parametrize("name", experiments("ablation"))
def test_every_job_of_an_ablation_is_another_study_whose_network_can_be_built(name):
    config = configuration("train", f"+ablation={name}", hydra=True)
    params = OmegaConf.to_container(config.hydra.sweeper.params)
    jobs = [
        [f"{key}={value}" for key, value in zip(params, values, strict=True)]
        for values in itertools.product(*(str(values).split(",") for values in params.values()))
    ]
    studies = []
    for job in jobs:
        experiment = experiment_of(f"+ablation={name}", *job)
        network_from(experiment.settings)
        studies.append(str(content_from(experiment)))
    assert len(set(studies)) == len(jobs) > 1
    assert f"# mefusion-train -m +ablation={name}" in (EXPERIMENTS / "ablation" / f"{name}.yaml").read_text()


def test_preparing_is_told_what_an_experiment_chose():
    from hydra.core.hydra_config import HydraConfig

    def command(*overrides):
        HydraConfig.instance().set_config(configuration("train", *overrides, hydra=True))
        return experiment_of(*overrides).prepare_command

    chosen = "mefusion-prepare data=casme2 labels=five data.root=a faces.alignment=frame"
    assert command("+reproduce=mol_casme2_five", "data.root=a", "model.optimizer.lr=1") == chosen
    own = ["data=manifest", "data.root=a", "faces=dlib", "clip_length=4"]
    assert command(*own) == "mefusion-prepare data=manifest labels=three faces=dlib data.root=a clip_length=4"
    assert command("flow=dis", "model.flow.strain=false") == "mefusion-prepare data=synthetic labels=three flow=dis"


@pytest.mark.parametrize("name", experiments("search"))
def test_every_search_has_a_space_and_looks_at_validation_subjects(name):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    config = configuration("train", "hydra/sweeper=search", f"+search={name}", hydra=True)
    assert config.rule == "inner_val"
    params = [f"{key}={value}" for key, value in config.hydra.sweeper.params.items()]
    assert len(params) > 1
    for override in OverridesParser.create().parse_overrides(params):
        assert override.is_sweep_override()
        assert OmegaConf.select(config, override.get_key_element(), throw_on_missing=True) is not None or (
            override.get_key_element().startswith("tasks.")
        )
    # As a job reads it.
    assert configuration("train", f"+search={name}").model.name == name
