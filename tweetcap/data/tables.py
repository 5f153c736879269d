"""Parquet corpora with photos in them, from a folder or the Hub: what a row says, and its photo once it is asked for.

What `tweetcap dataset build` writes is known by its columns: STAIR Captions, posts, the starter corpus. A table is read
locally, where `datasets` keeps one memory-mapped copy in its cache and any row is at hand, or as a stream, row by row
and without a copy. Photos stay as the bytes of their files until `load_stored`.
"""

import functools
import hashlib
import itertools
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import httpx2  # what huggingface_hub talks through, and whose errors `datasets` lets pass
import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset, Image, IterableDataset, load_dataset
from datasets.exceptions import DatasetsError
from filelock import FileLock
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

from tweetcap.data.photo import PhotoError, load_photo
from tweetcap.data.shards import LeftOut
from tweetcap.model import CAPTION_TONE, REGISTERS, TONES, TWEET_TONES

HELD_OUT = 0.05  # of a corpus without a validation split
HUB_ID = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


class BadRows:
    """What becomes of rows that can't be used: the first ends everything, or each is written down once and left out.

    Args:
        policy: "stop" or "skip".
        path: JSONL of `name` and `reason`, for "skip". Several processes may share it, and what an earlier run wrote
            isn't written again.
    """

    def __init__(self, policy: Literal["stop", "skip"] = "stop", path: Path | None = None):
        if policy not in ("stop", "skip"):
            raise ValueError(f"bad_rows {policy!r} is unknown; choose stop or skip.")
        self.policy, self.path = policy, path
        self.rows: dict[str, LeftOut] = {}
        self._written: set[str] = set()
        self._read_up_to = 0

    def report(self, row: LeftOut) -> None:
        """Take in a row.

        Raises:
            ValueError: names the row, where the policy is to stop.
        """
        if self.policy == "stop":
            named = row.reason if row.name in row.reason else f"{row.name}: {row.reason}"
            raise ValueError(f"{named.rstrip('.')}; mend it, or go on without such rows by bad_rows: skip.")
        if row.name in self.rows:
            return
        self.rows[row.name] = row
        if self.path is not None:
            with FileLock(f"{self.path}.lock"), self.path.open("a+", encoding="utf-8") as lines:
                lines.seek(self._read_up_to)
                self._written |= {json.loads(line)["name"] for line in lines.read().splitlines()}
                if row.name not in self._written:
                    lines.write(json.dumps(row._asdict(), ensure_ascii=False) + "\n")
                    self._written.add(row.name)
                self._read_up_to = lines.tell()


# --- Photos ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PhotoRow:
    """A photo in a table on the disk; its bytes are read when they are asked for."""

    table: "Table"
    row: int
    key: int | str

    def __str__(self) -> str:
        return self.table.name_of(self.key)

    def read(self) -> bytes | None:
        return (self.table.photos[self.row]["image"] or {}).get("bytes")

    @property
    def version(self) -> str:
        """Another one where the photo may have become another one."""
        return f"{self.table.photos._fingerprint} {self.row}"


@dataclass(frozen=True, slots=True)
class PhotoBytes:
    """A photo that came with a stream."""

    name: str
    data: bytes | None

    def __str__(self) -> str:
        return self.name

    def read(self) -> bytes | None:
        return self.data

    @property
    def version(self) -> str:
        return hashlib.sha256(self.data or b"").hexdigest()


Photo = Path | PhotoRow | PhotoBytes


def load_stored(photo: Photo) -> torch.Tensor:
    """Return a photo's pixels, uint8 (3, height, width).

    Raises:
        PhotoError: names the photo.
    """
    if isinstance(photo, Path):
        return load_photo(photo)
    data = photo.read()
    if not data:
        raise PhotoError(f"{photo} holds no photo, or only its address: build the corpus with the photos in it.")
    try:
        return load_photo(data)
    except PhotoError as error:
        raise PhotoError(f"{photo}: {error}") from None


# --- What a row says ------------------------------------------------------------------------------


class Text(NamedTuple):
    """One text of a row; tone and register are None where they are left open."""

    source: str
    text: str
    tone: str | None
    register: str | None
    weight: float = 1.0


def _fault(text: Text) -> str | None:
    """Return why a text can't be trained on."""
    if not isinstance(text.text, str) or not text.text.strip():
        return "The text is empty."
    if text.tone not in TONES:
        return f"The tone {text.tone!r} is none of {', '.join(TONES)}."
    if text.register not in (None, *REGISTERS):
        return f"The style {text.register!r} is none of {', '.join(REGISTERS)}."
    if not (math.isfinite(text.weight) and text.weight >= 0):
        return f"The weight {text.weight} is no number of 0 or more."
    return None


