"""Zero-shot recognition: trained on rendered motion, tested on flow images, through the real commands."""

import json
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from composed import experiment_of, settings_of
from imitations import write_small
from safetensors.torch import load_file

from mefusion.commands import prepare, train
from mefusion.common.errors import MefusionError
from mefusion.configuration.composition import load_clips, plan_study
from mefusion.configuration.starting import read_origin
from mefusion.configuration.using import facts_for_use
from mefusion.evaluation.predictions import load_predictions
from mefusion.inference.bundle import CARD, DESCRIPTION, description_text, read_bundle
from mefusion.inference.export import export_study
from mefusion.inference.predictor import load_bundle
from mefusion.models import FDP
from mefusion.models.fdp.released import CHECKPOINT
from mefusion.studies.record import load_study, origin_phrase, planned_runs
from mefusion.synthetic.motion.generate import subject_motion
from mefusion.synthetic.motion.settings import MotionSettings
from mefusion.training.weights import load_weights

SMALL = [f"data.sources.synthetic_motion.{setting}" for setting in ("subjects=2", "clips_per_class=1", "root=motion")]
REAL = ["data.sources.flow_images.root=real"]
POOL = ["data=pooled", "data/sources=[synthetic_motion,flow_images]"]


def run(monkeypatch, main, program, *arguments):
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    main()


def write_real(folder):
    """Flow images in the form in which they are passed around, of six clips of two subjects."""
    motions = subject_motion(MotionSettings(clips_per_class=1), 9).images
    images = dict(zip(("negative", "positive", "surprise"), motions, strict=True))
    write_small("flow_images", folder, lambda row, number: images[row.emotion], subjects=2, clips_per_class=1)


@pytest.fixture
def real(tmp_path, monkeypatch):
    """A folder of flow images, in the current folder."""
    monkeypatch.chdir(tmp_path)
    write_real(tmp_path / "real")


@pytest.mark.usefixtures("real")
def test_rendered_motion_is_trained_on_and_flow_images_are_tested(monkeypatch, tmp_path, capsys):
    run(monkeypatch, prepare.main, "mefusion-prepare", *POOL, *SMALL, *REAL, "workers=1")
    assert "12 of 12 clips of 4 subjects" in capsys.readouterr().out
    datasets = {*pd.read_csv(next((tmp_path / "real").glob("*.csv")))["dataset"]}
    chosen = ["data.allow_partial=true", f"protocol.test=[{','.join(datasets)}]", "trainer=smoke"]
    run(monkeypatch, train.main, "mefusion-train", "+transfer=zero_shot", *SMALL, *REAL, *chosen)
    (study,) = (tmp_path / "outputs").iterdir()
    table = load_predictions(study)
    assert len(table) == 6
    assert set(table["dataset"]) == datasets
    told = json.loads((study / "study.json").read_text())
    assert told["protocol"] == "cross_dataset"
    assert told["clips"] == 6


