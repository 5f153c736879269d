"""Each card is one that the Hub takes and a reader can use, and what is published loads and is what its card says."""

import re
from pathlib import Path

import pytest
from datasets import Features, Value, load_dataset
from huggingface_hub import DatasetCard

from tests.data.coco_tree import make_tree
from tweetcap.data.publish import check_folder, read_card
from tweetcap.data.shards import write_shards
from tweetcap.data.stair import StairConfig, build_stair, stair_features
from tweetcap.data.stair_sources import ANNOTATIONS, PHOTOS
from tweetcap.model import TWEET_TONES

CARDS = Path(__file__).parents[1] / "dataset_cards"
STARTER = CARDS / "animal_tweets_starter"
NAMES = sorted(path.parent.name for path in CARDS.glob("*/README.md"))
# What a card must speak of, by words of its headings.
SECTIONS = ("field", "photo|how to build|rebuild|read it|hydrate", "personal data", "licen|terms|allows")


def headings(card: DatasetCard) -> list[str]:
    return [line.lstrip("# ").lower() for line in card.text.splitlines() if line.startswith("#")]


def test_every_corpus_has_a_card():
    assert {"animal_tweets", "animal_tweets_starter", "stair_captions"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_has_all_that_the_hub_and_a_reader_need(name):
    card = read_card(CARDS / name / "README.md")
    assert card.data.language == ["ja"]
    assert re.fullmatch(r"[a-z0-9.-]+", card.data.license)
    splits = {entry["split"] for config in card.data["configs"] for entry in config["data_files"]}
    assert {"train", "validation"} <= splits <= {"train", "validation", "test"}
    for section in SECTIONS:
        assert any(re.search(section, heading) for heading in headings(card)), section
    assert "```sh" in card.text  # how to build it


@pytest.mark.parametrize("name", NAMES)
def test_a_card_stays_a_card_when_a_dataset_is_built_under_it(name, tmp_path):
    card = (CARDS / name / "README.md").read_text(encoding="utf-8")

    def read_rows(numbers):
        for number in numbers:
            yield {"number": number}

    splits = {"train": range(3), "validation": range(2)}
    write_shards(tmp_path / "out", splits, read_rows, Features({"number": Value("int64")}), settings={}, card=card)
    before, after = DatasetCard(card), check_folder(tmp_path / "out")
    assert after.text.strip() == before.text.strip()
    for field in ("license", "pretty_name", "tags", "task_categories"):
        assert after.data.get(field) == before.data.get(field)
    assert len(load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))["validation"]) == 2


def test_the_starter_corpus_loads_and_has_the_counts_that_its_card_gives(tmp_path):
    corpus = load_dataset(str(STARTER), cache_dir=str(tmp_path))
    card = DatasetCard.load(STARTER / "README.md")
    for split, rows in corpus.items():
        tweets = [tweet for row in rows for tweet in row["tweets"]]
        witty = sum(tweet["style"] == "witty" for tweet in tweets)
        line = f"| {split} | {len(rows):,} | {len(rows):,} | {witty:,} | {len(tweets) - witty:,} |"
        assert line in card.text
        assert {tweet["tone"] for tweet in tweets} == set(TWEET_TONES)
        assert all(row["caption"] and len(row["source"]["sha256"]) == 64 for row in rows)


def test_the_starters_card_names_every_source_with_its_photos(tmp_path):
    corpus = load_dataset(str(STARTER), cache_dir=str(tmp_path))
    card = DatasetCard.load(STARTER / "README.md")
    repositories = [row["source"]["repository"] for rows in corpus.values() for row in rows]
    for name in set(repositories):
        assert f"| [{name}](https://github.com/{name}) | {repositories.count(name):,} |" in card.text


def test_the_starter_streams_the_rows_that_it_loads(tmp_path):
    whole = load_dataset(str(STARTER), cache_dir=str(tmp_path))["test"]
    streamed = load_dataset(str(STARTER), streaming=True)["test"]
    assert list(streamed) == list(whole)


def test_no_photo_is_in_two_splits(tmp_path):
    sources = [
        {
            row["source"]["sha256"]
            for row in load_dataset("parquet", data_files=str(file), cache_dir=str(tmp_path))["train"]
        }
        for file in STARTER.glob("*.parquet")
    ]
    assert len(set.union(*sources)) == sum(map(len, sources))


def test_stairs_card_names_every_field_release_and_size():
    text = DatasetCard.load(CARDS / "stair_captions" / "README.md").text
    for config in ANNOTATIONS:
        assert f"| `{config}` |" in text
        for rows in ("image", "caption"):
            assert all(f"`{name}`" in text for name in stair_features(StairConfig(name=config, rows=rows)))
    assert all(f"{remote.size:,}" in text for remote in PHOTOS.values())


def test_stair_built_under_its_card_loads_and_may_be_published(tmp_path):
    tree = make_tree(tmp_path / "coco", 3, 2)
    config = StairConfig(annotations=tree / "captions", images=tree / "images", downloads=tmp_path / "downloads")
    card = (CARDS / "stair_captions" / "README.md").read_text(encoding="utf-8")
    build_stair(tmp_path / "out", config, card=card)
    check_folder(tmp_path / "out")
    corpus = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in corpus.items()} == {"train": 3, "validation": 2}
