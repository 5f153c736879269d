"""Examples to training batches, in an order that depends on the seed and the epoch alone.

Because a batch is a pure function of (seed, epoch, number), a run that was cut goes on exactly where it was, and
several processes share an epoch without talking. Of a stream that holds for one that is read from its beginning:
whoever wants batch 700 lets the rows of the first 700 pass by, but prepares no photo of theirs.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from tweetcap.data.examples import NO_PHOTO, Corpus, Example, Examples, encode
from tweetcap.data.features import FeatureCache, PhotoViews
from tweetcap.data.photo import PhotoError
from tweetcap.data.shards import LeftOut
from tweetcap.data.tables import HELD_OUT, BadRows, Photo, Table
from tweetcap.data.verdicts import WRITERS

POOL = 40  # batches that are sorted by length together
STREAMED_POOL = 8  # the same for streams, whose photos are held for so long


@dataclass(frozen=True)
class BatchSettings:
    """How an epoch is cut into batches.

    Attributes:
        batch_size: texts a batch.
        max_length: tokens after which a text is cut.
        null_photo: probability that a text's photo is replaced by the null memory.
        hidden_concept: probability that a concept, or a sight, is hidden from a text.
        hidden_concepts: probability that all concepts are hidden from a text; the same for all sights.
        swapped_concept: probability that a text's animal, and the concept behind it, becomes another one: only then
            does a word that few texts hold get copied often enough to be trusted against the photo.
        texts_per_photo: so many texts of a photo stay together in a batch, which then encodes it once for all.
        shuffle_buffer: rows of a stream that are held to be shuffled, with their photos.
    """

    batch_size: int = 96
    max_length: int = 48
    null_photo: float = 0.1
    hidden_concept: float = 0.1
    hidden_concepts: float = 0.2
    swapped_concept: float = 0.0
    texts_per_photo: int = 1
    shuffle_buffer: int = 1000


class _Batches(Dataset):
    """What batches of any origin have in common: how one is made of its rows.

    A batch is a dict of tensors: `labels` (batch, length), `prompt_lengths` (batch,), `weights` (batch,), `judged`
    (batch,) whether a text has verdicts and its weight is an advantage, `photo_mask` (batch,), `concept_mask`
    (batch, concepts), `sight_mask` (batch, all sights). Of the photos it has, with a cache, `last_hidden_state` and
    `pooler_output`, a row a text; with views, `pixel_values` (photos, 3, height, width) of each photo once and
    `photo_rows` (batch,), which of them a text shows, or neither where no text shows any. Beside the tensors there
    are `names`, a string a text, and `left_out`, the photos that could not be read and were hidden.
    """

    def __init__(
        self,
        settings: BatchSettings,
        num_concepts: int,
        seed: int,
        epoch: int,
        train: bool,
        concept_words: Sequence[Sequence[int]],
        all_sights: int,
    ):
        self.concept_words = [tuple(word) for word in concept_words]
        self.all_sights = all_sights
        self.settings = settings
        self.num_concepts = num_concepts
        self.seed = (seed, epoch)
        self.train = train

    def make(
        self,
        number: int,
        rows: Sequence[Example],
        photo: np.ndarray,
        photos: FeatureCache | PhotoViews | None,
        photo_names: Sequence[Photo],
    ) -> dict[str, Any]:
        """Return a batch.

        Args:
            photo: (batch,) which of the photos a text shows, or `NO_PHOTO`.
        """
        rng = np.random.default_rng((*self.seed, number))
        count, settings = len(rows), self.settings
        photo_mask = photo != NO_PHOTO
        judged = np.array([row.source in WRITERS for row in rows])  # of this photo: without it they say nothing
        concept_mask = np.ones((count, self.num_concepts), bool)
        if self.train:
            photo_mask &= judged | (rng.random(count) >= settings.null_photo)
            concept_mask &= rng.random(concept_mask.shape) >= settings.hidden_concept
            concept_mask &= (rng.random(count) >= settings.hidden_concepts)[:, None]
        left_out: list[LeftOut] = []
        seen: dict[str, torch.Tensor] = {}
        if isinstance(photos, FeatureCache):
            photo_mask &= ~np.isin(photo, photos.unreadable)
            seen = self._features(photo, photos, rng)
        elif photos is not None:
            seen, left_out = self._pixels(photo, photo_mask, photos, rng)
        texts = [row.label_ids for row in rows]
        if self.train and settings.swapped_concept and "concept_ids" in seen:
            for place in np.flatnonzero(photo_mask & ~judged & (rng.random(count) < settings.swapped_concept)):
                texts[place], slots = self._swap(texts[place], seen, place, rng)
                if slots:
                    concept_mask[place, 0] = True
                    concept_mask[place, slots:] = False
        sight_mask = np.ones((count, self.all_sights), bool)
        if self.train and self.all_sights:
            sight_mask &= rng.random(sight_mask.shape) >= settings.hidden_concept
            sight_mask &= (rng.random(count) >= settings.hidden_concepts)[:, None]
        length = min(settings.max_length, max(map(len, texts)))
        labels = torch.full((count, length), -100)
        for place, ids in enumerate(texts):
            labels[place, : len(ids)] = torch.tensor(ids[:length])
        batch = {
            "labels": labels,
            "prompt_lengths": torch.tensor([row.prompt_length for row in rows]),
            "weights": torch.tensor([row.weight for row in rows], dtype=torch.float32),
            "photos": torch.from_numpy(photo),
            "photo_mask": torch.from_numpy(photo_mask),
            "judged": torch.from_numpy(judged),
            "concept_mask": torch.from_numpy(concept_mask),
            "sight_mask": torch.from_numpy(sight_mask),
        }
        names = [_name(row, index, photo_names) for row, index in zip(rows, photo.tolist(), strict=True)]
        return batch | seen | {"names": names, "left_out": left_out}

    def _swap(
        self, text: tuple[int, ...], photos: dict[str, torch.Tensor], place: int, rng: np.random.Generator
    ) -> tuple[tuple[int, ...], int]:
        """Give a text and its row of concepts another animal.

        Returns:
            the text, and how many slots of its row hold a concept now; 0 for a text that names none and stays.
        """
        named = [concept for concept, word in enumerate(self.concept_words) if _find(text, word) < len(text)]
        if not named:
            return text, 0
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
        return text, 1 + kept

    def _features(self, photo: np.ndarray, cache: FeatureCache, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        index = np.maximum(photo, 0)  # texts without a photo borrow the first one and hide it
        view = rng.integers(cache.views, size=len(index)) if self.train else np.zeros_like(index)
        return cache.rows(index, view)

    def _pixels(
        self, photo: np.ndarray, photo_mask: np.ndarray, views: PhotoViews, rng: np.random.Generator
    ) -> tuple[dict[str, torch.Tensor], list[LeftOut]]:
        """Return each visible photo once; texts of a photo that can't be read lose it in `photo_mask`."""
        distinct = np.unique(photo[photo_mask])
        # Never views 0 and 1: with the encoder thawed every view is a fresh augmentation.
        view = rng.integers(2, 2**31, size=len(distinct)) if self.train else np.zeros_like(distinct)
        pixels, left_out = [], []
        photo_rows = np.zeros(len(photo), np.int64)
        for index, number in zip(distinct.tolist(), view.tolist(), strict=True):
            try:
                prepared = views[index, number]
            except PhotoError as error:
                photo_mask &= photo != index
                left_out.append(LeftOut(str(views.photos[index]), str(error)))
                continue
            photo_rows[photo == index] = len(pixels)
            pixels.append(prepared)
        if not pixels:
            return {}, left_out
        return {"pixel_values": torch.stack(pixels), "photo_rows": torch.from_numpy(photo_rows)}, left_out


