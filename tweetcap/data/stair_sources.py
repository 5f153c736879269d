"""What STAIR Captions are made of: the authors' releases, COCO's photos, and where a user may have them already.

Kept apart from the builder, since `datasets` swaps `open` and `Path` in a builder's module when it streams.
"""

import functools
import gzip
import hashlib
import json
import os
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import datasets
from datasets import BuilderConfig

from tweetcap.data.coco import CocoIndex, build_index, build_zip_index
from tweetcap.data.download import download
from tweetcap.data.shards import LeftOut

HOMEPAGE = "https://github.com/STAIR-Lab-CIT/STAIR-captions"
SPLITS = ("train", "validation")


@dataclass(frozen=True)
class Remote:
    """A file on the web and what is known of it."""

    url: str
    size: int | None = None
    md5: str | None = None

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


# Sizes as COCO's server gives them; the checksums go round among those who check their copies.
PHOTOS = {
    "train": Remote(
        "http://images.cocodataset.org/zips/train2014.zip", 13_510_573_713, "0da8c0bd3d6becc4dcb32757491aca88"
    ),
    "validation": Remote(
        "http://images.cocodataset.org/zips/val2014.zip", 6_645_013_297, "a3d79f5ed8d289b7a7554ce06a5782b3"
    ),
}
# The authors publish neither sizes nor checksums; a commit names the bytes.
V1_2 = Remote(f"{HOMEPAGE}/raw/b888953f398cb058ab6e6244cf8ccbe4cceb47f4/stair_captions_v1.2.tar.gz")
V1_1 = f"{HOMEPAGE}/raw/deaaa3f5198f9bbedc1c090244e25d8305d3265f/stair_captions_v1.1"
V1_0 = f"{HOMEPAGE}/raw/991f2c4c1168755b5c10ab64174989958223082b/stair_captions_v1.0"
# config → split → (what to download, the JSON file in it)
ANNOTATIONS = {
    "v1.2": {
        "train": (V1_2, "stair_captions_v1.2_train.json"),
        "validation": (V1_2, "stair_captions_v1.2_val.json"),
    },
    "v1.2_tokenized": {
        "train": (V1_2, "stair_captions_v1.2_train_tokenized.json"),
        "validation": (V1_2, "stair_captions_v1.2_val_tokenized.json"),
    },
    "v1.1": {
        "train": (Remote(f"{V1_1}_train.json.tar.gz"), "stair_captions_v1.1_train.json"),
        "validation": (Remote(f"{V1_1}_val.json.tar.gz"), "stair_captions_v1.1_val.json"),
    },
    "v1.0": {
        "train": (Remote(f"{V1_0}_train.json"), "stair_captions_v1.0_train.json"),
        "validation": (Remote(f"{V1_0}_val.json"), "stair_captions_v1.0_val.json"),
    },
}
TOKENIZED = ("v1.2_tokenized", "v1.1")
CHOICES = {
    "name": tuple(ANNOTATIONS),
    "rows": ("image", "caption"),
    "photos": ("embed", "reference"),
    "splits": SPLITS,
}


@dataclass
class StairConfig(BuilderConfig):
    """Which release to take, from where, and what a row is.

    Attributes:
        name: v1.2, v1.2_tokenized, v1.1 or v1.0.
        annotations: the authors' archive or JSON file, or a folder with them; None downloads it.
        images: folders of COCO's photos (2014 or 2017) and zips of them, one or several; None downloads the 2014 zips.
        rows: `image` gives one row an image with all its captions, `caption` one row a caption.
        photos: `embed` stores the JPEG as COCO has it, `reference` its address only and needs no photo.
        splits: which to build.
        limit: only so many images of each split.
        downloads: folder for what is downloaded and for tables made of it; None is in the cache of `datasets`.
    """

    name: str = "v1.2"
    annotations: str | Path | None = None
    images: str | Path | Sequence[str | Path] | None = None
    rows: str = "image"
    photos: str = "embed"
    splits: Sequence[str] = SPLITS
    limit: int | None = None
    downloads: str | Path | None = None

    def check(self) -> None:
        """Raise a ValueError for what makes no sense; `datasets` sets fields behind a constructor's back."""
        given = [("name", self.name), ("rows", self.rows), ("photos", self.photos)]
        for field, value in given + [("splits", split) for split in self.splits]:
            if value not in CHOICES[field]:
                raise ValueError(f"{field} {value!r} is unknown; choose from {', '.join(CHOICES[field])}.")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit is {self.limit}; it must be 1 or more.")
        if self.photos == "reference" and self.images is not None:
            raise ValueError("photos are referred to by their address on COCO's server; leave the images out.")

    @property
    def tokenized(self) -> bool:
        return self.name in TOKENIZED

    @property
    def download_folder(self) -> Path:
        return Path(self.downloads or Path(datasets.config.DOWNLOADED_DATASETS_PATH, "stair_captions"))

    @property
    def image_paths(self) -> list[Path]:
        given = self.images
        return [Path(path).expanduser() for path in ([given] if isinstance(given, str | os.PathLike) else given or [])]


