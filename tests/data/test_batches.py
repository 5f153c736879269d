"""Batches are a pure function of seed, epoch and number: of processes, workers, cuts and streams they know nothing."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch

import tweetcap.data.features as features
from tests.data.made_corpora import POSTS, STAIR, post_rows, stair_rows, write_corpus
from tests.tiny import tiny_model, tiny_processor, tiny_tokenizer
from tweetcap.data.batches import (
    BatchSettings,
    EpochBatches,
    StreamedBatches,
    epoch_batches,
    epoch_examples,
    load_batches,
)
from tweetcap.data.examples import NO_PHOTO, Corpus, Example, open_corpus
from tweetcap.data.features import FeatureCache, PhotoViews
from tweetcap.data.tables import BadRows

sys.path.append(str(Path(__file__).parents[2] / "training"))
from draw_shapes import draw_corpus

SETTINGS = BatchSettings(batch_size=16, max_length=12)
SMALL = BatchSettings(batch_size=4, max_length=30, shuffle_buffer=6, texts_per_photo=2)
SOURCES = ["casual", "captions", "plain", "witty"]
MIXED = {"stair": 1, "posts": 1, "plain": 0.1}


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        # `datasets` waits 5 s for its threads at the end of each shuffled stream.
        patch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0.1)
        yield


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    # As in a worker: for photos this small, threads only wait for each other.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def image_processor(tokenizer):
    return tiny_processor(tokenizer).image_processor


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    draw_corpus(folder, photos_a_kind=8)
    return folder


@pytest.fixture(scope="module")
def corpus(folder, tokenizer) -> Corpus:
    return open_corpus([folder], "train", tokenizer, SOURCES)


@pytest.fixture(scope="module")
def made(tmp_path_factory, folder) -> list[Path]:
    """A corpus of captions, one of posts and one of shapes."""
    place = tmp_path_factory.mktemp("made")
    stair = write_corpus(place / "stair", STAIR, train=stair_rows(14), validation=stair_rows(1, first=50))
    posts = write_corpus(place / "posts", POSTS, train=post_rows(13), validation=post_rows(1, first=50))
    return [stair, posts, folder]


@pytest.fixture(scope="module")
def streamed(made, tokenizer) -> Corpus:
    return open_corpus(made, "train", tokenizer, list(MIXED), streaming=True)


@pytest.fixture(scope="module")
def local(made, tokenizer) -> Corpus:
    return open_corpus(made, "train", tokenizer, list(MIXED))


@pytest.fixture(params=["local", "streamed"])
def either(request) -> Corpus:
    return request.getfixturevalue(request.param)


@pytest.fixture
def stream_of(streamed, image_processor):
    def batches(corpus: Corpus = streamed, epoch: int = 0, sources=MIXED, settings=SMALL, photos=True):
        views = PhotoViews(corpus.photos, image_processor, seed=5) if photos else None
        return epoch_batches(corpus, sources, views, settings, 2, 3, epoch)

    return batches


def same(one: dict, other: dict) -> bool:
    tensors = [name for name in one if isinstance(one[name], torch.Tensor)]
    return (
        one.keys() == other.keys()
        and one["names"] == other["names"]
        and all(torch.equal(one[name], other[name]) for name in tensors)
    )


def all_same(ones: Sequence[dict], others: Sequence[dict]) -> bool:
    return len(ones) == len(others) and all(map(same, ones, others))


def rows_of(batches: EpochBatches) -> list[int]:
    return [int(index) for batch in batches.batches for index in batch]


def texts_of(batches) -> Counter[str]:
    """Count the texts of an epoch, by all that a batch says of each."""
    return Counter(
        (name, tuple(labels), round(weight, 4), shown)
        for batch in load_batches(batches, drop_last=False)
        for name, labels, weight, shown in zip(
            batch["names"],
            [[token for token in row if token != -100] for row in batch["labels"].tolist()],
            batch["weights"].tolist(),
            batch["photo_mask"].tolist(),
            strict=True,
        )
    )


# --- An epoch at hand -----------------------------------------------------------------------------


def test_the_same_seed_epoch_and_number_give_the_same_batch(corpus):
    rows = corpus.examples["plain"]
    first, again = (EpochBatches(rows, None, SETTINGS, 2, seed=3, epoch=1) for _ in range(2))
    for number in reversed(range(len(first))):
        assert same(first[number], again[number])


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


def test_validation_shows_every_photo_and_training_hides_some(corpus):
    rows = list(corpus.examples["captions"]) * 20
    train = EpochBatches(rows, None, SETTINGS, 2)
    shown = torch.cat([train[number]["photo_mask"] for number in range(len(train))]).float().mean().item()
    assert shown == pytest.approx(1 - SETTINGS.null_photo, abs=0.05)
    still = EpochBatches(rows, None, SETTINGS, 2, train=False)
    assert all(
        still[number]["photo_mask"].all() and still[number]["concept_mask"].all() for number in range(len(still))
    )


def taught_cache(corpus, tokenizer) -> tuple[FeatureCache, list[list[int]]]:
    """Return made features whose likeliest concept is always the first of three words, and the words' tokens."""
    photos = len(corpus.photos)
    ids = np.tile(np.arange(2), (photos, 1, 1))
    log_probs = np.log(np.full((photos, 1, 2), 0.5, np.float32))
    made = np.zeros((photos, 1, 4, 8), np.float16), np.zeros((photos, 1, 8), np.float16)
    # What every caption of the drawn shapes has in it, and two words that none has.
    words = [list(corpus.examples["captions"][0].label_ids[-3:-2]), tokenizer.encode("猫"), tokenizer.encode("犬犬")]
    return FeatureCache(*made, concepts=(ids, log_probs)), words


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


