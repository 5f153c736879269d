"""Bring the starter corpus's photos back from the public repositories that hold them, and build a dataset of both.

The published texts say of each photo where it lies on GitHub, at which commit, and the SHA-256 of that file.
`hydrate_starter` fetches and checks them, and writes a corpus folder as `tweetcap.data.starter` and training read it:

    starter.jsonl      the texts whose photo was had
    photos/p0000.jpg
    missing.jsonl      the others, with the reason

A photo is there whole or not at all, so a cut run goes on where it was; what could not be had is tried again.
"""

import hashlib
import json
import os
import queue
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pyarrow.parquet as pq
import torch
from datasets import Features, Image, List, Value
from huggingface_hub import DatasetCard
from torchvision.io import encode_jpeg
from torchvision.transforms.v2.functional import InterpolationMode, resize
from tqdm import tqdm

from tweetcap.data.download import DownloadError, download
from tweetcap.data.photo import MAX_BYTES, load_photo
from tweetcap.data.shards import Built, LeftOut, Row, write_shards
from tweetcap.data.starter import SPLITS, STARTER, read_starter

SOURCE_URL = "https://raw.githubusercontent.com/{repository}/{commit}/{path}"
LFS_URL = "https://media.githubusercontent.com/media/{repository}/{commit}/{path}"
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
# The embedded checkpoint was trained on photos of this size; its network sees 260 pixels.
LONGEST_SIDE = 360
JPEG_QUALITY = 90
TIMEOUT = httpx.Timeout(20.0, connect=10.0)
SECONDS_A_PHOTO = 120.0
ATTEMPTS = 3
PHOTOS, MISSING, SETTINGS = "photos", "missing.jsonl", ".hydrate.json"
COLUMNS = ("photo_id", "species", "caption", "tweets", "source")
SOURCE = ("repository", "commit", "path", "sha256")


@dataclass(frozen=True)
class Hydrated:
    """What a run came to.

    Attributes:
        photos: in the folder now.
        fetched: of these, by this run.
        missing: reason → how many.
        first_missing: photo id and reason of the first few.
    """

    folder: Path
    photos: int
    fetched: int
    missing: dict[str, int]
    first_missing: list[tuple[str, str]]


def hydrate_starter(
    texts: str | Path,
    folder: str | Path,
    *,
    source_url: str = SOURCE_URL,
    lfs_url: str = LFS_URL,
    longest_side: int = LONGEST_SIDE,
    at_once: int = 8,
    say: Callable[[str], None] | None = None,
) -> Hydrated:
    """Fetch the photos that belong to the published texts, and write the corpus folder.

    Args:
        texts: folder with train.parquet, validation.parquet and test.parquet.
        source_url: where a photo lies; `{repository}`, `{commit}` and `{path}` are filled in.
        lfs_url: where it lies if the first address answers with a Git LFS pointer.
        longest_side: in pixels; larger photos are shrunk, 0 keeps every file as it is.
        at_once: connections.
        say: told why a download waits.

    Raises:
        ValueError: the texts can't be read, or the folder was hydrated with another `longest_side`.
    """
    folder = Path(folder)
    for template in (source_url, lfs_url):
        if "{path}" not in template:
            raise ValueError(f"{template} has no {{path}} in it; such as {SOURCE_URL}.")
    rows = read_texts(texts)
    _settle(folder, {"longest_side": longest_side})
    there = {path.stem: path.name for path in (folder / PHOTOS).iterdir() if path.suffix in SUFFIXES.values()}
    to_do = [row for row in rows if row["photo_id"] not in there]
    reasons: dict[str, str] = {}
    with (
        httpx.Client(timeout=TIMEOUT, follow_redirects=True) as client,
        tqdm(total=len(rows), initial=len(rows) - len(to_do), unit="photo", disable=None) as bar,
    ):
        urls = (source_url, lfs_url)
        fetch = PhotoFetcher(folder, urls, longest_side, client, say)
        for row, (name, reason) in in_threads(fetch, to_do, at_once):
            if name is None:
                reasons[row["photo_id"]] = reason
            else:
                there[row["photo_id"]] = name
            bar.update()
    _write_rows(
        folder / STARTER,
        ({"photo": f"{PHOTOS}/{there[row['photo_id']]}", **row} for row in rows if row["photo_id"] in there),
    )
    missing = [row | {"reason": reasons[row["photo_id"]]} for row in rows if row["photo_id"] not in there]
    _write_rows(folder / MISSING, missing)
    if not missing:
        (folder / MISSING).unlink()
    return Hydrated(
        folder=folder,
        photos=len(rows) - len(missing),
        fetched=len(to_do) - len(missing),
        missing=dict(Counter(row["reason"] for row in missing)),
        first_missing=[(row["photo_id"], row["reason"]) for row in missing[:5]],
    )