def _texts_of_stair(row: Mapping[str, Any]) -> Iterator[Text]:
    for caption in (row["captions"] if "captions" in row else [row["caption"]]) or [None]:
        yield Text("stair", caption, CAPTION_TONE, None)


def _texts_of_post(row: Mapping[str, Any]) -> Iterator[Text]:
    # Whether a collected post is plain or witty nobody says: the register is left open.
    weight = row.get("weight")
    yield Text("posts", row["text"], row.get("tone") or TWEET_TONES[0], None, 1.0 if weight is None else weight)


def _texts_of_starter(row: Mapping[str, Any]) -> Iterator[Text]:
    yield Text("captions", row["caption"], CAPTION_TONE, None)
    for tweet in row["tweets"] or ():
        yield Text(tweet["style"], tweet["text"], tweet["tone"], tweet["style"])


@dataclass(frozen=True)
class Kind:
    """A corpus as one of the builders writes it.

    Attributes:
        sources: source → texts of a row, roughly; to foresee an epoch's length.
        columns: of the texts.
        photo_key: the column that says which rows show the same photo.
        group_key: the column whose rows must not be divided between training and validation.
        texts: yields those of a row, unchecked.
    """

    sources: dict[str, int]
    columns: tuple[str, ...]
    photo_key: str
    group_key: str
    texts: Callable[[Mapping[str, Any]], Iterator[Text]] = field(repr=False)


def _kind_of(columns: set[str], name: str) -> Kind:
    if {"image", "image_id"} <= columns and columns & {"captions", "caption"}:
        texts = "captions" if "captions" in columns else "caption"
        return Kind({"stair": 5 if texts == "captions" else 1}, (texts,), "image_id", "image_id", _texts_of_stair)
    if {"image", "post_id", "text"} <= columns:
        more = tuple(column for column in ("tone", "weight") if column in columns)
        key = "media_key" if "media_key" in columns else "post_id"
        return Kind({"posts": 1}, ("text", *more), key, "post_id", _texts_of_post)
    if {"image", "photo_id", "caption", "tweets"} <= columns:
        rows = {"captions": 1, "plain": 5, "witty": 3}
        return Kind(rows, ("caption", "tweets"), "photo_id", "photo_id", _texts_of_starter)
    if "post_id" in columns:
        raise ValueError(f"{name} holds ids of posts without texts and photos; `tweetcap dataset hydrate posts` first.")
    found = ", ".join(sorted(columns))
    raise ValueError(f"{name} has the columns {found}: that is no corpus with photos that `tweetcap dataset` builds.")


def _is_held_out(group: Any) -> bool:
    digest = hashlib.sha256(f"held out {group}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") < HELD_OUT * 2**64