def epoch_examples(corpus: Corpus, sources: dict[str, float], seed: int, epoch: int) -> Examples:
    """Return the rows of an epoch: each source as many times as asked for, a fraction as a fresh random part."""
    rng = np.random.default_rng((seed, epoch, len(sources)))
    parts = []
    for source, times in sources.items():
        examples = corpus.examples[source]
        parts += [examples] * int(times)
        part = round((times - int(times)) * len(examples))
        parts.append(examples.take(rng.permutation(len(examples))[:part]))
    return parts[0].joined(parts[1:])


class EpochBatches(_Batches):
    """The batches of one epoch of examples that are at hand; item k is batch k.

    Args:
        examples: the rows of this epoch.
        photos: a cache of encoded views, views to be encoded in training, or None for texts alone.
        train: draw views at random, hide photos, hide and swap concepts; otherwise the plain photo and everything in
            order.
        concept_words: token ids of each concept's word; needed where concepts are swapped.
        photo_names: what the photos are called, by their index.
        all_sights: how many sights the network knows.

    Attributes:
        expected: their number.
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
        photo_names: Sequence[Photo] = (),
        all_sights: int = 0,
    ):
        super().__init__(settings, num_concepts, seed, epoch, train, concept_words, all_sights)
        self.examples = examples
        self.photo_names = photo_names
        self.photos = photos
        lengths, shown = np.empty(len(examples), np.int64), np.empty(len(examples), np.int64)
        for place, example in enumerate(examples):
            lengths[place], shown[place] = len(example.label_ids), example.photo
        order = np.random.default_rng(self.seed).permutation(len(examples)) if train else np.arange(len(examples))
        if train:
            self.batches = _cut(order, lengths, shown, settings, POOL)
            np.random.default_rng((*self.seed, 1)).shuffle(self.batches)
        else:
            self.batches = _slices(order, settings.batch_size)
        self.expected = len(self.batches)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> dict[str, Any]:
        rows = [self.examples[index] for index in self.batches[number]]
        photo = np.array([row.photo for row in rows])
        return self.make(number, rows, photo, self.photos, self.photo_names)

    def keys(
        self, process: int, processes: int, accumulate: int, done: int, drop_last: bool, bad_rows: BadRows
    ) -> Iterable[int]:
        """Return the items of a process, as `load_batches` says."""
        end = len(self) - len(self) % (processes * accumulate) if drop_last else len(self)
        return range(process, end, processes)[done:]


@dataclass(frozen=True)
class _Job:
    """A batch before its photos are prepared."""

    number: int
    rows: list[Example]
    photo: np.ndarray
    photos: list[Photo]


class StreamedBatches(_Batches):
    """The batches of one epoch of a corpus that is streamed, in part or as a whole.

    Rows of all streams pass through shuffle buffers, mix with the examples at hand in the proportion in which they are
    left, and are cut into batches pool by pool. All that happens in the process that reads; what its workers get is a
    batch's texts and its photos' files. So their number changes nothing, and each process reads the stream once.

    Args:
        photos: views of the corpus's photos, which also prepare those of the stream; None for texts alone.
        others: as `EpochBatches`.

    Attributes:
        expected: batches, roughly; None where a stream doesn't say how many rows it has.
    """

    def __init__(
        self,
        corpus: Corpus,
        sources: dict[str, float],
        photos: PhotoViews | None,
        settings: BatchSettings,
        num_concepts: int,
        seed: int = 0,
        epoch: int = 0,
        concept_words: Sequence[Sequence[int]] = (),
        all_sights: int = 0,
    ):
        super().__init__(settings, num_concepts, seed, epoch, True, concept_words, all_sights)
        self.tokenizer, self.corpus_photos, self.photos = corpus.tokenizer, corpus.photos, photos
        self.sources = sources
        self.streams = [table for table in corpus.streams if set(sources) & set(table.kind.sources)]
        self.held = epoch_examples(corpus, sources, seed, epoch)
        texts = [self._texts_expected(table) for table in self.streams]
        self.expected = None if None in texts else -(-(len(self.held) + sum(texts)) // settings.batch_size)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a worker process needs: it prepares photos and reads no corpus."""
        return {name: value for name, value in vars(self).items() if name not in ("streams", "held", "tokenizer")}

    def __getitem__(self, job: _Job) -> dict[str, Any]:
        views = None
        if self.photos is not None:  # where all photos are streamed it is empty, but there
            views = PhotoViews(job.photos, self.photos.image_processor, self.photos.seed)
        return self.make(job.number, job.rows, job.photo, views, job.photos)

    def keys(
        self, process: int, processes: int, accumulate: int, done: int, drop_last: bool, bad_rows: BadRows
    ) -> Iterator[_Job]:
        """Yield the items of a process, as `load_batches` says."""
        group = processes * accumulate if drop_last else 1
        waiting = []
        for job in self._jobs(bad_rows):
            if job.number % processes == process and job.number // processes >= done:
                waiting.append(job)
            if (job.number + 1) % group == 0:
                yield from waiting
                waiting = []

    def _texts_expected(self, table: Table) -> int | None:
        if table.rows is None:
            return None
        share = 1.0 if table.held_out is None else 1 - HELD_OUT
        return round(share * table.rows * sum(n * self.sources.get(name, 0) for name, n in table.kind.sources.items()))

    def _jobs(self, bad_rows: BadRows) -> Iterator[_Job]:
        rows = self._mixed(bad_rows)
        number = 0
        for pool_number in itertools.count():
            pool = list(itertools.islice(rows, self.settings.batch_size * STREAMED_POOL))
            if not pool:
                return
            lengths = np.array([len(example.label_ids) for example, _ in pool])
            # Texts of one photo share the object.
            shown = np.array([NO_PHOTO if photo is None else id(photo) for _, photo in pool])
            batches = _cut(np.arange(len(pool)), lengths, shown, self.settings, STREAMED_POOL)
            np.random.default_rng((*self.seed, 1, pool_number)).shuffle(batches)
            for places in batches:
                photos = {id(pool[place][1]): pool[place][1] for place in places if pool[place][1] is not None}
                local = {key: index for index, key in enumerate(photos)} | {NO_PHOTO: NO_PHOTO}
                photo = np.array([local[key] for key in shown[places].tolist()])
                yield _Job(number, [pool[place][0] for place in places], photo, list(photos.values()))
                number += 1

    def _mixed(self, bad_rows: BadRows) -> Iterator[tuple[Example, Photo | None]]:
        """Yield texts with their photos; where each next one comes from is drawn by how many are left there."""
        rng = np.random.default_rng((*self.seed, 2))
        parts = [self._held_texts(), *(self._streamed_texts(number, bad_rows) for number in range(len(self.streams)))]
        expected = [float(len(self.held)), *(self._texts_expected(table) for table in self.streams)]
        # A stream that doesn't say is taken to be as long as all others together.
        known = sum(filter(None, expected))
        left = np.array([known if count is None else count for count in expected])
        while parts:
            chances = np.maximum(left, 1)
            part = int(np.searchsorted(np.cumsum(chances / chances.sum()), rng.random(), side="right"))
            part = min(part, len(parts) - 1)
            texts = next(parts[part], None)
            if texts is None:
                del parts[part]
                left = np.delete(left, part)
            else:
                left[part] -= len(texts)
                yield from texts

    def _held_texts(self) -> Iterator[list[tuple[Example, Photo | None]]]:
        for place in np.random.default_rng(self.seed).permutation(len(self.held)):
            example = self.held[int(place)]
            shows = self.photos is not None and example.photo != NO_PHOTO
            yield [(example, self.corpus_photos[example.photo] if shows else None)]

    def _streamed_texts(self, number: int, bad_rows: BadRows) -> Iterator[list[tuple[Example, Photo | None]]]:
        table, with_photos = self.streams[number], self.photos is not None
        times = {source: self.sources[source] for source in table.kind.sources if source in self.sources}
        rng = np.random.default_rng((*self.seed, 3, number))
        for turn in range(math.ceil(max(times.values()))):
            order = np.random.default_rng((*self.seed, 4, number, turn))
            for row, photo in table.stream(order, self.settings.shuffle_buffer, with_photos=with_photos):
                texts = table.texts(row, list(times), bad_rows)
                wanted = [text for text in texts if rng.random() < times[text.source] - turn]
                if wanted:
                    yield [(encode(self.tokenizer, text, NO_PHOTO), photo) for text in wanted]


