"""Labelling with a real server of llama.cpp; without weights that anyone has trained, so only the form can be right."""

import importlib.util

import pytest
from fake_segments import FakeContents, fake_segments, label_settings
from llama_server import serving

from mefusion.annotation.labelling.answers import read_answers
from mefusion.annotation.labelling.labelling import label_segments
from mefusion.annotation.labelling.settings import Modality

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("xllamacpp", "gguf"))), reason="xllamacpp or gguf is not installed"
    ),
]


def test_a_random_network_gives_answers_of_the_right_form(tmp_path):
    with serving() as address:
        settings = label_settings(
            f"{address}/v1", modalities=[Modality.transcript], seed=0, timeout_s=100.0, concurrency=1, max_tokens=600
        )
        done = label_segments(fake_segments(3), FakeContents(), settings, tmp_path, lambda text: None)
    assert done.problems == []
    lines = read_answers(tmp_path)
    assert {line["status"] for line in lines} <= {"ok", "unusable", "invalid"}
    answers = [line["answer"] for line in lines if line["answer"]]
    assert answers
    assert all(0 < emotion["intensity"] <= 100 for answer in answers for emotion in answer["emotions"])
    assert all(line["tokens_in"] > 500 and line["tokens_out"] > 20 for line in lines)


def test_pictures_that_the_model_cannot_take_are_told_in_the_server_s_words(tmp_path):
    with serving() as address:
        settings = label_settings(f"{address}/v1", modalities=[Modality.pictures], concurrency=1)
        done = label_segments(fake_segments(1), FakeContents(), settings, tmp_path, lambda text: None)
    (problem,) = done.problems
    assert "image" in problem
