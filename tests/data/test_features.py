"""Views are the same each time, and what is cached equals what is encoded afresh, whatever happened in between."""

import multiprocessing
import os
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch

import tweetcap.data.features as features
from tests.data.made_corpora import STAIR, draw, stair_rows, write_corpus
from tests.tiny import tiny_model, tiny_processor, tiny_tokenizer
from tweetcap.data.examples import open_corpus
from tweetcap.data.features import FeatureCache, PhotoViews
from tweetcap.data.photo import PhotoError
from tweetcap.data.tables import BadRows, PhotoBytes


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def image_processor(tokenizer):
    return tiny_processor(tokenizer).image_processor


@pytest.fixture
def photos() -> list[PhotoBytes]:
    return [PhotoBytes(f"photo {number}", draw(number)) for number in range(7)]


def test_cached_features_equal_the_encoder_on_the_same_view(photos, tokenizer, image_processor, tmp_path):
    model = tiny_model(tokenizer)
    views = PhotoViews(photos[:5], image_processor)
    cache = FeatureCache.build(model, views, 3, tmp_path, batch_size=4)
    again = FeatureCache.build(model, views, 3, tmp_path)
    for index, view in ((0, 0), (4, 1), (2, 2)):
        with torch.no_grad():
            fresh = model.encoder(views[index, view][None])
        rows = cache.rows(np.array([index]), np.array([view]))
        torch.testing.assert_close(rows["pooler_output"], fresh.pooler_output, rtol=0.05, atol=0.02)
        torch.testing.assert_close(rows["last_hidden_state"], fresh.last_hidden_state, rtol=0.05, atol=0.02)
    assert np.array_equal(again.regions, cache.regions)


def test_workers_and_the_kind_of_corpus_change_no_feature(tokenizer, image_processor, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = write_corpus(tmp_path / "stair", STAIR, train=stair_rows(6), validation=stair_rows(1, first=9))
    model = tiny_model(tokenizer)
    built = []
    for place, options in enumerate(({}, {"streaming": True, "limit": 6})):
        corpus = open_corpus([folder], "train", tokenizer, ["stair"], **options)
        views = PhotoViews(corpus.photos, image_processor)
        built.append(FeatureCache.build(model, views, 2, tmp_path / f"features {place}", batch_size=4, workers=place))
    assert np.array_equal(built[0].regions, built[1].regions) and np.array_equal(built[0].pooled, built[1].pooled)
    assert built[0].regions.any(axis=(1, 2, 3)).all()


def test_another_photo_of_the_same_name_gets_a_cache_of_its_own(photos, tokenizer, image_processor, tmp_path):
    model = tiny_model(tokenizer)
    other = [*photos[:-1], PhotoBytes(photos[-1].name, draw(99))]
    one, two = (FeatureCache.build(model, PhotoViews(each, image_processor), 1, tmp_path) for each in (photos, other))
    assert np.array_equal(one.pooled[:-1], two.pooled[:-1]) and not np.array_equal(one.pooled[-1], two.pooled[-1])


def test_a_broken_photo_is_named_and_stops_the_encoding_or_not(photos, tokenizer, image_processor, tmp_path):
    model = tiny_model(tokenizer)
    views = PhotoViews([photos[0], PhotoBytes("photo x", b"no photo"), photos[1]], image_processor)
    with pytest.raises(ValueError, match=r"photo x: .*not a photo.*bad_rows: skip"):
        FeatureCache.build(model, views, 2, tmp_path)
    for _ in range(2):  # encoded, and found again
        bad_rows = BadRows("skip")
        cache = FeatureCache.build(model, views, 2, tmp_path, bad_rows=bad_rows)
        assert cache.unreadable.tolist() == [1] and list(bad_rows.rows) == ["photo x"]
        assert not cache.pooled[1].any() and cache.pooled[[0, 2]].any(axis=(1, 2)).all()


def die_while_encoding(model, views, folder: Path, batches: int) -> None:
    load, left = features.load_stored, [batches * 2 + 1]

    def count(photo):
        left[0] -= 1
        if not left[0]:
            os._exit(9)
        return load(photo)

    features.load_stored = count
    torch.set_num_threads(1)
    FeatureCache.build(model, views, 2, folder, batch_size=2)


def test_encoding_that_was_killed_goes_on_where_it_was(photos, tokenizer, image_processor, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "SAVE_EVERY", 2)
    model = tiny_model(tokenizer)
    broken = [*photos[:2], PhotoBytes("photo x", b"no photo"), *photos[2:]]
    views = PhotoViews(broken, image_processor)

    # The broken photo comes before the cut, and must be known after it.
    monkeypatch.setattr(BadRows, "report", lambda *_: None)
    context = multiprocessing.get_context("fork")
    worker = context.Process(target=die_while_encoding, args=(model, views, tmp_path / "cut", 5))
    worker.start()
    worker.join(60)
    assert worker.exitcode == 9

    prepared = []
    monkeypatch.setattr(PhotoViews, "__getitem__", counting(PhotoViews.__getitem__, prepared))
    gone_on = FeatureCache.build(model, views, 2, tmp_path / "cut", batch_size=2)
    assert len(prepared) == 16 - 8  # four batches of two views were saved
    uncut = FeatureCache.build(model, views, 2, tmp_path / "uncut", batch_size=2)
    assert np.array_equal(gone_on.regions, uncut.regions) and np.array_equal(gone_on.pooled, uncut.pooled)
    assert gone_on.unreadable.tolist() == uncut.unreadable.tolist() == [2]


def counting(method, calls: list):
    def counted(self, key):
        calls.append(key)
        return method(self, key)

    return counted


def test_views_are_the_same_each_time_and_differ_from_each_other(photos, image_processor):
    views = PhotoViews(photos[:1], image_processor, seed=1)
    pictures = [views[0, view] for view in range(4)]
    assert all(torch.equal(views[0, view], pictures[view]) for view in range(4))
    assert torch.equal(pictures[1], pictures[0].flip(-1))
    assert not torch.equal(pictures[2], pictures[3])


def test_an_unreadable_photo_is_named(image_processor, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    views = PhotoViews([broken], image_processor)
    with pytest.raises(PhotoError, match=r"broken\.jpg"):
        views[0, 0]