# --- Tables ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Table:
    """One split of one corpus.

    Attributes:
        name: the folder or the Hub id, as it was given.
        split: what was asked for.
        stored_as: the corpus's split that it is, or is a part of.
        held_out: None to take every row, else whether to take those that are held out, or the others.
        dataset: on disk, or a stream; photos aren't decoded.
        photos: its column of photos, on disk; None for a stream.
        rows: of the stored split; None where a stream doesn't say.
    """

    name: str
    split: str
    kind: Kind
    stored_as: str
    held_out: bool | None
    dataset: Dataset | IterableDataset
    photos: Dataset | None
    rows: int | None

    def name_of(self, key: Any) -> str:
        return f"{self.name}, {self.split}, {self.kind.photo_key} {key}"

    def columns(self) -> list[str]:
        return list(dict.fromkeys((*self.kind.columns, self.kind.photo_key, self.kind.group_key)))

    def takes(self, row: Mapping[str, Any]) -> bool:
        return self.held_out is None or _is_held_out(row[self.kind.group_key]) == self.held_out

    def texts(self, row: Mapping[str, Any], sources: Sequence[str], bad_rows: BadRows) -> list[Text]:
        """Return the texts of a row that are of these sources and can be used; the others go to `bad_rows`."""
        good = []
        for number, text in enumerate(self.kind.texts(row)):
            if fault := _fault(text):
                bad_rows.report(LeftOut(f"{self.name_of(row[self.kind.photo_key])}, text {number}", fault))
            elif text.source in sources:
                good.append(text)
        return good

    def read(self, limit: int | None) -> Iterator[tuple[Mapping[str, Any], Photo]]:
        """Yield rows of text columns in order, at most `limit`, and their photos; those of a stream come along."""
        rows = self._local_rows() if self.photos is not None else self.stream(None, 0, with_photos=True)
        yield from itertools.islice(rows, limit)

    def _local_rows(self) -> Iterator[tuple[Mapping[str, Any], PhotoRow]]:
        batches = self.dataset.select_columns(self.columns()).with_format("arrow").iter(1000)
        rows = (row for batch in batches for row in batch.to_pylist())
        for number, row in enumerate(rows):
            if self.takes(row):
                yield row, PhotoRow(self, number, row[self.kind.photo_key])

    def stream(
        self, rng: np.random.Generator | None, shuffle_buffer: int, *, with_photos: bool
    ) -> Iterator[tuple[Mapping[str, Any], PhotoBytes | None]]:
        """Yield the rows of a stream, shuffled through a buffer of so many rows where there is a generator.

        Raises:
            ValueError: the stream broke off, in one sentence.
        """
        rows = self.dataset.select_columns([*self.columns(), "image"]) if with_photos else self._stream_of_texts
        if rng is not None:
            rows = rows.shuffle(generator=rng, buffer_size=shuffle_buffer)
        iterator = iter(rows)
        while True:
            try:
                row = next(iterator, None)
            except _FAILURES as error:
                raise ValueError(
                    f"{self.name}, {self.split} broke off ({_first_line(error)}); run the same command again."
                ) from error
            if row is None:
                return
            if self.takes(row):
                name = self.name_of(row[self.kind.photo_key])
                yield row, PhotoBytes(name, (row["image"] or {}).get("bytes")) if with_photos else None

    @functools.cached_property
    def _stream_of_texts(self) -> IterableDataset:
        # Opened for itself: columns selected later would be read and thrown away, photos and all.
        return _load(self.name, streaming=True, columns=self.columns())[self.stored_as]


# What `datasets`, its file systems and the Hub's client raise for broken files, cards and connections.
_FAILURES = (
    DatasetsError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    httpx2.HTTPError,
    pa.ArrowException,
    OSError,
    ValueError,
)


def _first_line(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error, DatasetsError) and error.__cause__ else error
    text = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {text[0].rstrip('.')}" if text else type(cause).__name__


def open_table(name: str | Path, split: str, *, streaming: bool = False) -> Table | None:
    """Return a split of a corpus, None where it has none.

    A corpus without a validation split gives up a part of its training split: rows chosen by a digest of their photo's
    or post's id, the same ones whenever and however it is opened.

    Args:
        name: a folder, or `ORG/NAME`, `ORG/NAME@revision` on the Hub.
        split: train, validation or test.

    Raises:
        ValueError: in one sentence: there is no such corpus, or it isn't one that can be trained on.
    """
    if Path(name).is_dir() and not any(Path(name).rglob("*.parquet")):
        raise ValueError(f"{name} holds neither starter.jsonl nor Parquet; give a corpus that `tweetcap dataset` made.")
    splits = _load(str(name), streaming=streaming)
    stored_as, held_out = split, None
    if "validation" not in splits and "train" in splits and split in ("train", "validation"):
        stored_as, held_out = "train", split == "validation"
    if stored_as not in splits:
        return None
    dataset = splits[stored_as]
    kind = _kind_of(set(dataset.column_names or ()), str(name))
    if streaming:
        info = (dataset.info.splits or {}).get(stored_as)
        return Table(
            str(name), split, kind, stored_as, held_out, dataset.decode(False), None, info and info.num_examples
        )
    dataset = dataset.cast_column("image", Image(decode=False))
    photos = dataset.select_columns(["image"])
    return Table(str(name), split, kind, stored_as, held_out, dataset, photos, len(dataset))


def _load(name: str, **options: Any) -> Mapping[str, Dataset] | Mapping[str, IterableDataset]:
    here = Path(name).is_dir()
    match = HUB_ID.fullmatch(name)
    if not here and not match:
        raise ValueError(f"{name} is neither a folder nor a dataset on the Hub; give a folder, or ORG/NAME.")
    path, revision = (name, None) if here else (match["name"], match["revision"])
    try:
        # Read locally, the whole corpus becomes one Arrow copy, made once, whichever split is asked for.
        return load_dataset(path, revision=revision, **options)
    except _FAILURES as error:
        where = "can't be read" if here else "is no folder here and can't be had from the Hub"
        raise ValueError(f"{name} {where} ({_first_line(error)}).") from error