def test_after_a_swap_no_visible_slot_holds_the_old_animal_or_the_new_one_twice(corpus, tokenizer):
    cache, words = taught_cache(corpus, tokenizer)
    settings = BatchSettings(
        batch_size=16, max_length=30, null_photo=0, hidden_concept=0, hidden_concepts=0, swapped_concept=1
    )
    rows = [row for row in corpus.examples["captions"] if words[0][0] in row.label_ids]
    batches = EpochBatches(rows, cache, settings, 2, concept_words=words)
    slots = Counter()
    for number in range(len(batches)):
        batch = batches[number]
        for ids, mask in zip(batch["concept_ids"], batch["concept_mask"], strict=True):
            visible = ids[mask].tolist()
            slots[ids[0].item(), len(visible)] += 1
            assert len(set(visible)) == len(visible)
            assert 0 not in visible[1:]  # the old animal
    # The row of concepts is 0, 1: where 0 becomes 1, nothing is left for the second slot.
    assert set(slots) == {(0, 2), (1, 1), (2, 2)}


def test_swapping_leaves_the_cache_and_texts_without_an_animal_as_they_are(corpus, tokenizer):
    cache, words = taught_cache(corpus, tokenizer)
    before = cache.concepts[0].copy()
    settings = BatchSettings(batch_size=16, max_length=30, null_photo=0, hidden_concepts=0, swapped_concept=1)
    plain = BatchSettings(batch_size=16, max_length=30, null_photo=0, hidden_concepts=0)
    unnamed = [row for row in corpus.examples["plain"] if words[0][0] not in row.label_ids]
    swapped, kept = (EpochBatches(unnamed, cache, each, 2, concept_words=words[:1]) for each in (settings, plain))
    assert same(swapped[0], kept[0])
    assert np.array_equal(cache.concepts[0], before)


# --- Photos ---------------------------------------------------------------------------------------


def test_texts_of_one_photo_stay_together_and_it_is_prepared_once(local, image_processor, monkeypatch):
    settings = BatchSettings(batch_size=20, max_length=30, null_photo=0, texts_per_photo=5)
    apart = BatchSettings(batch_size=20, max_length=30, null_photo=0)
    views = PhotoViews(local.photos, image_processor)
    prepared = {}
    for name, each in (("together", settings), ("apart", apart)):
        batches = EpochBatches(local.examples["stair"], views, each, 2, photo_names=local.photos)
        assert sorted(rows_of(batches)) == list(range(70))
        found = list(load_batches(batches, drop_last=False))
        prepared[name] = sum(len(batch["pixel_values"]) for batch in found)
        for batch in found:
            # The rows of photos are right: which image they are is in the names.
            shown = [name.split("image_id ")[1].split(")")[0] for name in batch["names"]]
            assert len(set(shown)) == len(batch["pixel_values"])
            assert len(set(zip(shown, batch["photo_rows"].tolist(), strict=True))) == len(set(shown))
    assert prepared["together"] == 14
    assert prepared["apart"] > 40


def test_texts_without_a_photo_are_never_gathered_as_if_they_shared_one(corpus):
    rows = list(corpus.examples["casual"])[:40]
    settings = BatchSettings(batch_size=4, texts_per_photo=5)
    grouped, plain = (EpochBatches(rows, None, each, 2) for each in (settings, BatchSettings(batch_size=4)))
    assert rows_of(grouped) == rows_of(plain)


