"""The texts that a run learns from, encoded, and the photos they are about: from corpora of any kind, mixed freely."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tweetcap.data.starter import (
    CASUAL,
    HUMAN,
    STARTER,
    UNPAIRED,
    read_casual,
    read_human_captions,
    read_starter,
    read_unpaired,
)
from tweetcap.data.tables import HELD_OUT, BadRows, Photo, Table, Text, open_table
from tweetcap.data.verdicts import WRITERS, read_verdicts
from tweetcap.model import CAPTION_TONE, TweetCapTokenizer

# What a source's texts are, or the starter's file that holds them.
SOURCES = {
    "casual": CASUAL,
    "unpaired": UNPAIRED,
    "human": HUMAN,
    "captions": STARTER,
    "plain": STARTER,
    "witty": STARTER,
    "stair": "captions of STAIR",
    "posts": "texts of posts",
    "drawn": "verdicts on texts that a network drew",
    "mended": "verdicts on texts that readers mended",
}
PHOTO_SOURCES = ("human", "captions", "plain", "witty", "stair", "posts", *WRITERS)  # these have validation rows
NO_PHOTO = -1


@dataclass(frozen=True, slots=True)
class Example:
    """One text, with its photo where it has one.

    Attributes:
        source: one of `SOURCES`.
        text: as written.
        label_ids: tone and register where known, text, end token.
        prompt_length: how many of them are tone and register.
        photo: index into the list of photos, or `NO_PHOTO`.
        weight: how much its loss counts; of a text with verdicts its advantage, below zero for a bad one.
    """

    source: str
    text: str
    label_ids: tuple[int, ...]
    prompt_length: int
    photo: int
    weight: float = 1.0


class Examples(Sequence[Example]):
    """Examples in a few arrays, made when they are asked for.

    Half a million Python objects would take five times the memory, and once more in every worker process, since each
    look at an object writes to it.

    Args:
        store: shared by all selections from it.
        rows: which of its examples, in order.
    """

    def __init__(self, store: "_Store", rows: np.ndarray):
        self.store = store
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place):
        if isinstance(place, slice):
            return Examples(self.store, self.rows[place])
        return self.store.example(int(self.rows[place]))

    def take(self, places: np.ndarray) -> "Examples":
        return Examples(self.store, self.rows[places])

    def joined(self, others: Sequence["Examples"]) -> "Examples":
        """Return these and others of the same store."""
        return Examples(self.store, np.concatenate([self.rows, *(other.rows for other in others)]))


class _Store:
    """All examples of a corpus, end to end; `freeze` makes the growing arrays ones that workers can share."""

    def __init__(self):
        self.tokens, self.token_ends = array("i"), array("q", [0])
        self.text, self.text_ends = bytearray(), array("q", [0])
        self.source, self.prompt_length = array("b"), array("b")
        self.photo, self.weight = array("i"), array("d")

    def add(self, example: Example) -> None:
        self.tokens.extend(example.label_ids)
        self.token_ends.append(len(self.tokens))
        self.text += example.text.encode("utf-8", "surrogatepass")
        self.text_ends.append(len(self.text))
        self.source.append(list(SOURCES).index(example.source))
        self.prompt_length.append(example.prompt_length)
        self.photo.append(example.photo)
        self.weight.append(example.weight)

    def freeze(self) -> None:
        for name, values in vars(self).items():
            kind = np.uint8 if isinstance(values, bytearray) else values.typecode
            setattr(self, name, np.frombuffer(values, dtype=kind))

    def example(self, row: int) -> Example:
        tokens = self.tokens[self.token_ends[row] : self.token_ends[row + 1]]
        text = self.text[self.text_ends[row] : self.text_ends[row + 1]].tobytes()
        return Example(
            source=list(SOURCES)[self.source[row]],
            text=text.decode("utf-8", "surrogatepass"),
            label_ids=tuple(tokens.tolist()),
            prompt_length=int(self.prompt_length[row]),
            photo=int(self.photo[row]),
            weight=float(self.weight[row]),
        )


@dataclass(frozen=True)
class Corpus:
    """The texts of one split of all corpora.

    Attributes:
        photos: every photo that an example shows, by its index.
        examples: source → its examples, without those that are streamed.
        streams: tables whose rows come by in every epoch and are never held.
        starter_folders: those among the corpora.
        missing: what was asked for and isn't there, and other things to know; a sentence each.
    """

    tokenizer: TweetCapTokenizer
    photos: list[Photo]
    examples: dict[str, Examples]
    streams: list[Table] = field(default_factory=list)
    starter_folders: list[Path] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def open_corpus(
    names: Sequence[str | Path],
    split: str,
    tokenizer: TweetCapTokenizer,
    sources: Sequence[str],
    *,
    streaming: bool = False,
    limit: int | None = None,
    bad_rows: BadRows | None = None,
    verdicts: Sequence[str | Path] = (),
) -> Corpus:
    """Return the texts of these sources in one split.

    Args:
        names: starter folders, folders of Parquet, `ORG/NAME` or `ORG/NAME@revision` on the Hub.
        split: train, validation or test. Texts without photos belong to train alone.
        streaming: leave Parquet where it is and read it anew in each epoch.
        limit: at most so many rows of each Parquet corpus, the first ones; they are held, streaming or not.
        bad_rows: stops at the first by default.
        verdicts: CSV files about photos of the starter folders.

    Raises:
        ValueError: in one sentence: a corpus can't be opened, none has any of these texts, or a row is bad and
            `bad_rows` says to stop.
    """
    bad_rows = bad_rows or BadRows()
    reader = _Reader(tokenizer, sources)
    streams, starters, missing = [], [], []
    for name in names:
        if any((Path(name) / file).is_file() for file in (STARTER, HUMAN, UNPAIRED, CASUAL)):
            starters.append(Path(name))
            reader.read_starter(Path(name), split)
            continue
        table = open_table(name, split, streaming=streaming)
        if table is None:
            missing.append(f"{name} has no split {split}: nothing of it is used there.")
            continue
        if table.held_out:
            missing.append(
                f"{name} has no validation split: {HELD_OUT:.0%} of its train split are kept for it, by ids."
            )
        if streaming and limit is None:
            streams.append(table)
        else:
            reader.read_table(table, limit, bad_rows)
    for path in verdicts:
        reader.read_verdicts(path)
    return reader.corpus(streams, starters, missing, split)


def encode(tokenizer: TweetCapTokenizer, text: Text, photo: int) -> Example:
    prompt = tokenizer.prompt_ids(text.tone, text.register)[1:]
    ids = (*prompt, *tokenizer.encode(text.text), tokenizer.eos_token_id)
    return Example(text.source, text.text, ids, len(prompt), photo, text.weight)


class _Reader:
    def __init__(self, tokenizer: TweetCapTokenizer, sources: Sequence[str]):
        self.tokenizer, self.sources = tokenizer, sources
        self.photos: list[Photo] = []
        self.store = _Store()
        self._indices: dict[object, int] = {}
        self._starter_photos: dict[str, Path] = {}

    def read_starter(self, folder: Path, split: str) -> None:
        has = {source: source in self.sources and (folder / SOURCES[source]).is_file() for source in SOURCES}
        judged = not set(WRITERS).isdisjoint(self.sources)
        for photo in read_starter(folder, split) if has["captions"] or has["plain"] or has["witty"] or judged else ():
            index = self._index(photo.path, photo.path)
            self._starter_photos[photo.photo_id] = photo.path
            self._add(Text("captions", photo.caption, CAPTION_TONE, None), index)
            for tone, style, text in photo.tweets:
                self._add(Text(style, text, tone, style), index)
        for photo in (
            read_human_captions(folder, split) if has["human"] or (judged and (folder / HUMAN).is_file()) else ()
        ):
            index = self._index(photo.path, photo.path)
            self._starter_photos[photo.photo_id] = photo.path
            for caption in photo.captions:
                self._add(Text("human", caption, CAPTION_TONE, None), index)
        # Texts without photos belong to no split of photos: they teach the language only.
        if split == "train":
            for text in read_unpaired(folder) if has["unpaired"] else ():
                self._add(Text("unpaired", text, CAPTION_TONE, None), NO_PHOTO)
            for text in read_casual(folder) if has["casual"] else ():
                self._add(Text("casual", text, None, None), NO_PHOTO)

    def read_verdicts(self, path: str | Path) -> None:
        """Add the texts with verdicts whose photos are of this split."""
        for text in read_verdicts(path):
            photo = self._starter_photos.get(text.photo_id)
            if photo is not None:
                index = self._index(photo, photo)
                self._add(Text(text.writer, text.text, text.tone, "plain", text.advantage), index)

    def read_table(self, table: Table, limit: int | None, bad_rows: BadRows) -> None:
        if not set(self.sources) & set(table.kind.sources):
            return
        rows = table.rows if limit is None else limit
        for row, photo in tqdm(table.read(limit), desc=f"reading {table.name}", total=rows, unit=" rows", disable=None):
            texts = table.texts(row, self.sources, bad_rows)
            index = self._index((table, row[table.kind.photo_key]), photo) if texts else NO_PHOTO
            for text in texts:
                self._add(text, index)

    def corpus(self, streams: list[Table], starters: list[Path], missing: list[str], split: str) -> Corpus:
        self.store.freeze()
        of = {name: number for number, name in enumerate(SOURCES)}
        examples = {
            source: Examples(self.store, np.flatnonzero(self.store.source == of[source])) for source in self.sources
        }
        streamed = {source for table in streams for source in table.kind.sources}
        expected = [source for source in self.sources if split == "train" or source in PHOTO_SOURCES]
        gone = [source for source in expected if not len(examples[source]) and source not in streamed]
        if expected and gone == expected:
            raise ValueError(f"No corpus has texts of {', '.join(gone)} for {split}; name one that has.")
        missing = list(missing)
        for file in dict.fromkeys(SOURCES[source] for source in gone):
            without = [source for source in gone if SOURCES[source] == file]
            missing.append(f"No corpus has {file}: {split} goes on without {', '.join(without)}.")
        return Corpus(self.tokenizer, self.photos, examples, streams, starters, missing)

    def _index(self, key: object, photo: Photo) -> int:
        if key not in self._indices:
            self._indices[key] = len(self.photos)
            self.photos.append(photo)
        return self._indices[key]

    def _add(self, text: Text, photo: int) -> None:
        if text.source in self.sources:
            self.store.add(encode(self.tokenizer, text, photo))
