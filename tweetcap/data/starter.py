"""Read the starter corpus: photos with a caption and tweets, captions by people, and text without photos.

A folder holds `starter.jsonl` and `photos/`, and for training also `human_captions.jsonl`,
`unpaired_captions.jsonl` and `casual_text.txt.gz`. What belongs to a photo is read one split at a time, so
that no caption of a validation or test photo reaches training; unpaired captions are of other photos.
"""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

SPLITS = ("train", "validation", "test")
STARTER, HUMAN, UNPAIRED, CASUAL = (
    "starter.jsonl",
    "human_captions.jsonl",
    "unpaired_captions.jsonl",
    "casual_text.txt.gz",
)


class ReferenceTweet(NamedTuple):
    """One tweet of the corpus; style is plain (everyday idioms) or witty (a one-off joke)."""

    tone: str
    style: str
    text: str


@dataclass(frozen=True)
class StarterPhoto:
    """One photo of the starter corpus and all that was written about it.

    Attributes:
        species: the main animal in Japanese, なし where there is none.
        caption: the project's own factual caption.
        captions: that caption and those by people of the same photo, each once.
    """

    photo_id: str
    path: Path
    split: str
    species: str
    caption: str
    captions: tuple[str, ...]
    tweets: tuple[ReferenceTweet, ...]


@dataclass(frozen=True)
class CaptionedPhoto:
    """One photo with captions by people; no tweets."""

    photo_id: str
    path: Path
    split: str
    captions: tuple[str, ...]


def read_starter(folder: str | Path, split: str) -> list[StarterPhoto]:
    """Return the starter's photos of one split, in the file's order.

    Raises:
        ValueError: the folder isn't a corpus, the split is unknown or empty, or a line is broken.
    """
    folder = Path(folder)
    # The captions by people are a bonus: a corpus may come without them.
    by_people = read_human_captions(folder, split) if (folder / HUMAN).is_file() else []
    captions_by_people = {photo.photo_id: photo.captions for photo in by_people}
    return [
        StarterPhoto(
            photo_id=row["photo_id"],
            path=_photo_path(folder, row),
            split=split,
            species=row["species"],
            caption=row["caption"],
            captions=tuple(dict.fromkeys((row["caption"], *captions_by_people.get(row["photo_id"], ())))),
            tweets=tuple(ReferenceTweet(t["tone"], t["style"], t["text"]) for t in row["tweets"]),
        )
        for row in _rows_of_split(folder / STARTER, split, ("photo_id", "species", "caption", "tweets"))
    ]


def read_human_captions(folder: str | Path, split: str) -> list[CaptionedPhoto]:
    """Return the photos of one split that people captioned, in the file's order.

    Some of them are starter photos too; then `read_starter` gives the same captions.

    Raises:
        ValueError: as `read_starter`.
    """
    folder = Path(folder)
    return [
        CaptionedPhoto(row["photo_id"], _photo_path(folder, row), split, tuple(row["captions"]))
        for row in _rows_of_split(folder / HUMAN, split, ("photo_id", "captions"))
    ]


def read_unpaired(folder: str | Path) -> list[str]:
    """Return captions of photos that are not in the corpus.

    Raises:
        ValueError: the folder isn't a corpus or a line is broken.
    """
    return [row["caption"] for row in _rows(Path(folder) / UNPAIRED, ("caption",))]


def read_casual(folder: str | Path) -> list[str]:
    """Return casual sentences, for the spoken language of posts.

    Raises:
        ValueError: the folder isn't a corpus.
    """
    path = _existing(Path(folder) / CASUAL)
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            return [line.rstrip("\n") for line in lines if line.strip()]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not gzipped UTF-8 text ({error}); fetch it again.") from error


def read_training_texts(folder: str | Path) -> list[str]:
    """Return every text that training may read: what a model copies, it copies from here.

    Files that a corpus came without are left out, except `starter.jsonl`.

    Raises:
        ValueError: as `read_starter`.
    """
    folder = Path(folder)
    texts = []
    for photo in read_starter(folder, "train"):
        texts += [*photo.captions, *(tweet.text for tweet in photo.tweets)]
    if (folder / HUMAN).is_file():
        texts += [text for photo in read_human_captions(folder, "train") for text in photo.captions]
    if (folder / UNPAIRED).is_file():
        texts += read_unpaired(folder)
    if (folder / CASUAL).is_file():
        texts += read_casual(folder)
    return texts


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"{path.parent} has no {path.name}; give the folder of the starter corpus.")
    return path


def _rows(path: Path, fields: tuple[str, ...]) -> Iterator[dict]:
    with _existing(path).open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}, line {number} is not JSON ({error}); mend it.") from error
            missing = [field for field in fields if field not in row]
            if missing:
                raise ValueError(f"{path}, line {number} has no {missing[0]!r}; is it {path.name}?")
            yield row


def _rows_of_split(path: Path, split: str, fields: tuple[str, ...]) -> list[dict]:
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is unknown; choose one of {', '.join(SPLITS)}.")
    rows = [row for row in _rows(path, (*fields, "photo", "split")) if row["split"] == split]
    if not rows:
        raise ValueError(f"{path} has no photo in the split {split!r}; choose another split.")
    return rows


def _photo_path(folder: Path, row: dict) -> Path:
    path = folder / row["photo"]
    if not path.is_file():
        raise ValueError(f"{path} is missing; fetch the corpus's photos again.")
    return path
