"""Texts and photos to training batches, in an order that depends on the seed and the epoch alone.

Because a batch is a pure function of (seed, epoch, number), a run that was cut goes on exactly where it was, and
several processes share an epoch without talking.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from tweetcap.data.features import FeatureCache, PhotoViews
from tweetcap.data.starter import (
    CASUAL,
    HUMAN,
    UNPAIRED,
    read_casual,
    read_human_captions,
    read_starter,
    read_unpaired,
)
from tweetcap.model import CAPTION_TONE, TweetCapTokenizer

SOURCES = ("casual", "unpaired", "human", "captions", "plain", "witty")
PHOTO_SOURCES = ("human", "captions", "plain", "witty")  # these have validation rows
FILES = {"casual": CASUAL, "unpaired": UNPAIRED, "human": HUMAN}  # a corpus may come without them
NO_PHOTO = -1


@dataclass(frozen=True)
class Example:
    """One text, with its photo where it has one.

    Attributes:
        source: one of `SOURCES`.
        text: as written.
        label_ids: tone and register where known, text, end token.
        prompt_length: how many of them are tone and register.
        photo: index into the list of photos, or `NO_PHOTO`.
    """

    source: str
    text: str
    label_ids: tuple[int, ...]
    prompt_length: int
    photo: int


class Corpus:
    """The examples of one split, read once and encoded once.

    Attributes:
        photo_paths: every photo that an example names, by its index.
        examples: source → list of examples; none for a source whose file the corpus came without.
        missing: those files.
    """

    def __init__(self, folder: Path, split: str, tokenizer: TweetCapTokenizer, sources: Sequence[str]):
        self.tokenizer = tokenizer
        self.photo_paths: list[Path] = []
        self._indices: dict[Path, int] = {}
        self.examples: dict[str, list[Example]] = {source: [] for source in sources}
        starter = read_starter(folder, split) if {"captions", "plain", "witty"} & set(sources) else []
        for photo in starter:
            index = self._photo_index(photo.path)
            self._add("captions", photo.caption, CAPTION_TONE, None, index)
            for tone, style, text in photo.tweets:
                self._add(style, text, tone, style, index)
        self.missing = [name for source, name in FILES.items() if source in sources and not (folder / name).is_file()]
        for photo in read_human_captions(folder, split) if self._has("human", folder) else []:
            index = self._photo_index(photo.path)
            for caption in photo.captions:
                self._add("human", caption, CAPTION_TONE, None, index)
        # Texts without photos belong to no split of photos: they teach the language only.
        if split == "train":
            for text in read_unpaired(folder) if self._has("unpaired", folder) else []:
                self._add("unpaired", text, CAPTION_TONE, None, NO_PHOTO)
            for text in read_casual(folder) if self._has("casual", folder) else []:
                self._add("casual", text, None, None, NO_PHOTO)

    def _has(self, source: str, folder: Path) -> bool:
        return source in self.examples and (folder / FILES[source]).is_file()

    def _photo_index(self, path: Path) -> int:
        if path not in self._indices:
            self._indices[path] = len(self.photo_paths)
            self.photo_paths.append(path)
        return self._indices[path]

    def _add(self, source: str, text: str, tone: str | None, register: str | None, photo: int) -> None:
        if source in self.examples:
            prompt = self.tokenizer.prompt_ids(tone, register)[1:]
            ids = (*prompt, *self.tokenizer.encode(text), self.tokenizer.eos_token_id)
            self.examples[source].append(Example(source, text, ids, len(prompt), photo))


@dataclass(frozen=True)
class BatchSettings:
    """How an epoch is cut into batches.

    Attributes:
        batch_size: texts a batch.
        max_length: tokens after which a text is cut.
        null_photo: probability that a text's photo is replaced by the null memory.
        hidden_concept: probability that a concept is hidden from a text.
        hidden_concepts: probability that all concepts are hidden from a text.
        swapped_concept: probability that a text's animal, and the concept behind it, becomes another one: only then
            does a word that few texts hold get copied often enough to be trusted against the photo.
    """

    batch_size: int = 96
    max_length: int = 48
    null_photo: float = 0.1
    hidden_concept: float = 0.1
    hidden_concepts: float = 0.2
    swapped_concept: float = 0.0


class EpochBatches(Dataset):
    """The batches of one epoch; item k is a dict of tensors.

    `labels` (batch, length), `prompt_lengths` (batch,), `photo_mask` (batch,), `concept_mask` (batch, concepts); and of
    the photos either `pixel_values` or `last_hidden_state` and `pooler_output`, or nothing where no text has a photo.

    Args:
        examples: the rows of this epoch.
        photos: a cache of encoded views, views to be encoded in training, or None for texts alone.
        train: draw views at random, hide photos, hide and swap concepts; otherwise the plain photo and everything in
            order.
        concept_words: token ids of each concept's word; needed where concepts are swapped.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        photos: FeatureCache | PhotoViews | None,
        settings: BatchSettings,
        num_concepts: int,
        seed: int = 0,
        epoch: int = 0,
        train: bool = True,
        concept_words: Sequence[Sequence[int]] = (),
    ):
        self.examples = examples
        self.concept_words = [tuple(word) for word in concept_words]
        self.photos = photos
        self.settings = settings
        self.num_concepts = num_concepts
        self.seed = (seed, epoch)
        self.train = train
        lengths = np.array([len(example.label_ids) for example in examples])
        order = np.random.default_rng(self.seed).permutation(len(examples)) if train else np.arange(len(examples))
        self.batches = _bucket(order, lengths, settings.batch_size, self.seed if train else None)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng((*self.seed, number))
        rows = [self.examples[index] for index in self.batches[number]]
        count, settings = len(rows), self.settings
        photo = np.array([row.photo for row in rows])
        photo_mask = photo != NO_PHOTO
        concept_mask = np.ones((count, self.num_concepts), bool)
        if self.train:
            photo_mask &= rng.random(count) >= settings.null_photo
            concept_mask &= rng.random(concept_mask.shape) >= settings.hidden_concept
            concept_mask &= (rng.random(count) >= settings.hidden_concepts)[:, None]
        photos = self._photos_of(photo, rng)
        texts = [row.label_ids for row in rows]
        if self.train and settings.swapped_concept and "concept_ids" in photos:
            for place in np.flatnonzero(photo_mask & (rng.random(count) < settings.swapped_concept)):
                texts[place], swapped = self._swap(texts[place], photos, place, rng)
                concept_mask[place, 0] |= swapped
        length = min(settings.max_length, max(map(len, texts)))
        labels = torch.full((count, length), -100)
        for place, ids in enumerate(texts):
            labels[place, : len(ids)] = torch.tensor(ids[:length])
        batch = {
            "labels": labels,
            "prompt_lengths": torch.tensor([row.prompt_length for row in rows]),
            "photo_mask": torch.from_numpy(photo_mask),
            "concept_mask": torch.from_numpy(concept_mask),
        }
        return batch | photos

    def _swap(
        self, text: tuple[int, ...], photos: dict[str, torch.Tensor], place: int, rng: np.random.Generator
    ) -> tuple[tuple[int, ...], bool]:
        """Give a text and its row of concepts another animal; a text that names no concept stays as it is."""
        named = [concept for concept, word in enumerate(self.concept_words) if _find(text, word) < len(text)]
        if not named:
            return text, False
        old = max(named, key=lambda concept: len(self.concept_words[concept]))
        new = int(rng.integers(len(self.concept_words)))
        text = _replace(text, self.concept_words[old], self.concept_words[new])
        ids, log_probs = photos["concept_ids"][place], photos["concept_log_probs"][place]
        probability = rng.uniform(0.4, 1.0)  # an encoder that sure is nearly always right
        others = (ids != old) & (ids != new)
        kept = int(others.sum().clamp_max(len(ids) - 1))
        ids[1 : 1 + kept], log_probs[1 : 1 + kept] = ids[others][:kept], log_probs[others][:kept]
        log_probs[1:] += np.log1p(-probability)
        ids[0], log_probs[0] = new, np.log(probability)
        return text, True

    def _photos_of(self, photo: np.ndarray, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        if self.photos is None:
            return {}
        index = np.maximum(photo, 0)  # texts without a photo borrow the first one and hide it
        if isinstance(self.photos, FeatureCache):
            view = rng.integers(self.photos.views, size=len(index)) if self.train else np.zeros_like(index)
            return self.photos.rows(index, view)
        # Never views 0 and 1: with the encoder thawed every view is a fresh augmentation.
        view = rng.integers(2, 2**31, size=len(index)) if self.train else np.zeros_like(index)
        return {"pixel_values": torch.stack([self.photos[int(i), int(v)] for i, v in zip(index, view, strict=True)])}


def epoch_examples(corpus: Corpus, sources: dict[str, float], seed: int, epoch: int) -> list[Example]:
    """Return the rows of an epoch: each source as many times as asked for, a fraction as a fresh random part."""
    rng = np.random.default_rng((seed, epoch, len(sources)))
    rows = []
    for source, times in sources.items():
        examples = corpus.examples[source]
        rows.extend(examples * int(times))
        part = round((times - int(times)) * len(examples))
        rows.extend(examples[index] for index in rng.permutation(len(examples))[:part])
    return rows


def _find(text: tuple[int, ...], word: tuple[int, ...]) -> int:
    """Return where a word's tokens stand in a text's; the text's length where they don't."""
    return next((at for at in range(len(text) - len(word) + 1) if text[at : at + len(word)] == word), len(text))


def _replace(text: tuple[int, ...], old: tuple[int, ...], new: tuple[int, ...]) -> tuple[int, ...]:
    at = _find(text, old)
    return (*text[:at], *new, *_replace(text[at + len(old) :], old, new)) if at < len(text) else text


def _bucket(order: np.ndarray, lengths: np.ndarray, batch_size: int, seed: tuple[int, int] | None) -> list[np.ndarray]:
    """Cut an order into batches of texts of like length, so that little of a batch is padding."""
    pool = batch_size * 40
    batches = []
    for start in range(0, len(order), pool):
        chunk = order[start : start + pool]
        chunk = chunk[np.argsort(lengths[chunk], kind="stable")] if seed is not None else chunk
        batches.extend(chunk[at : at + batch_size] for at in range(0, len(chunk), batch_size))
    if seed is not None:
        np.random.default_rng((*seed, 1)).shuffle(batches)
    return batches
