"""Names of studies stay what they were: a setting that is new, or is called otherwise now, renames none."""

import pytest
from composed import experiment_of

from mefusion.studies.identity import ADDED, study_content, study_hash

ROOTS = [f"data.sources.{name}.root=x" for name in ("casme2", "samm", "cas_me_2", "cas_me_3", "smic", "manifest")]
OLD_SET = ["data.clips_per_class=6", "data.amplitude=2.5", "data.frames=[16,23]"]  # the default of version 0.1
# As version 0.1 named them, given the same clips.
NAMES = {
    "6e71f27a45": [*OLD_SET, "model.training.max_epochs=12", "model.network.flow_closed_form=false"],
    "cff081dae0": [
        *("model=fdp_tiny", "rule=inner_val", "seeds=[0,1]", "tasks.rank.weight=0", "data.subjects=3"),
        *(*OLD_SET, "model.training.max_epochs=18", "model.optimizer.lr=1e-3"),
        "model.network.image_detail=false",
    ],
    "ecadfeadc3": ["+reproduce=mol_casme2_five", "data.root=a", "imbalance=focal"],
    "7546641ce7": [
        "+reproduce=ststnet_megc2019",
        *(f"data.sources.{name}.root=x" for name in ("casme2", "samm", "smic")),
    ],
    "9843ef7d70": [
        "data=pooled",
        "data/sources=[casme2,samm,cas_me_2,cas_me_3,smic,manifest]",
        *ROOTS,
        "model=majority",
    ],
    "a19b7e6bf1": ["data=flow_images", "data.root=a", "model=off_apexnet", "protocol=kfold"],
}
RENAMED = (
    "A name has changed: the results of studies that exist would not be found. Where the setting changes no result at "
    "its default, give it an entry in mefusion.studies.identity.ADDED; where it is called otherwise now, write it as "
    "it was called; where results change, raise RESULTS there."
)


def content_of(*overrides):
    experiment = experiment_of(*overrides)
    tasks = {name: task.weight for name, task in experiment.tasks.items()}
    return study_content(experiment.plain, backend="dlib", tasks=tasks, datasets={"casme2", "samm", "smic"})


def name_of(*overrides, **changes):
    clips = {"samples": "s", "contents": ["a", "b"], "preparation": 2, "faces": "1"} | changes
    return study_hash(content_of(*overrides), **clips)


@pytest.mark.parametrize("name", NAMES)
def test_names_stay_what_they_were(name):
    assert name_of(*NAMES[name]) == name, RENAMED


def test_who_only_looks_changes_no_name_and_who_takes_part_does():
    watched = ["callbacks=[examples,learning_rate,model_summary]"]
    assert name_of(*watched) == name_of()
    assert name_of("rule=inner_val", "callbacks=[early_stopping]") != name_of("rule=inner_val")
    patient = ["rule=inner_val", "callbacks=[early_stopping]", "callbacks.early_stopping.patience=9"]
    assert name_of(*patient) != name_of(*patient[:2])


def test_what_is_kept_beside_the_result_changes_no_name():
    assert name_of("keep_weights=true") == name_of()


def test_the_method_of_flow_counts_and_where_it_is_measured_does_not():
    assert name_of("flow=tvl1", "flow_device=cuda") == name_of()
    assert len({name_of(), name_of("flow=dis"), name_of("flow=farneback")}) == 3


def test_what_a_model_says_itself_may_be_said_again():
    assert name_of("imbalance=none", "imbalance_tau=1") == name_of()
    assert name_of("model=linear_flow", "imbalance=class_weights", "imbalance_tau=0.75") == name_of("model=linear_flow")
    changes = ["imbalance_tau=1", "imbalance=none", "model.flow.strain=true", "model.flow.normalisation=stretched"]
    changes += ["model.flow.mirror_test=false", "model.network.penalty=1", "model.training.flip=false"]
    assert len({name_of("model=linear_flow", *change) for change in [[], *([each] for each in changes)]}) == 8


def test_clips_and_software_change_the_name():
    changes = [{"samples": "t"}, {"contents": ["a", "c"]}, {"preparation": 3}, {"faces": "2"}]
    assert len({name_of(), *(name_of(**change) for change in changes)}) == 5


def test_labels_of_other_datasets_have_no_say():
    plain = experiment_of().plain
    own = {**plain["labels"], "datasets": {**plain["labels"]["datasets"], "lab": {"classes": {}, "leave_out": []}}}
    absent, present = (
        study_content({**plain, "labels": labels}, backend="dlib", tasks={}, datasets=datasets)
        for labels, datasets in ((own, {"casme2"}), (own, {"lab"}))
    )
    assert absent == study_content(plain, backend="dlib", tasks={}, datasets=())
    assert "lab" in present["labels"]["datasets"]


def test_a_new_setting_at_its_default_is_left_out(monkeypatch):
    plain = experiment_of().plain
    before = study_content(plain, backend="dlib", tasks={}, datasets=())
    monkeypatch.setattr("mefusion.studies.identity.ADDED", ADDED | {"trainer.brand_new": 3})
    trainer = {**plain["trainer"], "brand_new": 3}
    assert study_content({**plain, "trainer": trainer}, backend="dlib", tasks={}, datasets=()) == before
    trainer = {**plain["trainer"], "brand_new": 4}
    assert study_content({**plain, "trainer": trainer}, backend="dlib", tasks={}, datasets=()) != before