def epoch_batches(
    corpus: Corpus,
    sources: dict[str, float],
    photos: FeatureCache | PhotoViews | None,
    settings: BatchSettings,
    num_concepts: int,
    seed: int,
    epoch: int,
    concept_words: Sequence[Sequence[int]] = (),
    all_sights: int = 0,
) -> EpochBatches | StreamedBatches:
    """Return the batches of one epoch of training; photos that are streamed can't be cached."""
    if any(set(sources) & set(table.kind.sources) for table in corpus.streams):
        return StreamedBatches(corpus, sources, photos, settings, num_concepts, seed, epoch, concept_words, all_sights)
    rows = epoch_examples(corpus, sources, seed, epoch)
    return EpochBatches(
        rows,
        photos,
        settings,
        num_concepts,
        seed,
        epoch,
        concept_words=concept_words,
        photo_names=corpus.photos,
        all_sights=all_sights,
    )


def load_batches(
    batches: EpochBatches | StreamedBatches,
    *,
    process: int = 0,
    processes: int = 1,
    accumulate: int = 1,
    done: int = 0,
    workers: int = 0,
    drop_last: bool = True,
    bad_rows: BadRows | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the batches of a process: process, process + processes, process + 2 · processes, …

    Args:
        accumulate: batches a step takes of each process; a last step that not all processes can fill is left out.
        done: so many of this process's batches are passed over, and no photo of theirs is prepared.
        workers: processes that prepare photos; they change nothing but the time.
        drop_last: False yields what is left behind the last whole step too.
        bad_rows: stops at the first by default.

    Raises:
        ValueError: a row is bad and `bad_rows` says to stop, or a stream broke off.
    """
    bad_rows = bad_rows or BadRows()
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=batches.keys(process, processes, accumulate, done, drop_last, bad_rows),
        num_workers=workers,
        collate_fn=_as_it_is,
        # A forked worker inherits Arrow's memory without the threads that look after it, and may fall over it.
        multiprocessing_context="forkserver" if workers and isinstance(batches, StreamedBatches) else None,
        # A loader draws a seed when it starts; from the global generator that would shift dropout after a cut.
        generator=torch.Generator(),
    )
    for batch in loader:
        for row in batch.pop("left_out"):
            bad_rows.report(row)
        yield batch


def _as_it_is(batch: dict[str, Any]) -> dict[str, Any]:
    return batch


def _name(row: Example, photo: int, photo_names: Sequence[Photo]) -> str:
    where = f" ({photo_names[photo]})" if photo != NO_PHOTO and len(photo_names) else ""
    return f"{row.source}{where}: {row.text}"


def _find(text: tuple[int, ...], word: tuple[int, ...]) -> int:
    """Return where a word's tokens stand in a text's; the text's length where they don't."""
    return next((at for at in range(len(text) - len(word) + 1) if text[at : at + len(word)] == word), len(text))


def _replace(text: tuple[int, ...], old: tuple[int, ...], new: tuple[int, ...]) -> tuple[int, ...]:
    at = _find(text, old)
    return (*text[:at], *new, *_replace(text[at + len(old) :], old, new)) if at < len(text) else text


def _slices(order: np.ndarray, size: int) -> list[np.ndarray]:
    return [order[at : at + size] for at in range(0, len(order), size)]


def _cut(
    order: np.ndarray, lengths: np.ndarray, photo: np.ndarray, settings: BatchSettings, pool: int
) -> list[np.ndarray]:
    """Cut an order into batches of texts of like length, so that little of a batch is padding.

    Args:
        order: examples by their index.
        lengths: of each example; photo: what it shows, or `NO_PHOTO`.
    """
    order, group = _gather(order, photo, settings.texts_per_photo)
    batches = []
    for places in _slices(np.arange(len(order)), settings.batch_size * pool):
        of_group = np.unique(group[places], return_inverse=True)[1]
        longest = np.zeros(len(places), np.int64)
        np.maximum.at(longest, of_group, lengths[order[places]])
        by_length = np.lexsort((of_group, longest[of_group]))  # stable: texts of a group stay together, in order
        batches += _slices(order[places][by_length], settings.batch_size)
    return batches


def _gather(order: np.ndarray, photo: np.ndarray, texts_per_photo: int) -> tuple[np.ndarray, np.ndarray]:
    """Move texts of a photo up to the first of them, so many at a time.

    Returns:
        the order, and a group number for each of its places, which doesn't fall.
    """
    count = len(order)
    places = np.arange(count)
    if texts_per_photo == 1:
        return order, places
    shown = photo[order]
    by_photo = np.argsort(shown, kind="stable")
    starts = np.flatnonzero(np.diff(shown[by_photo], prepend=shown[by_photo[:1]] - 1))
    rank = places - np.repeat(starts, np.diff(starts, append=count))
    # Each text without a photo begins a group of its own.
    begins = (rank % texts_per_photo == 0) | (shown[by_photo] == NO_PHOTO)
    group = np.empty(count, np.int64)
    group[by_photo] = by_photo[np.flatnonzero(begins)][np.cumsum(begins) - 1]  # named by its first text's place
    gathered = np.argsort(group, kind="stable")
    return order[gathered], group[gathered]
