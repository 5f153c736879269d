"""Texts and photos of all kinds of corpora become the same examples, each with the prompt its origin allows."""

import sys
from pathlib import Path

import datasets
import pytest

from tests.data.made_corpora import POSTS, STAIR, post_rows, stair_rows, write_corpus
from tests.tiny import tiny_tokenizer
from tweetcap.data.examples import NO_PHOTO, open_corpus
from tweetcap.data.starter_photos import build_starter
from tweetcap.data.tables import BadRows, PhotoRow

sys.path.append(str(Path(__file__).parents[2] / "training"))
from draw_shapes import draw_corpus

STARTER = ["casual", "captions", "plain", "witty"]
CARD = "---\nlicense: other\n---\n# Shapes\n"


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        yield


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    draw_corpus(folder, photos_a_kind=8)
    return folder


@pytest.fixture(scope="module")
def stair(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "stair"
    return write_corpus(folder, STAIR, train=stair_rows(12), validation=stair_rows(4, first=50))


@pytest.fixture(scope="module")
def posts(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "posts"
    return write_corpus(folder, POSTS, train=post_rows(10), validation=post_rows(4, first=50))


def test_labels_are_prompt_text_and_end_and_decode_to_the_text(shapes, stair, posts, tokenizer):
    corpus = open_corpus([shapes, stair, posts], "train", tokenizer, [*STARTER, "stair", "posts"])
    prompts = {"casual": 0, "captions": 1, "plain": 2, "witty": 2, "stair": 1, "posts": 1}
    assert set(corpus.examples) == set(prompts)
    for source, examples in corpus.examples.items():
        for example in examples:
            assert (example.source, example.prompt_length) == (source, prompts[source])
            assert example.label_ids[-1] == tokenizer.eos_token_id
            assert tokenizer.decode(example.label_ids[example.prompt_length : -1]) == example.text


def test_a_mixture_has_the_texts_of_each_corpus_with_their_photos(shapes, stair, posts, tokenizer):
    sources = [*STARTER, "stair", "posts"]
    mixed = open_corpus([posts, shapes, stair], "train", tokenizer, sources)
    alone = {
        **open_corpus([shapes], "train", tokenizer, STARTER).examples,
        **open_corpus([stair], "train", tokenizer, ["stair"]).examples,
        **open_corpus([posts], "train", tokenizer, ["posts"]).examples,
    }
    assert {name: len(mixed.examples[name]) for name in sources} == {name: len(alone[name]) for name in sources}
    assert mixed.missing == [] and mixed.starter_folders == [shapes]
    for example in mixed.examples["stair"]:
        assert str(mixed.photos[example.photo]).endswith(f"image_id {example.text.split('番')[0]}")
        assert isinstance(mixed.photos[example.photo], PhotoRow)
    assert all(isinstance(mixed.photos[example.photo], Path) for example in mixed.examples["captions"])
    assert all(example.photo == NO_PHOTO for example in mixed.examples["casual"])


def test_photos_with_several_rows_are_one_photo(tokenizer, tmp_path):
    rows = stair_rows(3)
    features = datasets.Features(
        {"image": datasets.Image(), "image_id": datasets.Value("int64"), "caption": datasets.Value("string")}
    )
    one_a_caption = [
        {"image": row["image"], "image_id": row["image_id"], "caption": caption}
        for row in rows
        for caption in row["captions"]
    ]
    folder = write_corpus(tmp_path / "stair", features, train=one_a_caption, validation=one_a_caption[:1])
    corpus = open_corpus([folder], "train", tokenizer, ["stair"])
    assert len(corpus.examples["stair"]) == 15 and len(corpus.photos) == 3


def test_the_starter_as_parquet_has_the_same_texts_as_its_folder(shapes, tokenizer, tmp_path):
    build_starter(shapes, tmp_path / "parquet", card=CARD)
    sources = ["captions", "plain", "witty"]
    folder, parquet = (open_corpus([each], "train", tokenizer, sources) for each in (shapes, tmp_path / "parquet"))
    for source in sources:
        assert [(e.text, e.label_ids) for e in folder.examples[source]] == [
            (e.text, e.label_ids) for e in parquet.examples[source]
        ]
    assert len(folder.photos) == len(parquet.photos)


def test_validation_has_no_photo_and_no_text_of_train(shapes, tokenizer):
    train, validation = (open_corpus([shapes], split, tokenizer, STARTER) for split in ("train", "validation"))
    assert not set(validation.photos) & set(train.photos)
    assert len(validation.examples["casual"]) == 0
    assert len(validation.examples["plain"]) > 0


def test_what_no_corpus_has_is_said_and_training_goes_on_without_it(shapes, tokenizer, tmp_path):
    for name in ("starter.jsonl", "photos"):
        (tmp_path / name).symlink_to(shapes / name)
    whole, part = (open_corpus([each], "train", tokenizer, STARTER) for each in (shapes, tmp_path))
    assert whole.missing == []
    assert part.missing == ["No corpus has casual_text.txt.gz: train goes on without casual."]
    for source in STARTER[1:]:
        assert list(part.examples[source]) == list(whole.examples[source])
    assert len(part.examples["casual"]) == 0
    posts = open_corpus([shapes], "train", tokenizer, ["plain", "posts"])
    assert posts.missing == ["No corpus has texts of posts: train goes on without posts."]
    with pytest.raises(ValueError, match=r"No corpus has texts of stair, posts for train; name one that has\."):
        open_corpus([shapes], "train", tokenizer, ["stair", "posts"])


def test_a_corpus_that_holds_out_its_own_validation_says_so(tokenizer, tmp_path):
    folder = write_corpus(tmp_path / "posts", POSTS, train=post_rows(60))
    validation = open_corpus([folder], "validation", tokenizer, ["posts"])
    train = open_corpus([folder], "train", tokenizer, ["posts"])
    assert validation.missing == [
        f"{folder} has no validation split: 5% of its train split are kept for it, by ids.",
    ]
    assert len(train.examples["posts"]) + len(validation.examples["posts"]) == 60


def test_a_limit_takes_the_first_rows_of_each_corpus_streamed_or_not(stair, posts, shapes, tokenizer):
    sources = ["stair", "posts", "plain"]
    local, streamed = (
        open_corpus([stair, posts, shapes], "validation", tokenizer, sources, streaming=streaming, limit=3)
        for streaming in (False, True)
    )
    assert streamed.streams == []
    for source in sources:
        assert list(local.examples[source]) == list(streamed.examples[source])
    assert len(local.examples["stair"]) == 15 and len(local.examples["posts"]) == 3
    assert [str(photo) for photo in local.photos] == [str(photo) for photo in streamed.photos]


def test_a_selection_of_examples_is_a_sequence_of_them(shapes, tokenizer):
    examples = open_corpus([shapes], "train", tokenizer, ["plain"]).examples["plain"]
    assert [example.text for example in examples[3:6]] == [examples[place].text for place in (3, 4, 5)]
    assert examples[-1] == list(examples)[-1]
    assert all(example.weight == 1.0 for example in examples)
    with pytest.raises(IndexError):
        examples[len(examples)]


def test_half_of_an_emoji_survives_the_arrays(tokenizer, tmp_path):
    # Parquet can't hold one, but a starter's JSON can.
    draw_corpus(tmp_path, photos_a_kind=8)
    path = tmp_path / "starter.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("がある", "\\ud83d"), encoding="utf-8")
    captions = open_corpus([tmp_path], "train", tokenizer, ["captions"]).examples["captions"]
    assert all(example.text.endswith("\ud83d") for example in captions)


def test_a_bad_row_is_left_out_of_a_corpus_or_ends_it(tokenizer, tmp_path):
    rows = post_rows(4)
    rows[2]["weight"] = float("inf")
    folder = write_corpus(tmp_path / "posts", POSTS, train=rows, validation=post_rows(1, first=9))
    with pytest.raises(ValueError, match=r"media_key 3_2, text 0: The weight inf is no number"):
        open_corpus([folder], "train", tokenizer, ["posts"])
    corpus = open_corpus([folder], "train", tokenizer, ["posts"], bad_rows=BadRows("skip"))
    assert [example.text for example in corpus.examples["posts"]] == [rows[n]["text"] for n in (0, 1, 3)]
    assert len(corpus.photos) == 3
