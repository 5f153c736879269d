"""The figures behind the table: pure functions on texts and numbers, with intervals by resampling photos."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np

from tweetcap.data.animals import right_animal
from tweetcap.model import normalise, split_words
from tweetcap.write.filters import fold

RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval, not a number where there was nothing to measure."""

    value: float
    low: float
    high: float


def words_of(text: str) -> list[str]:
    """Return the unidic-lite words of a text; white space is no word."""
    return [word for word in split_words(normalise(text)) if not word.isspace()]


def distinct_n(texts: Sequence[str], n: int) -> float:
    """Return different word n-grams ÷ all word n-grams, over all texts together (Li et al. 2016).

    It falls as there are more texts, so compare only at equal count: see `relative_distinct`.
    """
    grams = [gram for text in texts for gram in _n_grams(words_of(text), n)]
    return len(set(grams)) / len(grams) if grams else float("nan")


def relative_distinct(
    texts: Sequence[str], references: Sequence[str], n: int = 2, seed: int = 0, draws: int = 20
) -> float:
    """Return distinct-n of texts ÷ distinct-n of references, at equal count.

    Of the larger collection as many texts as the smaller has are drawn at random, `draws` times.
    """
    count = min(len(texts), len(references))
    rng = np.random.default_rng(seed)

    def average(collection: Sequence[str]) -> float:
        if len(collection) == count:
            return distinct_n(collection, n)
        samples = [rng.choice(len(collection), count, replace=False) for _ in range(draws)]
        return float(np.mean([distinct_n([collection[i] for i in sample], n) for sample in samples]))

    return average(texts) / average(references) if count else float("nan")


def copies(texts: Sequence[str], folded: Collection[str]) -> list[str]:
    """Return the texts that fold to the same letters as a training text; those of signs alone are no copies.

    Args:
        folded: `fold` of every training text.
    """
    return [text for text in texts if (key := fold(text)) and key in folded]


def animal_counts(texts: Sequence[str], species: str) -> tuple[int, int]:
    """Return how many texts name an animal, and how many name only wrong ones."""
    verdicts = [right_animal(text, species) for text in texts]
    return sum(verdict is not None for verdict in verdicts), sum(verdict is False for verdict in verdicts)


def ratio(numerators: Sequence[float], denominators: Sequence[float], seed: int = 0) -> Estimate:
    """Return the sum of numerators ÷ the sum of denominators, with a bootstrap interval.

    Both hold one number a photo, and photos are what is resampled: texts of one photo hang together.
    """
    top, bottom = np.asarray(numerators, dtype=float), np.asarray(denominators, dtype=float)
    if not bottom.sum():
        return Estimate(float("nan"), float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(len(top), np.full(len(top), 1 / len(top)), size=RESAMPLES)  # (resamples, photos)
    tops, bottoms = weights @ top, weights @ bottom
    low, high = np.percentile(tops[bottoms > 0] / bottoms[bottoms > 0], [2.5, 97.5])
    return Estimate(float(top.sum() / bottom.sum()), float(low), float(high))


def first_rank_chance(scores: Sequence[Sequence[float]], among: int = 20) -> list[float]:
    """Return for each text the chance that its own photo scores highest among `among` photos.

    The others are drawn at random from the matrix, which is worked out exactly instead of drawn: of the
    n - 1 other photos b score as high or higher, so the chance is C(n-1-b, among-1) / C(n-1, among-1).

    Args:
        scores: (texts, photos), square; text i belongs to photo i. With fewer than `among` photos, all count.
    """
    matrix = np.asarray(scores, dtype=float)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"scores have the shape {matrix.shape}; give as many photos as texts.")
    others = len(matrix) - 1
    distractors = min(among - 1, others)
    better = (matrix >= matrix.diagonal()[:, None]).sum(axis=1) - 1  # its own photo always counts once
    return [comb(others - int(b), distractors) / comb(others, distractors) for b in better]


def _n_grams(words: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
