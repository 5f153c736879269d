"""Make a COCO tree with STAIR-like captions: photos of two sizes, in a folder or in zips, and the authors' JSON files.

python -m tests.data.coco_tree FOLDER --images 20000 --zipped
"""

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

RELEASES = {"train": "train2014", "val": "val2014"}
LICENSES = [
    {"id": 1, "name": "Attribution License", "url": "http://example.com/by/"},
    {"id": 2, "name": "Attribution-NonCommercial License", "url": "http://example.com/by-nc/"},
]


def make_photo(width: int, height: int, *, detail: float = 24.0, seed: int = 0) -> bytes:
    """Return a JPEG of soft shapes and noise; at 640 × 480 and full detail it has as many bytes as COCO's have."""
    noise = np.random.default_rng(seed)
    coarse = Image.fromarray(noise.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)
    grain = noise.normal(0, detail, (height, width, 1))
    photo = io.BytesIO()
    Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(photo, "jpeg", quality=90)
    return photo.getvalue()


def captions_json(split: str, numbers: range, *, version: str, tokenized: bool) -> dict:
    """Return what a STAIR Captions file holds for these image ids: five captions each, annotations not in order."""
    release = RELEASES[split]
    images = [
        {
            "id": number,
            "file_name": f"COCO_{release}_{number:012d}.jpg",
            "width": 640 if number % 2 else 480,
            "height": 480 if number % 2 else 640,
            "license": 1 + number % 2,
            "flickr_url": f"http://farm1.staticflickr.com/{number}.jpg",
            "coco_url": f"http://mscoco.org/images/{number}",
            "date_captured": "2013-11-14 17:02:52",
        }
        for number in numbers
    ]
    annotations = [
        {"id": 10 * number + nth, "image_id": number, "caption": f"{number}番の犬が{nth}回走っている"}
        | ({"tokenized_caption": f"{number} 番 の 犬 が {nth} 回 走っ て いる"} if tokenized else {})
        for nth in range(5)
        for number in numbers
    ]
    info = {"version": version, "description": "a made stand-in"}
    return {"info": info, "images": images, "licenses": LICENSES, "annotations": annotations}


def make_tree(
    folder: Path, train: int, val: int, *, zipped: bool = False, detail: float = 2.0, scale: float = 0.1
) -> Path:
    """Write photos under `folder/images` and v1.2 captions under `folder/captions`; return the folder.

    Args:
        zipped: put the photos into train2014.zip and val2014.zip, the captions into the authors' tar.gz.
        detail, scale: of the photos; 24 and 1 make them as heavy as COCO's.
    """
    wide, high = round(640 * scale), round(480 * scale)
    photos = [make_photo(high, wide, detail=detail), make_photo(wide, high, detail=detail, seed=1)]
    (folder / "images").mkdir(parents=True)
    (folder / "captions").mkdir()
    numbers = {"train": range(1, train + 1), "val": range(train + 1, train + val + 1)}
    for split, release in RELEASES.items():
        names = [(f"COCO_{release}_{number:012d}.jpg", photos[number % 2]) for number in numbers[split]]
        if zipped:
            with zipfile.ZipFile(folder / "images" / f"{release}.zip", "w") as archive:
                for name, photo in names:
                    archive.writestr(f"{release}/{name}", photo)
        else:
            (folder / "images" / release).mkdir()
            for name, photo in names:
                (folder / "images" / release / name).write_bytes(photo)
    files = {
        f"stair_captions_v1.2_{split}{ending}.json": captions_json(
            split, numbers[split], version="1.2", tokenized=bool(ending)
        )
        for split in RELEASES
        for ending in ("", "_tokenized")
    }
    texts = {name: json.dumps(content, ensure_ascii=False).encode() for name, content in files.items()}
    if zipped:
        with tarfile.open(folder / "captions" / "stair_captions_v1.2.tar.gz", "w:gz") as archive:
            for name, text in texts.items():
                for path, content in ((f"._{name}", b"\0\5\x16\7"), (name, text)):
                    entry = tarfile.TarInfo(path)
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))
    else:
        for name, text in texts.items():
            (folder / "captions" / name).write_bytes(text)
    return folder


def main(
    folder: Path, images: Annotated[int, typer.Option()] = 20_000, zipped: Annotated[bool, typer.Option()] = False
) -> None:
    make_tree(folder, images * 2 // 3, images - images * 2 // 3, zipped=zipped, detail=24.0, scale=1.0)


if __name__ == "__main__":
    typer.run(main)
