"""What a model took from its training texts: whole texts, and the longest run of words that stands there too."""

from collections.abc import Collection, Iterable, Sequence

import numpy as np
from tqdm import tqdm

from tweetcap.evaluate.words import words_of
from tweetcap.write.filters import fold

NO_WORD = -1  # a word that no text asked about has, or the gap between two training texts


def is_copy(text: str, folded: Collection[str]) -> bool:
    """Say whether the text folds to the same letters as a training text; one of signs alone is no copy.

    Args:
        folded: `fold` of every training text.
    """
    key = fold(text)
    return bool(key) and key in folded


def longest_copied_spans(texts: Sequence[str], training: Iterable[str]) -> list[int]:
    """Return for each text the length, in words, of its longest run of words that stands in a training text.

    Exact, and for half a million training texts a matter of seconds beyond cutting them into words: n grows from 1,
    and of the training texts only the places stay where an n-gram of the texts asked about begins.
    """
    numbers: dict[str, int] = {}
    words = [np.array([numbers.setdefault(word, len(numbers)) for word in words_of(text)], int) for text in texts]
    trained = _numbered(training, numbers)
    lengths = np.zeros(len(texts), int)
    grams = [own.copy() for own in words]  # of each text: number of the n-gram that begins at each place
    at = np.flatnonzero(trained != NO_WORD)  # where in training an n-gram of the texts begins, and which
    found = trained[at]
    n = 1
    while len(found):
        seen = np.unique(found)
        for place, own in enumerate(grams):
            if np.isin(own, seen).any():
                lengths[place] = n
        # The next n-gram is the number of this one and the word after it; only those of the texts get a number.
        longer = [own[:-1] * len(numbers) + after[n:] for own, after in zip(grams, words, strict=True)]
        known = np.unique(np.concatenate(longer)) if longer else np.empty(0, int)
        grams = [np.searchsorted(known, own) for own in longer]
        # The training texts end with a gap, so there is a word after every place.
        after = trained[at + n]
        codes = found * len(numbers) + after
        numbered = np.minimum(np.searchsorted(known, codes), max(len(known) - 1, 0))
        stays = (after != NO_WORD) & (known[numbered] == codes) if len(known) else np.zeros(len(at), bool)
        at, found = at[stays], numbered[stays]
        n += 1
    return lengths.tolist()


def _numbered(training: Iterable[str], numbers: dict[str, int]) -> np.ndarray:
    """Return the words of all training texts as numbers, with a gap after each text: (words,)."""
    line: list[int] = []
    for text in tqdm(training, desc="training texts", unit="text", unit_scale=True, disable=None):
        line += [numbers.get(word, NO_WORD) for word in words_of.__wrapped__(text)]  # not kept: each is read once
        line.append(NO_WORD)
    return np.array(line, int)