def read_texts(folder: str | Path) -> list[Row]:
    """Return the published rows of all splits, each with its split.

    Raises:
        ValueError: a file is missing, isn't Parquet, or isn't of the starter corpus.
    """
    rows = []
    for split in SPLITS:
        path = Path(folder) / f"{split}.parquet"
        if not path.is_file():
            raise ValueError(f"{folder} has no {path.name}; name the folder of the starter corpus's texts.")
        try:
            table = pq.read_table(path, columns=list(COLUMNS))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} is not the starter corpus's ({error}).") from error
        rows += [row | {"split": split} for row in table.to_pylist()]
    names = Counter(row["photo_id"] for row in rows)
    for row in rows:
        # The id becomes a file's name.
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", row["photo_id"] or "") or names[row["photo_id"]] > 1:
            raise ValueError(f"{folder} has the photo_id {row['photo_id']!r}, which names no photo of its own.")
        if not all((row["source"] or {}).get(name) for name in SOURCE):
            raise ValueError(f"{folder} doesn't say where the photo {row['photo_id']} lies; fetch the texts again.")
    return rows


def _settle(folder: Path, settings: dict[str, Any]) -> None:
    """Make the folder, or see that it was made with the same settings."""
    record = folder / SETTINGS
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; name a folder for the corpus.")
    if folder.is_dir() and any(folder.iterdir()) and not record.exists():
        raise ValueError(f"{folder} holds files that were not hydrated here; choose a new folder.")
    (folder / PHOTOS).mkdir(parents=True, exist_ok=True)
    if record.exists():
        try:
            earlier = json.loads(record.read_text(encoding="utf-8"))
        except ValueError:
            earlier = {}
        for name, value in settings.items():
            if earlier.get(name) != value:
                option = "--" + name.replace("_", "-")
                raise ValueError(
                    f"{folder} was hydrated with {option} {earlier.get(name)} and not {value}; choose another folder."
                )
    record.write_text(json.dumps(settings), encoding="utf-8")


def _write_rows(path: Path, rows: Iterable[Row]) -> None:
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as lines:
        for row in rows:
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
    partial.replace(path)


# --- One photo ------------------------------------------------------------------------------------

SUFFIXES = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"RIFF": ".webp", b"GIF8": ".gif"}


@dataclass(frozen=True)
class PhotoFetcher:
    """Fetches one row's photo into the folder; returns (file name, None) or (None, reason)."""

    folder: Path
    urls: tuple[str, str]
    longest_side: int
    client: httpx.Client
    say: Callable[[str], None] | None

    def __call__(self, row: Row) -> tuple[str | None, str | None]:
        source = row["source"]
        original = self.folder / PHOTOS / f"{row['photo_id']}.original"
        try:
            data = self._download(self.urls[0], source, original)
            if data.startswith(LFS_POINTER):
                data = self._download(self.urls[1], source, original)
            if hashlib.sha256(data).hexdigest() != source["sha256"]:
                return None, "changed: the file there has another SHA-256"
            name, stored = _shrink(row["photo_id"], data, self.longest_side)
        except DownloadError as error:
            return None, f"gone ({error.status})" if error.status in (403, 404, 410, 451) else _without_url(error)
        except (ValueError, OSError) as error:
            return None, f"can't be used: {error}"
        partial = self.folder / PHOTOS / f"{name}.partial"
        partial.write_bytes(stored)
        partial.replace(self.folder / PHOTOS / name)
        return name, None

    def _download(self, template: str, source: dict[str, str], path: Path) -> bytes:
        url = template
        for name in SOURCE[:3]:
            url = url.replace(f"{{{name}}}", quote(source[name]))
        options = {"say": self.say} if self.say else {}
        download(
            url,
            path,
            limit=MAX_BYTES,
            seconds=SECONDS_A_PHOTO,
            attempts=ATTEMPTS,
            client=self.client,
            progress=False,
            **options,
        )
        data = path.read_bytes()
        path.unlink()
        return data


def _without_url(error: DownloadError) -> str:
    """Return the reason alone, so that the same fault of many photos is counted as one."""
    return str(error).split(" ", 1)[-1].split(";")[0].rstrip(".")


