"""Whether texts differ: from each other over all photos, and the texts of one photo among themselves."""

from collections import Counter
from collections.abc import Sequence
from math import log

import numpy as np

from tweetcap.evaluate.measures import Kinds, RelativeKinds, Sums, ratio
from tweetcap.evaluate.reference import ORDER, BleuOf, Texts, bleu_counts
from tweetcap.evaluate.words import Gram, distinct_grams, n_grams, words_of


def distinct(texts: Texts, n: int) -> Kinds:
    """Return different n-grams ÷ all n-grams, over all texts together (Li et al. 2016).

    It falls as there are more texts, so compare only at equal numbers: see `relative_distinct`.
    """
    return Kinds([distinct_grams(own, n) for own in texts])


def relative_distinct(texts: Texts, references: Texts, n: int = 2) -> RelativeKinds:
    """Return distinct-n of texts ÷ distinct-n of references, at as many texts as the smaller collection has."""
    return RelativeKinds(distinct(texts, n), distinct(references, n))


def vocabulary(texts: Texts) -> Kinds:
    """Return how many different words there are."""
    return Kinds([distinct_grams(own, 1) for own in texts], shared=False)


def self_bleu(texts: Texts) -> Sums:
    """Return the BLEU-4 of each text against the others of its photo: high is alike (Shetty et al. 2017, mBLEU-4).

    Counts are summed over all texts before BLEU is worked out: single short texts share no 4-gram, and their own
    BLEU would be what the smoothing says.
    """
    alone = [[own[place]] for own in texts if len(own) > 1 for place in range(len(own))]
    others = [[*own[:place], *own[place + 1 :]] for own in texts if len(own) > 1 for place in range(len(own))]
    photos = [photo for photo, own in enumerate(texts) if len(own) > 1 for _ in own]
    rows = np.zeros((len(texts), 2 + 2 * ORDER))
    np.add.at(rows, photos, bleu_counts(alone, others))
    return Sums(rows, BleuOf(ORDER))


def self_cider(texts: Texts, documents: Texts) -> Sums:
    """Return the mean Self-CIDEr of the photos: 0 where all texts are alike, 1 where they share no n-gram.

    Args:
        texts: photo → texts; a photo with fewer than two adds nothing.
        documents: photo → texts that say how rare an n-gram is; the references, or the texts themselves.
    """
    rarity = Rarity(documents)
    scores = [photo_self_cider(own, rarity) for own in texts]
    return ratio(np.nan_to_num(scores), ~np.isnan(scores))


def photo_self_cider(texts: Sequence[str], rarity: "Rarity") -> float:
    """Return the Self-CIDEr of one photo's texts (Wang and Chan 2019).

    With the kernel of the texts' CIDEr to each other and the square roots s of its eigenvalues, it is
    -log(max s / sum s) ÷ log(number of texts); not a number for fewer than two texts.
    """
    if len(texts) < 2:
        return float("nan")
    kernel = cider_kernel(texts, rarity)
    roots = np.sqrt(np.clip(np.linalg.eigvalsh(kernel), 0, None))
    if not roots.sum():
        return float("nan")  # no text has a word that tells photos apart
    # The largest of equal numbers ÷ their sum may come out a hair above 1.
    return max(0.0, -log(roots.max() / roots.sum()) / log(len(texts)))


def cider_kernel(texts: Sequence[str], rarity: "Rarity") -> np.ndarray:
    """Return the CIDEr of every text to every other, ÷ 10: (texts, texts).

    CIDEr is the cosine of the tf-idf vectors, averaged over n = 1 to 4 (Vedantam et al. 2015). Not CIDEr-D, whose
    clipping and length penalty would make it no kernel.
    """
    kernel = np.zeros((len(texts), len(texts)))
    for n in range(1, ORDER + 1):
        counts = [Counter(n_grams(words_of(text), n)) for text in texts]
        columns = {gram: place for place, gram in enumerate(dict.fromkeys(gram for own in counts for gram in own))}
        vectors = np.zeros((len(texts), len(columns)))
        for row, own in enumerate(counts):
            for gram, count in own.items():
                vectors[row, columns[gram]] = count * rarity(gram)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
        kernel += vectors @ vectors.T / ORDER
    return kernel


class Rarity:
    """How much an n-gram tells photos apart: log(photos ÷ photos that have it in a text), CIDEr's idf."""

    def __init__(self, documents: Texts):
        having = [own for own in documents if own]
        self.photos = len(having)
        self.with_gram: Counter[Gram] = Counter()
        for own in having:
            words = [words_of(text) for text in own]
            self.with_gram.update({gram for text in words for n in range(1, ORDER + 1) for gram in n_grams(text, n)})

    def __call__(self, gram: Gram) -> float:
        return log(max(self.photos, 1)) - log(max(self.with_gram[gram], 1))