def test_rendered_motion_alone_is_a_dataset(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    small = [setting.replace("sources.synthetic_motion.", "") for setting in SMALL]
    run(monkeypatch, prepare.main, "mefusion-prepare", "data=synthetic_motion", *small, "data.size=56", "workers=1")
    assert "6 of 6 clips of 2 subjects" in capsys.readouterr().out
    chosen = ["model=ststnet", "trainer=smoke"]
    run(monkeypatch, train.main, "mefusion-train", "data=synthetic_motion", *small, "data.size=56", *chosen)
    (study,) = (tmp_path / "outputs").iterdir()
    table = load_predictions(study)
    assert len(table) == 6
    assert np.isfinite(table.filter(like="probability").to_numpy()).all()


TINY = [setting.replace("sources.synthetic_motion.", "") for setting in SMALL]
TRAIN = ["data.root=real", "data.allow_partial=true", "trainer=smoke"]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A folder with rendered motion and flow images, both prepared, and a bundle; tests may read it."""
    folder = tmp_path_factory.mktemp("pretrained")
    write_real(folder / "real")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run(patch, prepare.main, "mefusion-prepare", "data=synthetic_motion", *TINY, "workers=1")
        run(patch, prepare.main, "mefusion-prepare", "data=flow_images", *TRAIN[:1], "workers=1")
        chosen = ["model=flow_cnn", "protocol=all", "trainer=smoke", "output_dir=all"]
        run(patch, train.main, "mefusion-train", "data=synthetic_motion", *TINY, *chosen)
    (study,) = (folder / "all").iterdir()
    return export_study(study, to=folder / "bundle").parent


@pytest.fixture
def bundle(pretrained, monkeypatch):
    """Of a network that has seen two rendered subjects; the current folder is the one with what it has seen."""
    monkeypatch.chdir(pretrained)
    return pretrained / "bundle"


def studies(folder):
    return sorted(folder.glob("outputs/*"), key=lambda path: path.stat().st_ctime_ns)


def test_a_study_starts_from_a_bundle_and_frozen_parts_keep_its_weights(bundle, monkeypatch, tmp_path, capsys):
    chosen = ["+transfer=pretrain", *TRAIN, f"model.init_from={bundle}", f"output_dir={tmp_path / 'outputs'}"]
    run(monkeypatch, train.main, "mefusion-train", *chosen, "model.freeze=[features]", "keep_weights=true")
    told = capsys.readouterr().out
    assert told.count("trained on synthetic_motion") == 2  # at the beginning, and beside the scores
    (frozen,) = studies(tmp_path)
    facts = json.loads((frozen / "study.json").read_text())["init_from"]
    assert (facts["name"], facts["datasets"], facts["anew"]) == ("bundle", ["synthetic_motion"], [])
    first = load_file(bundle / "model.safetensors")
    for run_ in planned_runs(frozen):
        kept = load_weights(run_.weights).network
        same = {name for name, tensor in kept.items() if torch.equal(tensor, first[name])}
        assert same == {name for name in first if name.startswith("features.")}  # the statistics of batch norm as well
    run(monkeypatch, train.main, "mefusion-train", *chosen, "keep_weights=true")
    free = studies(tmp_path)[-1]
    assert free != frozen
    kept = load_weights(planned_runs(free)[0].weights).network
    assert not torch.equal(kept["features.1.weight"], first["features.1.weight"])


def test_what_a_study_starts_from_names_it_and_its_folder_does_not(bundle, tmp_path):
    def name(start, *overrides):
        experiment = experiment_of("+transfer=pretrain", *TRAIN, f"model.init_from={start}", *overrides)
        return plan_study(experiment, load_clips(experiment)).name

    shutil.copytree(bundle, tmp_path / "copy")
    assert name(bundle) == name(tmp_path / "copy") == name("bundle")
    assert len({name(bundle), name("null"), name(bundle, "model.freeze=[features]")}) == 3


def refusal(*overrides):
    experiment = experiment_of(*overrides)
    with pytest.raises(MefusionError) as told:
        plan_study(experiment, load_clips(experiment))
    return str(told.value)


def test_what_a_study_cannot_start_from_is_one_sentence(bundle, tmp_path):
    start = ["+transfer=pretrain", *TRAIN]
    given = f"model.init_from={bundle}"
    empty = f"model.init_from={tmp_path}"
    assert f"{empty} is no bundle: give a folder" in refusal(*start, empty)
    assert "model.init_from=x.pt is not there" in refusal(*start, "model.init_from=x.pt")
    checkpoint = f"model.init_from={bundle / 'model.safetensors'}"
    assert "FlowCNN has no checkpoint of its authors" in refusal(*start, checkpoint)
    other = refusal(*start, given, "model=ststnet")
    assert "another network than model=ststnet: network=mefusion.models.FlowCNN and mefusion.models.STSTNet" in other
    assert "channels=None and [8, 8]" in refusal(*start, given, "+model.network.channels=[8,8]")
    assert "flow.mirror_test=True and False" in refusal(*start, given, "model.flow.mirror_test=false")
    assert "model=linear_flow is fitted at once" in refusal(*start, given, "model=linear_flow")
    unknown = refusal(*start, given, "model.freeze=[encoder]")
    assert "model.freeze=encoder: FlowCNN has no such part; choose from features, features.1, " in unknown
    assert "would freeze random weights" in refusal(*start, "model.init_from=null", "model.freeze=[features]")
    all_of_it = refusal(*start, given, "model.freeze=[features,classifier]")
    assert "model.freeze=[features,classifier] leaves nothing of FlowCNN to train" in all_of_it


def test_a_bundle_that_has_seen_the_tested_subjects_is_refused(bundle):
    seen = ["data=synthetic_motion", *TINY, "model=flow_cnn", "trainer=smoke", f"model.init_from={bundle}"]
    assert "was trained on 6 of the 6 clips that this study tests, of the subjects " in refusal(*seen)
    experiment = experiment_of(*seen, "protocol=all")  # tests no one
    assert plan_study(experiment, load_clips(experiment)).start.tensors
    validated = refusal(*seen, "protocol=all", "rule=inner_val")
    assert "was trained on 6 of the 6 clips that this study may validate on, of the subjects " in validated
    assert validated.endswith("start from a bundle of other people, or use rule=last or rule=average")


def test_clips_are_known_by_their_pictures_wherever_their_landmarks_come_from(bundle, tmp_path):
    start = experiment_of("+transfer=pretrain", *TRAIN, f"model.init_from={tmp_path / 'same'}")
    clips = load_clips(start)
    clips.index["content"] = [f"with landmarks {number}" for number in range(6)]  # as they are hashed from files
    trained_on = facts_for_use(start.preparation, clips.index)["trained_on"]
    assert {*trained_on["contents"]} == {*clips.index["content"], *clips.index["pictures"]}
    rewritten(bundle, tmp_path / "same", contents=trained_on["contents"])
    clips.index["content"] = "with other landmarks"
    with pytest.raises(MefusionError, match="was trained on 6 of the 6 clips that this study tests"):
        plan_study(start, clips)


def test_what_was_seen_is_known_along_a_chain_of_bundles(bundle, monkeypatch, tmp_path):
    others = [*TINY[:2], f"data.root={tmp_path / 'others'}", "data.seed=1", f"cache_dir={tmp_path / 'cache'}"]
    run(monkeypatch, prepare.main, "mefusion-prepare", "data=synthetic_motion", *others, "workers=1", "flow=dis")
    chosen = ["model=flow_cnn", "protocol=all", "trainer=smoke", "flow=dis"]
    chosen += [f"model.init_from={bundle}", f"output_dir={tmp_path / 'second'}"]
    run(monkeypatch, train.main, "mefusion-train", "data=synthetic_motion", *others, *chosen)
    (study,) = (tmp_path / "second").iterdir()
    assert "; its flow is measured by tvl1, that of this study by dis" in origin_phrase(load_study(study))
    second = load_bundle(export_study(study, to=tmp_path / "second_bundle"))
    assert second.bundle.preparation.flow == "dis"
    first = read_bundle(bundle).facts["data"]["contents"]
    assert len(first) == len(second.facts["data"]["contents"]) == 6
    assert {*second.seen.contents} == {*first, *second.facts["data"]["contents"]}
    assert len(second.seen.contents) == 12
    assert "trained on: synthetic_motion." in (tmp_path / "second_bundle" / CARD).read_text()
    seen = ["data=synthetic_motion", *TINY, "model=flow_cnn", "trainer=smoke"]
    told = refusal(*seen, f"model.init_from={tmp_path / 'second_bundle'}")
    assert "was trained on 6 of the 6 clips that this study tests" in told


def rewritten(bundle, folder, **data):
    """A copy of a bundle with other entries of `data`."""
    shutil.copytree(bundle, folder)
    content = json.loads((folder / DESCRIPTION).read_text())
    (folder / DESCRIPTION).write_text(description_text(content | {"data": content["data"] | data}))
    return folder


def test_clips_of_a_dataset_that_was_seen_may_show_the_same_people_and_it_is_said(bundle, tmp_path):
    def phrase(start):
        experiment = experiment_of("+transfer=pretrain", *TRAIN, f"model.init_from={start}")
        return origin_phrase(plan_study(experiment, load_clips(experiment)).facts)

    (tested,) = {*pd.read_csv(next((bundle.parent / "real").glob("*.csv")))["dataset"]}
    assert "the same people" not in phrase(bundle)
    before = {"contents": ["another cut"], "datasets": [tested], "known": True}
    told = phrase(rewritten(bundle, tmp_path / "same", trained_before=before))
    assert f"trained on {tested}, synthetic_motion; this study tests clips of {tested} too: it may have seen" in told
    unknown = rewritten(bundle, tmp_path / "unknown", trained_before={"contents": [], "datasets": [], "known": False})
    assert "; what else that was trained on is not known: if it has seen the tested" in phrase(unknown)
    broken = rewritten(bundle, tmp_path / "broken", trained_before={"contents": [1], "datasets": [], "known": True})
    assert "has a value that cannot be used (data.trained_before.contents is 1" in refusal(
        "+transfer=pretrain", *TRAIN, f"model.init_from={broken}"
    )


def test_a_head_of_other_classes_starts_anew_and_it_is_said(bundle, monkeypatch, tmp_path, capsys):
    two = "labels.classes={smile:[positive],other:[negative,surprise]}"
    chosen = ["+transfer=pretrain", *TRAIN, f"model.init_from={bundle}", two, f"output_dir={tmp_path / 'outputs'}"]
    run(monkeypatch, train.main, "mefusion-train", *chosen)
    assert "but for classifier.2.bias, classifier.2.weight" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"freeze classifier.2.weight, classifier.2.bias, which start at random"):
        run(monkeypatch, train.main, "mefusion-train", *chosen, "model.freeze=[classifier]")


@pytest.mark.usefixtures("real")
def test_rendered_and_real_train_together_and_each_real_subject_is_tested_once(monkeypatch, tmp_path):
    run(monkeypatch, prepare.main, "mefusion-prepare", *POOL, *SMALL, *REAL, "workers=1")
    datasets = {*pd.read_csv(next((tmp_path / "real").glob("*.csv")))["dataset"]}
    chosen = ["data.allow_partial=true", f"protocol.test=[{','.join(datasets)}]", "trainer=smoke"]
    run(monkeypatch, train.main, "mefusion-train", "+transfer=mixed", *SMALL, *REAL, *chosen)
    (study,) = (tmp_path / "outputs").iterdir()
    table = load_predictions(study)
    assert len(table) == len(table.drop_duplicates(["subject", "clip_id"])) == 6
    assert set(table["dataset"]) == datasets


def test_a_study_starts_from_the_authors_checkpoint(tmp_path):
    network = FDP(num_classes=5, variant="released")
    torch.save(CHECKPOINT.to_released(network), tmp_path / "fdp.pt")
    settings = settings_of("model=fdp_released", f"model.init_from={tmp_path / 'fdp.pt'}")
    nobody = pd.DataFrame({"content": [], "pictures": [], "subject": [], "dataset": []})
    tasks, classes = ["recognition", "dynamic_image"], ["a", "b", "c"]
    origin = read_origin(settings, tasks, classes, tested=nobody, validated=nobody)
    assert len(origin.facts["anew"]) == 2  # weight and bias of five classes
    given = network.state_dict()
    assert all(torch.equal(tensor, given[name]) for name, tensor in origin.start.tensors.items())
    assert len(origin.start.tensors) == len(given) - 2
    assert "what that was trained on is not known" in origin_phrase({"init_from": origin.facts})
