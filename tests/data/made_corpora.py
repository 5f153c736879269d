"""Small Parquet corpora with drawn photos, written as the builders write theirs."""

import io
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets import Features, Image, List, Value
from PIL import Image as Pillow

from tweetcap.data.shards import write_shards

# After each stream of several shards `datasets` sleeps 5 s, for threads that read from far away to end.
datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN = 0.1

CARD = "---\nlicense: other\n---\n# A made corpus\n"
ANIMALS = ("猫", "犬", "ライオン")
STAIR = Features({"image": Image(), "image_id": Value("int64"), "captions": List(Value("string"))})
POSTS = Features(
    {
        "image": Image(),
        "text": Value("string"),
        "tone": Value("string"),
        "weight": Value("float32"),
        "post_id": Value("string"),
        "media_key": Value("string"),
    }
)


def draw(number: int) -> bytes:
    """Return a JPEG of coloured patches, another one for each number."""
    patches = np.random.default_rng(number).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Pillow.fromarray(patches.repeat(20, 0).repeat(20, 1)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def stair_rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "image": {"bytes": draw(number), "path": None},
            "image_id": number,
            "captions": [f"{number}番の{ANIMALS[number % 3]}が{'とても' * nth}寝ている" for nth in range(5)],
        }
        for number in range(first, first + count)
    ]


def post_rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "image": {"bytes": draw(1000 + number), "path": None},
            "text": f"うちの{ANIMALS[number % 3]}{number}号、{'元気' * (number % 4 + 1)}すぎる😂",
            "tone": ("ツッコミ", None)[number % 2],
            "weight": 0.5 + number % 5 / 4,
            "post_id": str(9_000_000 + number),
            "media_key": f"3_{number}",
        }
        for number in range(first, first + count)
    ]


def pass_on(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return rows


def write_corpus(folder: Path, features: Features, rows_per_shard: int = 8, **splits: list[dict[str, Any]]) -> Path:
    """Write a dataset folder of these splits."""
    write_shards(folder, splits, pass_on, features, settings={}, card=CARD, rows_per_shard=rows_per_shard)
    return folder
