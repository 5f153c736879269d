"""Whether texts belong to their photos: the animal they name, and the likelihoods of a model.

Likelihoods are a model's own: they say how well it uses the photo, not whether people would agree. Nats are those of
the text's tokens and its end. Divided by the text's unidic-lite words (the end is no word) they compare between
vocabularies; divided by the tokens with the end counted they are the loss that training shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from tweetcap.data.animals import has_animal, right_animal
from tweetcap.data.photo import PhotoError, load_photo
from tweetcap.evaluate.measures import Sums, ratio
from tweetcap.evaluate.photos import EvaluationPhoto, PhotoSet
from tweetcap.evaluate.words import words_of
from tweetcap.model import CAPTION_TONE
from tweetcap.write.writer import TweetWriter

AMONG = 20  # photos that a text has to find its own among
ROUNDS = 2  # random partitions into groups of AMONG
KINDS = ("witty", "plain", "captions")


# --- Animals --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AnimalCounts:
    """Per photo: how many texts there are, name the right animal, a wrong one, or none; 0 where no animal is shown."""

    texts: np.ndarray
    right: np.ndarray
    wrong: np.ndarray
    silent: np.ndarray

    def named(self) -> Sums:
        return ratio(self.right + self.wrong, self.texts)

    def share_of(self, counts: np.ndarray) -> Sums:
        return ratio(counts, self.texts)


def animal_counts(texts: Sequence[Sequence[str]], species: Sequence[str | None]) -> AnimalCounts:
    """Count what the texts of each photo name, over the photos whose label is an animal."""
    rows = np.zeros((len(texts), 4))
    for row, own, label in zip(rows, texts, species, strict=True):
        if label is not None and has_animal(label):
            verdicts = [right_animal(text, label) for text in own]
            row[:] = len(own), verdicts.count(True), verdicts.count(False), verdicts.count(None)
    return AnimalCounts(*rows.T)


# --- Likelihoods ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Likelihoods:
    """What texts cost a model, and whether they point back to their photos.

    Attributes:
        costs: kind → (photos, 4): words, tokens with the ends, nats with the photo, nats with the null image.
        found: what searches → (photos, 2): how often the own photo came first among AMONG, and tries.
        among: photos that each search was among.
    """

    costs: dict[str, np.ndarray]
    found: dict[str, np.ndarray]
    among: int
    problems: list[str]


def measure_likelihoods(
    writer: TweetWriter,
    photos: PhotoSet,
    chosen: Sequence[EvaluationPhoto],
    descriptions: Sequence[str | None],
    seed: int = 0,
) -> Likelihoods:
    """Score the references of photos, and let captions search for their own photo.

    Photos are read in random groups of AMONG, each group once a round, so that memory doesn't grow with their number.

    Args:
        chosen: which of the photos.
        descriptions: what a system said of each photo; they search beside the captions.
    """
    rng = np.random.default_rng(seed)
    among = min(AMONG, len(chosen))
    groups = [group for _ in range(ROUNDS) for group in in_groups(rng.permutation(len(chosen)), among)]
    costs = {kind: np.zeros((len(chosen), 4)) for kind in KINDS}
    found = {name: np.zeros((len(chosen), 2)) for name in ("caption", "説明")}
    scored: set[int] = set()
    problems: dict[int, str] = {}
    for group in tqdm(groups, desc="likelihoods", unit="group", disable=None):
        readable, pixels = _load(photos, chosen, group.tolist(), problems)
        if not readable:
            continue
        encoded = writer.encode(pixels)
        new = [place for place in readable if place not in scored]
        _score(writer, encoded, [readable.index(place) for place in new], [chosen[place] for place in new], new, costs)
        scored.update(new)
        captions = [chosen[place].captions[0] if chosen[place].captions else None for place in readable]
        for name, texts in (("caption", captions), ("説明", [descriptions[place] for place in readable])):
            _search(writer, encoded, texts, readable, found[name])
    return Likelihoods(costs, found, among, [problems[place] for place in sorted(problems)])


def in_groups(order: np.ndarray, size: int) -> list[np.ndarray]:
    """Cut into groups of one size; the last borrows from the first where the photos don't come out even."""
    padded = np.concatenate([order, order[: -len(order) % size]])
    return list(padded.reshape(-1, size))


def _load(photos: PhotoSet, chosen, group: list[int], problems: dict[int, str]) -> tuple[list[int], list]:
    readable, pixels = [], []
    for place in group:
        try:
            pixels.append(load_photo(photos.open(chosen[place])))
            readable.append(place)
        except (PhotoError, OSError) as error:
            problems[place] = f"{chosen[place].photo_id}: {' '.join(str(error).split())}"
    return readable, pixels


def _score(writer, encoded, rows: list[int], photos, places: list[int], costs: dict[str, np.ndarray]) -> None:
    texts = [
        (row, place, kind, tone, register, text)
        for row, place, photo in zip(rows, places, photos, strict=True)
        for kind, tone, register, text in reference_texts(photo)
    ]
    if not texts:
        return
    rows, places, kinds, tones, registers, texts = (list(column) for column in zip(*texts, strict=True))
    seen = writer.log_likelihoods(texts, tones, encoded, rows, registers)
    unseen = writer.log_likelihoods(texts, tones, None, None, registers)
    for place, kind, text, nats_seen, nats_unseen in zip(places, kinds, texts, seen, unseen, strict=True):
        tokens = len(writer.tokenizer.encode(text)) + 1  # the end
        costs[kind][place] += (len(words_of(text)), tokens, -nats_seen, -nats_unseen)


def reference_texts(photo: EvaluationPhoto) -> list[tuple[str, str, str | None, str]]:
    """Return (kind, tone, register, text) of a photo's references; of the captions the first, the corpus's own."""
    captions = [("captions", CAPTION_TONE, None, caption) for caption in photo.captions[:1]]
    return captions + [(tweet.style, tweet.tone, tweet.style, tweet.text) for tweet in photo.tweets]


def _search(writer, encoded, texts: list[str | None], places: list[int], found: np.ndarray) -> None:
    """Let each text look for its photo among those of its group."""
    searching = [row for row, text in enumerate(texts) if text]
    if not searching:
        return
    asked = [texts[row] for row in searching for _ in places]
    rows = [row for _ in searching for row in range(len(places))]
    scores = writer.log_likelihoods(asked, [CAPTION_TONE] * len(asked), encoded, rows)
    matrix = np.reshape(scores, (len(searching), len(places)))
    for own, line in zip(searching, matrix, strict=True):
        # A tie is no first place.
        found[places[own]] += (float((line >= line[own]).sum() == 1), 1)
