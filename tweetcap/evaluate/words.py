"""What counts as a word in every figure: the unidic-lite words of a text, without white space."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.metadata import version

from tweetcap.model import normalise, split_words

Gram = tuple[str, ...]


def tokenisation() -> str:
    """Return in one sentence how texts are cut into words; metrics.json repeats it."""
    return (
        f"Words are those of MeCab with unidic-lite {version('unidic-lite')} (fugashi {version('fugashi')}), after NFC "
        "with narrow letters and digits and wide kana; white space is dropped, punctuation and emoji are words."
    )


@lru_cache(maxsize=2**17)
def words_of(text: str) -> tuple[str, ...]:
    """Return the unidic-lite words of a text; white space is no word."""
    return tuple(word for word in split_words(normalise(text)) if not word.isspace())


def spaced(text: str) -> str:
    """Return the words of a text with spaces between, as scorers that split at spaces want it."""
    return " ".join(words_of(text))


def n_grams(words: Sequence[str], n: int) -> list[Gram]:
    return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]


def distinct_grams(texts: Iterable[str], n: int) -> list[list[Gram]]:
    """Return the n-grams of each text."""
    return [n_grams(words_of(text), n) for text in texts]