@dataclass(frozen=True)
class Source:
    """Where a split's rows come from; picklable, since worker processes read their own.

    Attributes:
        index: the captions as a table.
        folders: where photos lie.
        zip_index: where photos lie in zips.
        embed: False refers to the photos by address.
    """

    index: Path
    folders: list[Path]
    zip_index: Path | None
    embed: bool

    def count(self, limit: int | None) -> int:
        images = len(CocoIndex(self.index))
        return images if limit is None else min(limit, images)

    def problems(self) -> list[LeftOut]:
        return [LeftOut(*problem) for problem in CocoIndex(self.index).problems()]


def prepare_sources(config: StairConfig) -> dict[str, Source]:
    """Find or download what the splits are made of, and turn it into tables.

    Raises:
        ValueError: as `build_stair`.
    """
    config.check()
    folders = [path for path in config.image_paths if path.is_dir()]
    zips = [*(path for path in config.image_paths if path.is_file()), *_zips_in(folders)]
    for path in config.image_paths:
        if not path.exists():
            raise ValueError(f"{path} does not exist; name a folder of COCO's photos or a zip of them.")
    # Captions first: what is wrong with them shows before 19 GB are on their way.
    indexes = {split: _caption_index(config, split) for split in config.splits}
    if config.photos == "embed" and config.images is None:
        zips = [_fetch(PHOTOS[split], config.download_folder) for split in config.splits]
    zip_index = _zip_index(config, zips) if zips else None
    embed = config.photos == "embed"
    return {split: Source(index, folders, zip_index, embed) for split, index in indexes.items()}


def _zips_in(folders: list[Path]) -> list[Path]:
    names = [remote.name for remote in PHOTOS.values()] + ["train2017.zip", "val2017.zip"]
    return [folder / name for folder in folders for name in names if (folder / name).is_file()]


def _fetch(remote: Remote, folder: Path) -> Path:
    return download(remote.url, folder / remote.name, size=remote.size, md5=remote.md5)


def _caption_index(config: StairConfig, split: str) -> Path:
    remote, member = ANNOTATIONS[config.name][split]
    if config.annotations is None:
        path = _fetch(remote, config.download_folder)
    else:
        path = _find_annotations(Path(config.annotations).expanduser(), remote, member)
    digest = hashlib.sha256(f"1 {member} {_sha256(path)}".encode()).hexdigest()[:16]
    index = config.download_folder / f"{config.name}-{split}-{digest}.sqlite3"
    try:
        build_index(index, functools.partial(_open_annotations, path, member))
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error
    return index


def _find_annotations(given: Path, remote: Remote, member: str) -> Path:
    """Return the JSON file or the archive that holds a split's captions."""
    if given.is_file():
        if given.suffix == ".json" and given.name != member:
            raise ValueError(f"{given} is not {member}; name the folder that holds it or choose other splits.")
        return given
    if not given.exists():
        raise ValueError(f"{given} does not exist; name the folder or file of STAIR Captions.")
    archive = Path(member).stem.rsplit("_train", 1)[0].rsplit("_val", 1)[0]
    places = [given / member, given / archive / member, given / "annotations" / member, given / remote.name]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ValueError(f"{given} has neither {member} nor {remote.name}; name the folder or file of STAIR Captions.")
    return found


@contextmanager
def _open_annotations(path: Path, member: str) -> Iterator[BinaryIO]:
    """Open a JSON file as bytes, or the member of that name of a tar archive, wherever in it that lies."""
    with path.open("rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
    if not is_packed:
        with path.open("rb") as file:
            yield file
        return
    try:
        with tarfile.open(path, "r:gz") as archive:
            # macOS adds a `._name` to every name, which is no JSON.
            found = next((entry for entry in archive if entry.isfile() and Path(entry.name).name == member), None)
            if found is None:
                raise ValueError(f"has no {member}; is it the archive of this release?")
            yield archive.extractfile(found)
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"is not a whole tar.gz ({error}); download it again") from error


def _zip_index(config: StairConfig, zips: list[Path]) -> Path:
    known = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in zips]
    digest = hashlib.sha256(json.dumps([1, known]).encode()).hexdigest()[:16]
    index = config.download_folder / f"zips-{digest}.sqlite3"
    build_zip_index(index, [path.resolve() for path in zips])
    return index


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