def test_no_photo_is_prepared_that_no_text_shows(corpus, image_processor):
    views = PhotoViews(corpus.photos, image_processor)
    hidden = BatchSettings(batch_size=16, null_photo=1.0)
    batch = EpochBatches(corpus.examples["captions"], views, hidden, 2)[0]
    assert "pixel_values" not in batch and not batch["photo_mask"].any()
    casual = EpochBatches(corpus.examples["casual"], views, BatchSettings(), 2)[0]
    assert "pixel_values" not in casual and not casual["photo_mask"].any()


def test_cached_features_equal_the_thawed_encoders_in_evaluation(corpus, tokenizer, image_processor, tmp_path):
    model = tiny_model(tokenizer)
    views = PhotoViews(corpus.photos, image_processor)
    cache = FeatureCache.build(model, views, 1, tmp_path)
    cached, thawed = (EpochBatches(corpus.examples["plain"], each, SETTINGS, 2, train=False) for each in (cache, views))
    for number in range(2):
        one, two = cached[number], thawed[number]
        with torch.no_grad():
            outputs = model.encoder(two["pixel_values"])
        rows = two["photo_rows"]
        torch.testing.assert_close(one["pooler_output"], outputs.pooler_output[rows], rtol=0.05, atol=0.02)
        torch.testing.assert_close(one["last_hidden_state"], outputs.last_hidden_state[rows], rtol=0.05, atol=0.02)
        assert torch.equal(one["labels"], two["labels"]) and one["photo_mask"].all() and two["photo_mask"].all()


def test_with_each_epoch_every_photo_is_seen_in_another_view(corpus, image_processor):
    views = PhotoViews(corpus.photos[:1], image_processor)
    row = [example for example in corpus.examples["captions"] if example.photo == 0]
    settings = BatchSettings(null_photo=0)
    seen = [EpochBatches(row, views, settings, 2, epoch=epoch)[0]["pixel_values"] for epoch in (0, 1)]
    assert not torch.equal(*seen)


# --- Streams --------------------------------------------------------------------------------------


def test_an_epoch_of_a_stream_has_the_texts_of_one_at_hand(local, stream_of, image_processor):
    settings = BatchSettings(batch_size=16, max_length=30, null_photo=0, shuffle_buffer=6)
    whole = {"stair": 1, "posts": 2, "plain": 1}
    views = PhotoViews(local.photos, image_processor, seed=5)
    at_hand = epoch_batches(local, whole, views, settings, 2, 3, 0)
    stream = stream_of(sources=whole, settings=settings)
    assert isinstance(at_hand, EpochBatches) and isinstance(stream, StreamedBatches)
    expected = texts_of(at_hand)
    assert texts_of(stream) == expected and expected.total() == 70 + 26 + len(local.examples["plain"])
    assert stream.expected == at_hand.expected


def test_streamed_pixels_are_those_of_the_named_photo(local, stream_of, image_processor):
    views = PhotoViews(local.photos, image_processor, seed=5)
    index = {str(photo): place for place, photo in enumerate(local.photos)}
    checked = 0
    for job in stream_of(sources={"stair": 1, "plain": 1}).keys(0, 1, 1, 0, True, BadRows()):
        for photo in job.photos:
            mine = PhotoViews([photo], image_processor)[0, 0]
            assert torch.equal(mine, views[index[str(photo)], 0])
            checked += 1
    assert checked >= 14


def test_a_part_of_a_streamed_source_is_about_that_part_and_another_each_epoch(stream_of):
    settings = BatchSettings(batch_size=16, null_photo=0)
    one, two = (texts_of(stream_of(sources={"stair": 0.4}, epoch=epoch, settings=settings)) for epoch in (0, 1))
    assert 15 <= one.total() <= 41 and one != two
    more = texts_of(stream_of(sources={"stair": 1.4}, settings=settings))
    assert 85 <= more.total() <= 111 and set(more.values()) == {1, 2}


def test_batches_of_a_stream_mix_its_corpora_and_change_with_the_epoch(stream_of):
    first, later = (list(load_batches(stream_of(epoch=epoch))) for epoch in (0, 1))
    assert not all_same(first, later)
    sources = [{name.split(" ", 1)[0] for name in batch["names"]} for batch in first]
    assert sum(len(each) > 1 for each in sources) > len(sources) / 4


def test_workers_change_nothing(either, stream_of):
    inline, one, two = (list(load_batches(stream_of(either), workers=workers)) for workers in (0, 1, 2))
    assert len(inline) > 20
    assert all_same(inline, one) and all_same(inline, two)


def test_processes_together_read_what_one_reads(either, stream_of):
    whole = list(load_batches(stream_of(either), accumulate=4))
    parts = [list(load_batches(stream_of(either), process=p, processes=2, accumulate=2)) for p in (0, 1)]
    assert len(whole) % 4 == 0 and len(parts[0]) == len(parts[1])
    assert all_same(whole[0::2], parts[0]) and all_same(whole[1::2], parts[1])