def _shrink(photo_id: str, data: bytes, longest_side: int) -> tuple[str, bytes]:
    """Return the file's name and bytes; a JPEG that is small enough stays byte for byte what it was."""
    suffix = next((suffix for magic, suffix in SUFFIXES.items() if data.startswith(magic)), None)
    if not longest_side and suffix:
        return photo_id + suffix, data
    photo = load_photo(data)  # (3, height, width)
    height, width = photo.shape[1:]
    if max(height, width) > longest_side > 0:
        scale = longest_side / max(height, width)
        size = [max(1, round(height * scale)), max(1, round(width * scale))]
        photo = resize(photo, size, interpolation=InterpolationMode.BICUBIC, antialias=True)
    elif suffix == ".jpg":
        return f"{photo_id}.jpg", data
    return f"{photo_id}.jpg", encode_jpeg(photo.to(torch.uint8), quality=JPEG_QUALITY).numpy().tobytes()


def in_threads(work: Callable[[Row], Any], items: Sequence[Row], count: int) -> Iterator[tuple[Row, Any]]:
    """Yield (item, result) as results come; whoever stops listening stops the work.

    The threads are daemons: a process that was told to stop doesn't wait for a server that is silent.
    """
    waiting: queue.SimpleQueue[Row] = queue.SimpleQueue()
    results: queue.SimpleQueue[tuple[Row, Any]] = queue.SimpleQueue()
    for item in items:
        waiting.put(item)
    stopped = threading.Event()

    def run() -> None:
        while not stopped.is_set():
            try:
                item = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                results.put((item, work(item)))
            except BaseException as error:
                results.put((item, error))

    for _ in range(min(count, len(items))):
        threading.Thread(target=run, daemon=True).start()
    try:
        for _ in items:
            item, result = results.get()
            if isinstance(result, BaseException):
                raise result
            yield item, result
    finally:
        stopped.set()


# --- A dataset with the photos in it --------------------------------------------------------------

STARTER_FEATURES = Features(
    {
        "photo_id": Value("string"),
        "image": Image(),
        "species": Value("string"),
        "caption": Value("string"),
        "tweets": List({"tone": Value("string"), "style": Value("string"), "text": Value("string")}),
        "source": {name: Value("string") for name in SOURCE},
    }
)
WITH_PHOTOS = """

## This copy

It was built with `tweetcap dataset build starter` from a hydrated corpus and holds the photos in the column `image`.
The photos stay under their owners' terms: use it yourself, and publish the texts alone.
"""


def build_starter(
    corpus: str | Path, output: str | Path, *, card: str, num_proc: int = 1, overwrite: bool = False
) -> Built:
    """Write a corpus folder as Parquet with the photos in it.

    Args:
        corpus: folder with starter.jsonl and photos/, such as `hydrate_starter` makes.
        output, card, num_proc, overwrite: as `write_shards`; the card is marked as one not to publish.

    Raises:
        ValueError: the corpus can't be read, or `output` is something else's.
    """
    corpus = Path(corpus)
    photos = {split: read_starter(corpus, split) for split in SPLITS}
    with (corpus / STARTER).open(encoding="utf-8") as lines:
        sources = {row["photo_id"]: row.get("source") for row in map(json.loads, filter(str.strip, lines))}
    splits = {
        split: [
            {
                "photo_id": photo.photo_id,
                "image": str(photo.path),
                "species": photo.species,
                "caption": photo.caption,
                "tweets": [tweet._asdict() for tweet in photo.tweets],
                "source": sources[photo.photo_id],
            }
            for photo in of_split
        ]
        for split, of_split in photos.items()
    }
    marked = DatasetCard(card)
    marked.data["tweetcap"] = {"content": "photos"}
    marked.text = marked.text.rstrip() + WITH_PHOTOS
    return write_shards(
        output,
        splits,
        read_starter_rows,
        STARTER_FEATURES,
        settings={"corpus": os.path.abspath(corpus)},
        card=str(marked),
        num_proc=num_proc,
        overwrite=overwrite,
    )


def read_starter_rows(items: Sequence[Row]) -> Iterator[Row | LeftOut]:
    """Yield the rows with the photos' bytes in place of their paths."""
    for item in items:
        try:
            data = Path(item["image"]).read_bytes()
        except OSError as error:
            yield LeftOut(item["image"], f"can't be read ({error.strerror})")
            continue
        yield item | {"image": {"bytes": data, "path": None}}
