"""What a network has seen, through all its trainings."""

from mefusion.inference.bundle import SHIPPED
from mefusion.inference.predictor import load_bundle
from mefusion.inference.seen import Seen, seen_before, seen_by

OWN = {"contents": ["c", "b"], "datasets": {"samm": {"clips": 2, "subjects": 1}}}
BEFORE = {"contents": ["a", "b"], "datasets": ["casme2"], "known": True}


def test_a_bundle_that_does_not_say_what_came_before_began_at_random():
    assert seen_by(OWN) == seen_by({**OWN, "trained_before": None}) == Seen(["b", "c"], ["samm"], known=True)
    assert not seen_by({"contents": ["a"]}).known  # it names no dataset
    assert load_bundle(SHIPPED).described.endswith("rendered motion only, and no real face")


def test_what_came_before_is_seen_too():
    assert seen_by({**OWN, "trained_before": BEFORE}) == Seen(["a", "b", "c"], ["casme2", "samm"], known=True)
    assert not seen_by({**OWN, "trained_before": {**BEFORE, "known": False}}).known


def test_a_bundle_takes_over_what_its_study_started_from():
    assert seen_before({}) is None
    assert seen_before({"init_from": {"name": "a", "digest": "d", "anew": [], **BEFORE}}) == BEFORE
    older = {"name": "a", "digest": "d", "anew": [], "datasets": ["casme2"]}
    assert seen_before({"init_from": older}) == {"contents": [], "datasets": ["casme2"], "known": False}


def test_a_network_that_saw_faces_before_rendered_motion_is_not_called_one_that_saw_none():
    predictor = load_bundle(SHIPPED)
    for before in (BEFORE, {"contents": [], "datasets": [], "known": False}):
        predictor.facts["data"]["trained_before"] = before
        predictor.__dict__.pop("seen", None)
        assert predictor.described == predictor.name
