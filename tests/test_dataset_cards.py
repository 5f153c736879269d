"""What is published loads with plain `load_dataset`, and its card says how many rows there are."""

from pathlib import Path

from datasets import load_dataset
from huggingface_hub import DatasetCard

from tweetcap.model import TWEET_TONES

FOLDER = Path(__file__).parents[1] / "dataset_cards" / "animal_tweets_starter"


def test_the_starter_corpus_loads_and_has_the_counts_that_its_card_gives(tmp_path):
    corpus = load_dataset(str(FOLDER), cache_dir=str(tmp_path))
    card = DatasetCard.load(FOLDER / "README.md")
    for split, rows in corpus.items():
        tweets = [tweet for row in rows for tweet in row["tweets"]]
        witty = sum(tweet["style"] == "witty" for tweet in tweets)
        line = f"| {split} | {len(rows):,} | {len(rows):,} | {witty:,} | {len(tweets) - witty:,} |"
        assert line in card.text
        assert {tweet["tone"] for tweet in tweets} == set(TWEET_TONES)
        assert all(row["caption"] and len(row["source"]["sha256"]) == 64 for row in rows)


def test_no_photo_is_in_two_splits(tmp_path):
    sources = [
        {
            row["source"]["sha256"]
            for row in load_dataset("parquet", data_files=str(file), cache_dir=str(tmp_path))["train"]
        }
        for file in FOLDER.glob("*.parquet")
    ]
    assert len(set.union(*sources)) == sum(map(len, sources))
