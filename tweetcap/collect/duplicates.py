"""Which posts show the same photo or say the same text: clusters of near-duplicates, across all accounts.

Photos are the same if their perceptual hashes (64 bits) differ in a few bits; texts if nearly all their letter pairs
agree. Sameness is carried on: if A is like B and B like C, all three are one cluster. Both searches are exact, no pair
within the limit is missed.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np

from tweetcap.collect.posts import PhotoRecord
from tweetcap.write.filters import fold

# Measured on 4,914 different photos: none of their 12 million pairs is within 8 bits, 7 are within 10. Of their copies
# 100 % are within 8 at half the size and JPEG quality 60, 99 % made 1.3 times brighter, 98 % mirrored, 86 % without
# 3 % at each side.
MAX_DISTANCE = 8
# A mirrored photo has the same frequencies, those of odd columns with the other sign.
MIRROR = np.uint64(0x5555555555555555)
# The hash splits a photo's frequencies at their median, so half of its bits are set. One far from that is of a
# blank picture, and two of them tell nothing about each other.
PLAUSIBLE_BITS = range(24, 41)

SHORTEST_TEXT = 16  # letters; what is shorter, like 「よろしくお願いします」, anyone may say on their own
MIN_SIMILARITY = 0.85


class UnionFind:
    """Disjoint sets of the integers below `count`."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def find(self, item: int) -> int:
        parent = self._parent
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    def join(self, one: int, other: int) -> None:
        self._parent[self.find(one)] = self.find(other)


def cluster_photos(photos: Mapping[str, PhotoRecord], max_distance: int = MAX_DISTANCE) -> dict[str, str]:
    """Group photos that are the same file or nearly the same picture, mirrored or not.

    Args:
        photos: media key → record; those without a file are left out.
        max_distance: bits in which the perceptual hashes of two photos of a cluster may differ.

    Returns:
        media key → the cluster's name, its smallest media key. The order of the photos doesn't matter.
    """
    keys = sorted(key for key, photo in photos.items() if photo.path)
    sets = UnionFind(len(keys))
    _join_equal(sets, [photos[key].sha256 for key in keys])
    hashed = [index for index, key in enumerate(keys) if photos[key].perceptual_hash]
    hashes = np.array([int(photos[keys[index]].perceptual_hash, 16) for index in hashed], dtype=np.uint64)
    bits = np.bitwise_count(hashes)
    plausible = np.flatnonzero((bits >= PLAUSIBLE_BITS.start) & (bits < PLAUSIBLE_BITS.stop))
    hashes = hashes[plausible]
    for pairs in near_pairs(np.concatenate([hashes, hashes ^ MIRROR]), max_distance):
        for one, other in plausible[pairs % len(plausible)]:
            sets.join(hashed[one], hashed[other])
    return _names(keys, sets)


def near_pairs(hashes: np.ndarray, max_distance: int) -> Iterator[np.ndarray]:
    """Yield the pairs of hashes that differ in at most `max_distance` bits, those of equal hashes as a chain.

    Multi-index hashing (Norouzi et al. 2012): if the 64 bits are cut into one more band than bits may differ, two such
    hashes agree in at least one whole band, so only hashes that share a band need to be compared.

    Args:
        hashes: uint64 (count,).

    Yields:
        int (pairs, 2), positions in `hashes`; a pair may come more than once.
    """
    order = np.argsort(hashes, kind="stable")
    same = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
    yield np.stack([order[same], order[same + 1]], axis=1)
    unique, first = np.unique(hashes, return_index=True)
    bounds = np.linspace(0, 64, max_distance + 2).astype(int)
    for low, high in pairwise(bounds):
        band = (unique >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        by_band = np.argsort(band, kind="stable")
        starts = np.flatnonzero(np.diff(band[by_band], prepend=band[by_band[:1]] ^ np.uint64(1)))
        for members in np.split(by_band, starts[1:]) if len(starts) else ():
            yield from (first[members[pairs]] for pairs in _near_in_group(unique[members], max_distance))


def _near_in_group(hashes: np.ndarray, max_distance: int, block: int = 1024) -> Iterator[np.ndarray]:
    """Compare each with each, a block of rows at a time."""
    for start in range(0, len(hashes) - 1, block):
        rows = hashes[start : start + block]
        distances = np.bitwise_count(rows[:, None] ^ hashes[None, start:])
        one, other = np.nonzero(distances <= max_distance)
        ahead = other > one
        if ahead.any():
            yield np.stack([one[ahead], other[ahead]], axis=1) + start


def cluster_texts(texts: Mapping[str, str], min_similarity: float = MIN_SIMILARITY) -> dict[str, str]:
    """Group texts that say the same in nearly the same letters.

    Two texts are alike if their letter bigrams overlap by `min_similarity` (Dice); punctuation, emoji, case and
    numbers of marks don't count. Short texts are left out.

    Args:
        texts: post id → text.

    Returns:
        post id → the cluster's name, its smallest post id.
    """
    folded = {post_id: fold(text) for post_id, text in texts.items()}
    keys = sorted(post_id for post_id, letters in folded.items() if len(letters) >= SHORTEST_TEXT)
    sets = UnionFind(len(keys))
    first = _join_equal(sets, [folded[key] for key in keys])
    bigrams = [_bigrams(folded[keys[index]]) for index in first]
    for one, other in _similar_pairs(bigrams, min_similarity):
        sets.join(first[one], first[other])
    return _names(keys, sets)


def _bigrams(letters: str) -> frozenset[tuple[str, int]]:
    """Return the bigrams, numbered, so that one that occurs twice counts twice."""
    seen: Counter[str] = Counter()
    numbered = []
    for start in range(len(letters) - 1):
        bigram = letters[start : start + 2]
        seen[bigram] += 1
        numbered.append((bigram, seen[bigram]))
    return frozenset(numbered)


def _similar_pairs(items: list[frozenset], min_similarity: float) -> Iterator[tuple[int, int]]:
    """Yield the pairs of sets whose Dice similarity reaches the limit.

    Prefix filtering (Chaudhuri et al. 2006): sorted from rare to frequent, two such sets share one of their first few
    elements, so only sets that share a rare one need to be compared.
    """
    frequency = Counter(element for item in items for element in item)
    rank = {element: place for place, element in enumerate(sorted(frequency, key=lambda e: (frequency[e], e)))}
    # Dice ≥ s means that the smaller set has at least s / (2 - s) of the larger one's size.
    ratio = min_similarity / (2 - min_similarity)
    index: defaultdict[int, list[int]] = defaultdict(list)
    for one in sorted(range(len(items)), key=lambda number: (len(items[number]), number)):
        size = len(items[one])
        prefix = sorted(rank[element] for element in items[one])[: size - int(np.ceil(ratio * size - 1e-9)) + 1]
        candidates = {other for element in prefix for other in index[element]}
        for other in candidates:
            if len(items[other]) >= ratio * size:
                overlap = 2 * len(items[one] & items[other])
                if overlap >= min_similarity * (size + len(items[other])):
                    yield one, other
        for element in prefix:
            index[element].append(one)


def _join_equal(sets: UnionFind, values: list[str | None]) -> list[int]:
    """Join the positions of equal values; return the first position of each value."""
    first: dict[str, int] = {}
    for position, value in enumerate(values):
        if value is not None:
            sets.join(first.setdefault(value, position), position)
    return list(first.values())


def _names(keys: list[str], sets: UnionFind) -> dict[str, str]:
    """Name every set by its first key; the keys are sorted, so that is the smallest."""
    names: dict[int, str] = {}
    return {key: names.setdefault(sets.find(number), key) for number, key in enumerate(keys)}
