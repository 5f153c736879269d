"""Figures as functions of how often each photo counts, and what that gives: intervals and paired tests.

A measure knows what every photo adds to a figure. Given weights, how often each photo counts, it returns the figure,
for thousands of weightings at once. Ones give the figure itself, multinomial weights the bootstrap (Efron 1979),
weights that leave photos out the jackknife, and weights over two systems' photos side by side the test by approximate
randomisation (Noreen 1989). Photos are what is resampled, since the texts of one photo hang together.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeVar

import numpy as np

from tweetcap.evaluate.words import Gram

RESAMPLES = 2000
SHUFFLES = 10_000
GROUPS = 200  # that the jackknife leaves out one by one; each is one photo where there are no more
BLOCK = 2_000_000  # weights in memory at once
LOW, HIGH = 2.5, 97.5  # percentiles
NORMAL_95 = 1.959964


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval, not a number where there was nothing to measure."""

    value: float
    low: float
    high: float


class Measure(Protocol):
    """A figure as a function of how often each photo counts.

    Attributes:
        interval: "bootstrap"; or "jackknife" for figures that count kinds of words, since a photo that is drawn twice
            would make its own words look repeated.
    """

    interval: str

    def __len__(self) -> int:
        """Return the number of photos."""

    def values(self, weights: np.ndarray) -> np.ndarray:
        """Return the figure for each weighting: (weightings, photos) → (weightings,)."""

    def beside(self, other: "Measure") -> "Measure":
        """Return the measure over this one's photos and then the other's."""


AnyMeasure = TypeVar("AnyMeasure", bound=Measure)


def share(sums: np.ndarray) -> np.ndarray:
    """Return the first sum ÷ the second: (…, 2) → (…)."""
    return divide(sums[..., 0], sums[..., 1])


def total(sums: np.ndarray) -> np.ndarray:
    return sums[..., 0]


