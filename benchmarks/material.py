"""What the benchmarks work on, made anew for each run: photos of a lion, a folder of them, a corpus to train on."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torchvision.io import ImageReadMode, decode_image, encode_jpeg
from torchvision.transforms.v2 import functional as tvf
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
TEXTS = ROOT / "dataset_cards" / "animal_tweets_starter" / "train.parquet"
HEIGHT, WIDTH, QUALITY = 480, 640, 90
NAMES = ("lion.jpg", "cheetah.jpg", "cheetah1.jpg")  # come with gradio


def lions(count: int) -> list[bytes]:
    """Return the lion as `count` different JPEGs of 640 × 480, so that nobody can know one by heart."""
    return list(_variants(count, NAMES[:1]))


def write_folder(folder: Path, count: int) -> None:
    """Write `count` different photos of animals, 640 × 480."""
    folder.mkdir(parents=True)
    for number, data in enumerate(tqdm(_variants(count, NAMES), "photos", count, unit="photo", disable=None)):
        (folder / f"{number:05d}.jpg").write_bytes(data)


def _variants(count: int, names: tuple[str, ...]) -> Iterator[bytes]:
    """Yield crops of photos, mirrored or not, a little lighter or darker; the same ones each time."""
    (package,) = find_spec("gradio").submodule_search_locations  # importing gradio would take seconds and memory
    images = Path(package) / "media_assets" / "images"
    photos = [decode_image(str(images / name), ImageReadMode.RGB) for name in names]
    rng = np.random.default_rng(0)
    for number in range(count):
        photo = photos[number % len(photos)]
        height, width = (int(side * rng.uniform(0.85, 1.0)) for side in photo.shape[1:])
        top, left = (
            int(rng.integers(0, whole - part + 1)) for whole, part in zip(photo.shape[1:], (height, width), strict=True)
        )
        photo = tvf.resized_crop(photo, top, left, height, width, [HEIGHT, WIDTH], antialias=True)
        if rng.random() < 0.5:
            photo = tvf.horizontal_flip(photo)
        photo = tvf.adjust_brightness(photo, rng.uniform(0.8, 1.2))
        yield encode_jpeg(photo, QUALITY).numpy().tobytes()


def write_corpus(folder: Path, photos: int) -> int:
    """Write a starter corpus of made photos with texts of the project's own; return the number of training texts."""
    import pyarrow.parquet

    write_folder(folder / "photos", photos)
    texts = pyarrow.parquet.read_table(TEXTS, columns=["species", "caption", "tweets"]).slice(0, photos).to_pylist()
    rows = [
        {
            "photo_id": f"m{number}",
            "photo": f"photos/{number:05d}.jpg",
            "split": "train" if number % 8 else "validation",
            **row,
        }
        for number, row in enumerate(texts)
    ]
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "starter.jsonl").write_text("".join(lines), encoding="utf-8")
    return sum(1 + len(row["tweets"]) for row in rows if row["split"] == "train")


def reference_kernel() -> torch.Tensor:
    """Do a fixed piece of what networks are made of: multiply matrices, read memory; by it processors are compared."""
    matrix = torch.ones(1024, 1024)
    for _ in range(4):
        matrix = matrix @ matrix / 1024
    return matrix.sum() + torch.ones(2**23).sum()
