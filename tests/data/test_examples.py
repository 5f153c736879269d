"""Batches are a pure function of seed, epoch and number, and what is cached equals what is encoded afresh."""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tiny import tiny_model, tiny_processor, tiny_tokenizer
from tweetcap.data.examples import BatchSettings, Corpus, EpochBatches, epoch_examples
from tweetcap.data.features import FeatureCache, PhotoViews
from tweetcap.data.photo import PhotoError

sys.path.append(str(Path(__file__).parents[2] / "training"))
from draw_shapes import draw_corpus

SETTINGS = BatchSettings(batch_size=16, max_length=12)
SOURCES = ["casual", "captions", "plain", "witty"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    draw_corpus(folder, photos_a_kind=8)
    return folder


@pytest.fixture(scope="module")
def corpus(folder, tokenizer) -> Corpus:
    return Corpus(folder, "train", tokenizer, SOURCES)


def rows_of(batches: EpochBatches) -> list[int]:
    return [int(index) for batch in batches.batches for index in batch]


def test_the_same_seed_epoch_and_number_give_the_same_batch(corpus):
    rows = corpus.examples["plain"]
    first, again = (EpochBatches(rows, None, SETTINGS, 2, seed=3, epoch=1) for _ in range(2))
    for number in reversed(range(len(first))):
        assert all(torch.equal(first[number][name], again[number][name]) for name in first[number])


def test_an_epoch_holds_every_row_once_in_another_order_than_the_last(corpus):
    rows = corpus.examples["plain"]
    one, two = (rows_of(EpochBatches(rows, None, SETTINGS, 2, epoch=epoch)) for epoch in (0, 1))
    assert sorted(one) == sorted(two) == list(range(len(rows)))
    assert one != two


def test_a_source_comes_as_often_as_asked_for_and_parts_of_it_change(corpus):
    asked = {"casual": 0.5, "captions": 2.25, "plain": 1}
    rows, later = (epoch_examples(corpus, asked, seed=0, epoch=epoch) for epoch in (0, 1))
    counts = Counter(row.source for row in rows)
    sizes = {name: len(corpus.examples[name]) for name in asked}
    assert counts == {name: round(times * sizes[name]) for name, times in asked.items()}
    assert [row.text for row in rows if row.source == "casual"] != [row.text for row in later if row.source == "casual"]


def test_labels_are_prompt_text_and_end_and_decode_to_the_text(corpus, tokenizer):
    for source, prompt in (("casual", 0), ("captions", 1), ("witty", 2)):
        example = corpus.examples[source][0]
        assert example.prompt_length == prompt
        assert example.label_ids[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(example.label_ids[prompt:-1]) == example.text


def test_validation_has_no_photo_and_no_text_of_train(folder, tokenizer, corpus):
    validation = Corpus(folder, "validation", tokenizer, SOURCES)
    assert not set(validation.photo_paths) & set(corpus.photo_paths)
    assert validation.examples["casual"] == []


def test_validation_shows_every_photo_and_training_hides_some(corpus):
    rows = corpus.examples["captions"] * 20
    train = EpochBatches(rows, None, SETTINGS, 2)
    shown = torch.cat([train[number]["photo_mask"] for number in range(len(train))]).float().mean().item()
    assert shown == pytest.approx(1 - SETTINGS.null_photo, abs=0.05)
    still = EpochBatches(rows, None, SETTINGS, 2, train=False)
    assert all(
        still[number]["photo_mask"].all() and still[number]["concept_mask"].all() for number in range(len(still))
    )


def test_cached_features_equal_the_encoder_on_the_same_view(corpus, tokenizer, tmp_path):
    model = tiny_model(tokenizer)
    views = PhotoViews(corpus.photo_paths[:5], tiny_processor(tokenizer).image_processor)
    cache = FeatureCache.build(model, views, 3, tmp_path, batch_size=4)
    again = FeatureCache.build(model, views, 3, tmp_path)
    for index, view in ((0, 0), (4, 1), (2, 2)):
        with torch.no_grad():
            fresh = model.encoder(views[index, view][None])
        rows = cache.rows(np.array([index]), np.array([view]))
        torch.testing.assert_close(rows["pooler_output"], fresh.pooler_output, rtol=0.05, atol=0.02)
        torch.testing.assert_close(rows["last_hidden_state"], fresh.last_hidden_state, rtol=0.05, atol=0.02)
    assert np.array_equal(again.regions, cache.regions)


def test_views_are_the_same_each_time_and_differ_from_each_other(corpus, tokenizer):
    views = PhotoViews(corpus.photo_paths[:1], tiny_processor(tokenizer).image_processor, seed=1)
    pictures = [views[0, view] for view in range(4)]
    assert all(torch.equal(views[0, view], pictures[view]) for view in range(4))
    assert torch.equal(pictures[1], pictures[0].flip(-1))
    assert not torch.equal(pictures[2], pictures[3])


def test_an_unreadable_photo_is_named(tokenizer, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    views = PhotoViews([broken], tiny_processor(tokenizer).image_processor)
    with pytest.raises(PhotoError, match=r"broken\.jpg"):
        views[0, 0]


def taught_cache(corpus, tokenizer) -> tuple[FeatureCache, list[list[int]]]:
    """Return made features whose likeliest concept is always the first of three words, and the words' tokens."""
    photos = len(corpus.photo_paths)
    ids = np.tile(np.arange(2), (photos, 1, 1))
    log_probs = np.log(np.full((photos, 1, 2), 0.5, np.float32))
    features = np.zeros((photos, 1, 4, 8), np.float16), np.zeros((photos, 1, 8), np.float16)
    # What every caption of the drawn shapes has in it, and two words that none has.
    words = [list(corpus.examples["captions"][0].label_ids[-3:-2]), tokenizer.encode("猫"), tokenizer.encode("犬犬")]
    return FeatureCache(*features, concepts=(ids, log_probs)), words


def test_a_swapped_animal_changes_in_the_text_and_in_the_concepts_alike(corpus, tokenizer):
    cache, words = taught_cache(corpus, tokenizer)
    settings = BatchSettings(batch_size=16, max_length=30, null_photo=0, hidden_concepts=1, swapped_concept=1)
    rows = [row for row in corpus.examples["captions"] if words[0][0] in row.label_ids]
    batches = EpochBatches(rows, cache, settings, 2, concept_words=words)
    newly_named = Counter()
    for number in range(len(batches)):
        batch = batches[number]
        for place, index in enumerate(batches.batches[number]):
            text = [token for token in batch["labels"][place].tolist() if token != -100]
            concept = int(batch["concept_ids"][place, 0])
            expected = []
            for token in rows[index].label_ids:
                expected += words[concept] if [token] == words[0] else [token]
            assert text == expected
            assert batch["concept_mask"][place].tolist() == [True, False]
            assert batch["concept_log_probs"][place, 0].exp() >= 0.4
            newly_named[concept] += 1
    assert set(newly_named) == {0, 1, 2}


def test_swapping_leaves_the_cache_and_texts_without_an_animal_as_they_are(corpus, tokenizer):
    cache, words = taught_cache(corpus, tokenizer)
    before = cache.concepts[0].copy()
    settings = BatchSettings(batch_size=16, max_length=30, null_photo=0, hidden_concepts=0, swapped_concept=1)
    plain = BatchSettings(batch_size=16, max_length=30, null_photo=0, hidden_concepts=0)
    unnamed = [row for row in corpus.examples["plain"] if words[0][0] not in row.label_ids]
    swapped, kept = (EpochBatches(unnamed, cache, each, 2, concept_words=words[:1]) for each in (settings, plain))
    assert all(torch.equal(swapped[0][name], kept[0][name]) for name in ("labels", "concept_ids", "concept_log_probs"))
    assert np.array_equal(cache.concepts[0], before)


def test_a_corpus_without_casual_text_is_read_without_it_and_says_so(folder, tokenizer, tmp_path):
    for name in ("starter.jsonl", "photos"):
        (tmp_path / name).symlink_to(folder / name)
    whole, part = (Corpus(each, "train", tokenizer, SOURCES) for each in (folder, tmp_path))
    assert (whole.missing, part.missing) == ([], ["casual_text.txt.gz"])
    assert part.examples == whole.examples | {"casual": []}