def divide(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Return top ÷ bottom, not a number where the bottom is 0."""
    return np.divide(top, bottom, out=np.full(np.shape(bottom), np.nan), where=bottom != 0)


@dataclass(frozen=True)
class Sums:
    """A figure made of sums over photos: a share, a mean, BLEU.

    Attributes:
        rows: (photos, sums), what each photo adds to each sum.
        combine: the sums as the figure: (…, sums) → (…).
    """

    rows: np.ndarray
    combine: Callable[[np.ndarray], np.ndarray] = share
    interval = "bootstrap"

    def __len__(self) -> int:
        return len(self.rows)

    def values(self, weights: np.ndarray) -> np.ndarray:
        return self.combine(weights @ self.rows)

    def beside(self, other: "Sums") -> "Sums":
        return Sums(np.concatenate([self.rows, other.rows]), self.combine)


def ratio(tops: Sequence[float], bottoms: Sequence[float]) -> Sums:
    """Return the sum of tops ÷ the sum of bottoms; both hold a number a photo."""
    return Sums(np.column_stack([np.asarray(tops, float), np.asarray(bottoms, float)]))


def mean_of_texts(by_photo: Sequence[Sequence[float]]) -> Sums:
    """Return the mean over all texts of all photos."""
    return ratio([sum(own) for own in by_photo], [len(own) for own in by_photo])


@dataclass(frozen=True)
class Kinds:
    """How many different n-grams there are, or their share of all n-grams (distinct-n, Li et al. 2016).

    Attributes:
        grams: photo → text → its n-grams.
        shared: whether to divide by the number of n-grams.
    """

    grams: Sequence[Sequence[Sequence[Gram]]]
    shared: bool = True
    interval = "jackknife"

    def __len__(self) -> int:
        return len(self.grams)

    @cached_property
    def texts_with(self):
        """Sparse (photos, kinds): in how many texts of the photo each kind of n-gram stands."""
        from scipy.sparse import csr_array

        numbers: dict[Gram, int] = {}
        rows, columns, counts = [], [], []
        for row, texts in enumerate(self.grams):
            count = Counter(gram for text in texts for gram in dict.fromkeys(text))
            for gram, texts_with_it in count.items():
                rows.append(row)
                columns.append(numbers.setdefault(gram, len(numbers)))
                counts.append(texts_with_it)
        return csr_array((np.asarray(counts, float), (rows, columns)), shape=(len(self), max(len(numbers), 1)))

    @cached_property
    def sizes(self) -> np.ndarray:
        """(photos, 2): texts, n-grams."""
        return np.array([(len(texts), sum(map(len, texts))) for texts in self.grams], float).reshape(-1, 2)

    def values(self, weights: np.ndarray) -> np.ndarray:
        kinds = np.concatenate([(block @ self.texts_with > 0).sum(1) for block in self._blocks(weights)])
        return divide(kinds, (weights @ self.sizes)[:, 1]) if self.shared else kinds.astype(float)

    def rarefied(self, weights: np.ndarray, texts: np.ndarray) -> np.ndarray:
        """Return distinct-n among so many of the texts, as expected where they are drawn at random.

        The expected number of kinds is worked out instead of drawn (rarefaction, Hurlbert 1971): a kind that stands in
        c of N texts is missed by m of them with the chance C(N - c, m) / C(N, m).

        Args:
            weights: (weightings, photos), whole numbers.
            texts: (weightings,), how many texts to draw, no more than the weighting has.
        """
        from scipy.special import gammaln

        all_texts, all_grams = (weights @ self.sizes).T
        kinds = []
        starts = range(0, len(weights), self._rows_at_once)
        for start in starts:
            rows = slice(start, start + self._rows_at_once)
            having = weights[rows] @ self.texts_with  # (weightings, kinds)
            drawn, population = texts[rows, None], all_texts[rows, None]
            without = np.maximum(population - having, 0)
            ways_without = gammaln(without + 1) - gammaln(np.maximum(without - drawn, 0) + 1)
            ways = gammaln(population + 1) - gammaln(population - drawn + 1)
            missed = np.where(without >= drawn, np.exp(ways_without - ways), 0.0)
            kinds.append((1 - missed).sum(1))
        return divide(np.concatenate(kinds) * all_texts, texts * all_grams)

    def beside(self, other: "Kinds") -> "Kinds":
        return Kinds([*self.grams, *other.grams], self.shared)

    @property
    def _rows_at_once(self) -> int:
        return max(BLOCK // self.texts_with.shape[1], 1)

    def _blocks(self, weights: np.ndarray) -> Iterator[np.ndarray]:
        for start in range(0, len(weights), self._rows_at_once):
            yield weights[start : start + self._rows_at_once]


@dataclass(frozen=True)
class RelativeKinds:
    """Distinct-n of texts ÷ distinct-n of references, at equal numbers of texts."""

    texts: Kinds
    references: Kinds
    interval = "jackknife"

    def __len__(self) -> int:
        return len(self.texts)

    def values(self, weights: np.ndarray) -> np.ndarray:
        texts, references = (weights @ kinds.sizes[:, 0] for kinds in (self.texts, self.references))
        drawn = np.minimum(texts, references)
        return divide(self.texts.rarefied(weights, drawn), self.references.rarefied(weights, drawn))

    def beside(self, other: "RelativeKinds") -> "RelativeKinds":
        return RelativeKinds(self.texts.beside(other.texts), self.references.beside(other.references))


@dataclass(frozen=True)
class Quantile:
    """The number below which a share of the photos' numbers lies; a photo without one is not a number."""

    numbers: np.ndarray
    at: float
    interval = "bootstrap"

    def __len__(self) -> int:
        return len(self.numbers)

    def values(self, weights: np.ndarray) -> np.ndarray:
        order = np.argsort(self.numbers)[: int((~np.isnan(self.numbers)).sum())]
        if not len(order):
            return np.full(len(weights), np.nan)
        below = weights[:, order].cumsum(1)
        place = (below < self.at * below[:, -1:]).sum(1)
        found = self.numbers[order][np.minimum(place, len(order) - 1)]
        return np.where(below[:, -1] > 0, found, np.nan)

    def beside(self, other: "Quantile") -> "Quantile":
        return Quantile(np.concatenate([self.numbers, other.numbers]), self.at)


def value(measure: Measure) -> float:
    return float(measure.values(np.ones((1, len(measure))))[0]) if len(measure) else float("nan")


def estimates(measures: Sequence[Measure], seed: int = 0) -> list[Estimate]:
    """Return each measure's figure with a 95 % interval.

    Args:
        measures: over the same photos.
        seed: of the resampling; every measure sees the same draws.
    """
    if not measures or not len(measures[0]):
        return [Estimate(float("nan"), float("nan"), float("nan")) for _ in measures]
    drawn = _bootstrapped([measure for measure in measures if measure.interval == "bootstrap"], seed)
    found = []
    for measure in measures:
        figure = value(measure)
        if measure.interval == "bootstrap":
            low, high = _percentiles(next(drawn))
        else:
            error = NORMAL_95 * _standard_error(left_out(measure, seed))
            low, high = figure - error, figure + error
        found.append(Estimate(figure, low, high))
    return found


def _bootstrapped(measures: Sequence[Measure], seed: int) -> Iterator[np.ndarray]:
    """Yield each measure's figures over the same resamples."""
    if not measures:
        return
    blocks = [[measure.values(weights) for measure in measures] for weights in resamples(len(measures[0]), seed)]
    yield from (np.concatenate(own) for own in zip(*blocks, strict=True))


def resamples(photos: int, seed: int) -> Iterator[np.ndarray]:
    """Yield RESAMPLES bootstrap weightings in blocks (weightings, photos)."""
    rng = np.random.default_rng(seed)
    for size in _block_sizes(RESAMPLES, photos):
        yield rng.multinomial(photos, np.full(photos, 1 / photos), size=size).astype(float)


def left_out(measure: Measure, seed: int) -> np.ndarray:
    """Return the figure with each group of photos left out (delete-a-group jackknife, Kott 2001)."""
    photos = len(measure)
    groups = np.random.default_rng(seed).permutation(photos) % min(photos, GROUPS)
    figures = []
    for first in range(0, groups.max() + 1, 20):
        left = np.arange(first, min(first + 20, groups.max() + 1))
        figures.append(measure.values((groups[None, :] != left[:, None]).astype(float)))
    return np.concatenate(figures)


def _standard_error(figures: np.ndarray) -> float:
    figures = figures[~np.isnan(figures)]
    if len(figures) < 2:
        return float("nan")
    return float(np.sqrt((len(figures) - 1) * np.var(figures)))


def _percentiles(figures: np.ndarray) -> tuple[float, float]:
    figures = figures[~np.isnan(figures)]
    return tuple(map(float, np.percentile(figures, [LOW, HIGH]))) if len(figures) else (float("nan"), float("nan"))


def _block_sizes(total_rows: int, photos: int) -> Iterator[int]:
    at_once = max(BLOCK // max(photos, 1), 1)
    for start in range(0, total_rows, at_once):
        yield min(at_once, total_rows - start)


# --- Two systems on the same photos ---------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """How much larger one system's figure is than another's on the same photos.

    Attributes:
        estimate: the difference and its 95 % interval, photos resampled in pairs.
        p: chance of a difference as large either way if it didn't matter which system wrote for which photo.
    """

    estimate: Estimate
    p: float


def differences(pairs: Sequence[tuple[AnyMeasure, AnyMeasure]], seed: int = 0) -> list[Difference]:
    """Compare two systems in several measures; each pair is (ours, theirs) over the same photos in the same order.

    The test is approximate randomisation: per photo a coin decides whether the two systems swap their texts. It holds
    for figures that are no means (BLEU, distinct-n), makes no assumption on how they are distributed, and pairs the
    photos, so that a hard photo is hard for both.
    """
    if not pairs:
        return []
    photos = len(pairs[0][0])
    observed = [value(ours) - value(theirs) for ours, theirs in pairs]
    intervals = _difference_intervals(pairs, seed)
    extreme = np.zeros(len(pairs))
    both = [ours.beside(theirs) for ours, theirs in pairs]
    rng = np.random.default_rng(seed)
    for size in _block_sizes(SHUFFLES, 2 * photos):
        swapped = rng.integers(0, 2, (size, photos)).astype(float)
        first, second = np.hstack([1 - swapped, swapped]), np.hstack([swapped, 1 - swapped])
        for place, measure in enumerate(both):
            shuffled = np.abs(measure.values(first) - measure.values(second))
            # Sums in another order differ in their last bits. A shuffle without a figure (all texts on one side) counts
            # as extreme: it must not make the difference look rarer.
            extreme[place] += (~(shuffled < abs(observed[place]) - 1e-12)).sum()
    return [
        Difference(Estimate(figure, low, high), float("nan") if np.isnan(figure) else (1 + count) / (1 + SHUFFLES))
        for figure, (low, high), count in zip(observed, intervals, extreme, strict=True)
    ]


def _difference_intervals(pairs: Sequence[tuple[Measure, Measure]], seed: int) -> list[tuple[float, float]]:
    by_bootstrap = [measure for pair in pairs if pair[0].interval == "bootstrap" for measure in pair]
    drawn = _bootstrapped(by_bootstrap, seed)
    found = []
    for ours, theirs in pairs:
        if ours.interval == "bootstrap":
            found.append(_percentiles(next(drawn) - next(drawn)))
        else:
            middle = value(ours) - value(theirs)
            error = NORMAL_95 * _standard_error(left_out(ours, seed) - left_out(theirs, seed))
            found.append((middle - error, middle + error))
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number (Holm 1979); what is not a number is no test and doesn't count."""
    adjusted = np.full(len(p_values), np.nan)
    tested = [place for place in np.argsort(p_values) if not np.isnan(p_values[place])]
    highest = 0.0
    for rank, place in enumerate(tested):
        highest = max(highest, (len(tested) - rank) * p_values[place])
        adjusted[place] = min(highest, 1.0)
    return adjusted.tolist()