def test_an_epoch_that_was_cut_goes_on_with_the_batch_after_and_prepares_none_before(either, stream_of, monkeypatch):
    uncut = list(load_batches(stream_of(either), process=1, processes=2))
    loaded = []
    load = features.load_stored
    monkeypatch.setattr(features, "load_stored", lambda photo: loaded.append(photo) or load(photo))
    for done in (0, 5, len(uncut)):
        loaded.clear()
        rest = list(load_batches(stream_of(either), process=1, processes=2, done=done))
        assert all_same(uncut[done:], rest)
        assert len(loaded) == sum(len(batch.get("pixel_values", ())) for batch in uncut[done:])


def test_the_global_random_numbers_are_left_alone(either, stream_of):
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    next(iter(load_batches(stream_of(either), workers=0)))
    list(load_batches(stream_of(either), workers=1))
    assert torch.equal(before[0], torch.get_rng_state()) and np.array_equal(before[1], np.random.get_state()[1])


def test_without_photos_a_stream_gives_its_texts(stream_of):
    batches = list(load_batches(stream_of(photos=False), drop_last=False))
    assert all("pixel_values" not in batch for batch in batches)
    assert sum(len(batch["labels"]) for batch in batches) >= 70 + 13 + 15


def test_a_stream_that_does_not_say_its_length_has_none_and_is_read_to_its_end(made, tokenizer, stream_of, tmp_path):
    folder = tmp_path / "posts"
    write_corpus(folder, POSTS, train=post_rows(21), validation=post_rows(1, first=50))
    (folder / "README.md").unlink()
    corpus = open_corpus([folder, made[0]], "train", tokenizer, ["posts", "stair"], streaming=True)
    batches = stream_of(corpus, sources={"posts": 1, "stair": 1})
    assert batches.expected is None
    assert sum(len(batch["labels"]) for batch in load_batches(batches, drop_last=False)) == 21 + 70


# --- Bad rows -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def broken(tmp_path_factory) -> Path:
    rows = stair_rows(10)
    rows[3]["image"]["bytes"] = b"no photo"
    rows[7]["captions"][2] = ""
    folder = tmp_path_factory.mktemp("broken") / "stair"
    return write_corpus(folder, STAIR, train=rows, validation=stair_rows(1, first=20))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_broken_photo_and_an_empty_text_are_named_once_and_the_rest_is_trained(
    broken, tokenizer, stream_of, streaming, workers, tmp_path
):
    bad_rows = BadRows("skip", tmp_path / "left_out.jsonl")
    corpus = open_corpus([broken], "train", tokenizer, ["stair"], streaming=streaming, bad_rows=bad_rows)
    settings = BatchSettings(batch_size=7, null_photo=0)
    for epoch in (0, 1):
        batches = stream_of(corpus, sources={"stair": 1}, epoch=epoch, settings=settings)
        found = list(load_batches(batches, drop_last=False, bad_rows=bad_rows, workers=workers))
        hidden = [
            name
            for batch in found
            for name, shown in zip(batch["names"], batch["photo_mask"], strict=True)
            if not shown
        ]
        assert len(hidden) == 5 and all("image_id 3)" in name for name in hidden)
        assert sum(len(batch["labels"]) for batch in found) == 49
    assert set(bad_rows.rows) == {f"{broken}, train, image_id 3", f"{broken}, train, image_id 7, text 2"}
    assert len((tmp_path / "left_out.jsonl").read_text(encoding="utf-8").splitlines()) == 2


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_photo_stops_training_with_one_sentence(broken, tokenizer, stream_of, workers):
    corpus = open_corpus([broken], "train", tokenizer, ["stair"], bad_rows=BadRows("skip"))
    batches = stream_of(corpus, sources={"stair": 1}, settings=BatchSettings(batch_size=7, null_photo=0))
    with pytest.raises(ValueError) as caught:
        list(load_batches(batches, drop_last=False, workers=workers))
    assert str(caught.value).startswith(f"{broken}, train, image_id 3: ") and "\n" not in str(caught.value)


def test_a_photo_that_the_cache_lacks_is_hidden(tokenizer):
    cache = FeatureCache(np.ones((3, 1, 4, 8), np.float16), np.ones((3, 1, 8), np.float16), unreadable=[1])
    rows = [Example("stair", "猫", (9, 3), 0, photo) for photo in (0, 1, 2, 1, NO_PHOTO)]
    batch = EpochBatches(rows, cache, BatchSettings(), 2, train=False)[0]
    assert batch["photo_mask"].tolist() == [True, False, True, False, False]
