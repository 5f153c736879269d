"""Animals, likelihoods and retrieval, with a writer whose likelihoods are known."""

import math

import numpy as np
import pytest

from tests.evaluate.known_writer import KnownWriter
from tweetcap.evaluate.grounding import animal_counts, in_groups, measure_likelihoods
from tweetcap.evaluate.measures import value
from tweetcap.evaluate.photos import read_corpus


def test_animal_counts_tell_right_from_wrong_from_none():
    counts = animal_counts([["犬だ", "猫だ", "かわいい", "犬と猫"], ["猫"], ["犬"]], ["犬", "なし", None])
    assert (counts.texts.tolist(), counts.right.tolist()) == ([4, 0, 0], [2, 0, 0])
    assert (counts.wrong.tolist(), counts.silent.tolist()) == ([1, 0, 0], [1, 0, 0])
    assert value(counts.named()) == 0.75


def test_groups_cover_every_photo_at_one_size():
    groups = in_groups(np.arange(45), 20)
    assert [len(group) for group in groups] == [20, 20, 20]
    assert set(np.concatenate(groups)) == set(range(45))


def test_costs_are_the_writer_s_and_every_reference_counts_once(corpus):
    photos = read_corpus(corpus, "validation")
    found = measure_likelihoods(KnownWriter(), photos, list(photos), ["犬がいる", None, "空"])
    for kind in ("witty", "plain", "captions"):
        words, _, seen, unseen = found.costs[kind].T
        assert seen == pytest.approx(2 * words) and unseen == pytest.approx(3 * words)
    # The known tokenizer's tokens are characters; the end is one more.
    assert found.costs["captions"][0, 1] == len("犬が庭にいる") + 1
    assert found.costs["captions"][0, 0] == 5
    assert found.found["caption"][:, 0].tolist() == found.found["caption"][:, 1].tolist() == [2, 2, 2]
    assert found.found["説明"].tolist() == [[2, 2], [0, 0], [0, 2]]  # right, not there, pointing nowhere
    assert found.among == 3 and found.problems == []


def test_a_photo_that_cannot_be_read_is_named_and_the_others_measured(corpus):
    photos = read_corpus(corpus, "validation")
    (corpus / "photos" / "p2.jpg").write_bytes(b"\xff\xd8\xff")
    found = measure_likelihoods(KnownWriter(), photos, list(photos), [None] * 3)
    assert len(found.problems) == 1 and found.problems[0].startswith("p2: ")
    assert found.costs["plain"][1].tolist() == [0, 0, 0, 0]
    assert found.found["caption"].tolist() == [[2, 2], [0, 0], [2, 2]]


def test_photos_without_references_cost_nothing(corpus, tmp_path):
    photos = read_corpus(corpus, "validation")
    bare = [type(photo)(photo.photo_id, photo.photo, None, (), ()) for photo in photos]
    found = measure_likelihoods(KnownWriter(), photos, bare, ["犬がいる"] * 3)
    assert not any(costs.any() for costs in found.costs.values())
    assert not found.found["caption"].any() and not math.isnan(found.found["説明"].sum())
