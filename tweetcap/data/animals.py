"""Japanese animal words: which animals a text names, whether they fit the photo, their ImageNet classes.

The lexicon is animals.yaml beside this file, which also explains its fields. Two readers use it: the
network's config takes `concepts()`, the evaluation asks `animals_named` and `right_animal`.

    >>> animals_named("かもしれないけど、カモメとシマウマがいるかも")
    ['カモメ', 'シマウマ']
    >>> right_animal("水辺に鳥がいる", "カモ")
    True
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml
from fugashi import Tagger

LEXICON = Path(__file__).with_name("animals.yaml")
HIRAGANA = re.compile(r"[ぁ-んー]+")
KATAKANA = re.compile(r"[ァ-ヴー]{2}")


@dataclass(frozen=True)
class Animal:
    """One everyday word for an animal.

    Attributes:
        word: the canonical spelling, as in the starter corpus's `species`.
        words: every spelling and synonym that names it, the canonical one first.
        kinds: canonical words of what it is a kind of, all the way up.
        broad: whether a photo labelled with this word may show one of its kinds (a 鳥 may be a カモ).
        imagenet: ImageNet-1k class indices that show it; empty where there is none.
    """

    word: str
    words: tuple[str, ...]
    kinds: frozenset[str]
    broad: bool
    imagenet: tuple[int, ...]


@lru_cache(maxsize=1)
def load_animals() -> tuple[Animal, ...]:
    """Return the lexicon's animals in the file's order.

    Raises:
        ValueError: the lexicon contradicts itself (a spelling or a class given twice, an unknown kind).
    """
    entries = _lexicon()["animals"]
    animals = tuple(
        Animal(
            word=word,
            words=(word, *entry.get("words", ())),
            kinds=_kinds_above(word, entries),
            broad=entry.get("broad", False),
            imagenet=_class_indices(entry.get("imagenet", ())),
        )
        for word, entry in entries.items()
    )
    for what, values in (
        ("spelling", [spelling for animal in animals for spelling in animal.words]),
        ("ImageNet class", [index for animal in animals for index in animal.imagenet]),
    ):
        twice = {value for value in values if values.count(value) > 1}
        if twice:
            raise ValueError(f"{LEXICON.name} gives the {what} {sorted(twice)[0]!r} twice; keep one.")
    return animals


def concepts() -> dict[str, list[int]]:
    """Return canonical word → ImageNet-1k class indices, for the animals that ImageNet knows."""
    return {animal.word: list(animal.imagenet) for animal in load_animals() if animal.imagenet}


@lru_cache(maxsize=65536)
def _named(text: str) -> tuple[str, ...]:
    text = unicodedata.normalize("NFKC", text)
    pattern, canonical, figures = _patterns()
    match = pattern.search(text)
    if match is None:
        return ()
    morphemes = _morphemes(text)
    named: dict[str, None] = {}  # a dict keeps the order in which they are named
    while match is not None:
        word = canonical.get(match.group())  # None for an idiom
        whole = word is None or _is_whole(match, text, morphemes)
        if word is not None and whole and not figures.match(text, match.end()):
            named[word] = None
        # A false hit (がちょう in 「耳がちょうちょ」) may hide a true one that begins inside of it.
        match = pattern.search(text, match.end() if whole else match.start() + 1)
    return tuple(named)


def animals_named(text: str) -> list[str]:
    """Return the canonical words of the animals that a text names, each once, in order.

    The longest spelling wins (シマウマ is no 馬, カモメ no カモ). Idioms (猫背, 馬鹿) and figures of speech
    (ライオンみたい, クマのぬいぐるみ) name nothing.
    """
    return list(_named(text))


def has_animal(species: str) -> bool:
    """Whether a photo's label is an animal of the lexicon; なし, ぬいぐるみ and 銅像 are not."""
    return species in _by_spelling()


def right_animal(text: str, species: str) -> bool | None:
    """Whether the text names the photo's animal: True, False, or None where it names no animal.

    Right is the label itself under any of its names, and anything that the label is a kind of (a photo of
    a カモ, "鳥"). What is more special than the label is right only where the label is broad: a photo
    labelled 鳥 may show a カモ, but one labelled クマ shows no ホッキョクグマ. Where several animals are
    named, one right is enough: a text may mention who else is there. On a photo without an animal every
    animal named is wrong.

    Args:
        species: the photo's label, in any spelling that the lexicon knows.
    """
    named = animals_named(text)
    if not named:
        return None
    label = _by_spelling().get(species)
    return label is not None and any(_fits(word, label) for word in named)


def _fits(word: str, label: Animal) -> bool:
    return word == label.word or word in label.kinds or (label.broad and label.word in _by_spelling()[word].kinds)


@lru_cache(maxsize=1)
def _lexicon() -> dict:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's own, in a tenth of the time
    return yaml.load(LEXICON.read_text(encoding="utf-8"), Loader=loader)


@lru_cache(maxsize=1)
def _by_spelling() -> dict[str, Animal]:
    return {spelling: animal for animal in load_animals() for spelling in animal.words}


@lru_cache(maxsize=1)
def _patterns() -> tuple[re.Pattern[str], dict[str, str], re.Pattern[str]]:
    """Return the pattern of spellings and idioms, spelling → canonical word, and the pattern of figures."""
    canonical = {spelling: animal.word for spelling, animal in _by_spelling().items()}
    lexicon = _lexicon()
    by_length = sorted({*canonical, *lexicon["idioms"]}, key=len, reverse=True)
    return _alternatives(by_length), canonical, _alternatives(lexicon["figures"])


def _alternatives(words: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, words)))


def _kinds_above(word: str, entries: dict[str, dict]) -> frozenset[str]:
    above: set[str] = set()
    for kind in entries[word].get("kinds", ()):
        if kind not in entries:
            raise ValueError(f"{LEXICON.name} calls {word} a kind of {kind}, which it doesn't list; add {kind}.")
        above |= {kind} | _kinds_above(kind, entries)
    return frozenset(above)


def _class_indices(written: list[int | str]) -> tuple[int, ...]:
    """Spell out the lexicon's ranges: [7, "10-12"] → (7, 10, 11, 12)."""
    indices: list[int] = []
    for item in written:
        first, _, last = str(item).partition("-")
        indices.extend(range(int(first), int(last or first) + 1))
    return tuple(indices)


@lru_cache(maxsize=1)
def _tagger() -> Tagger:
    return Tagger()


@dataclass(frozen=True)
class _Morphemes:
    """Where a text's morphemes begin and end, and start → (end, dictionary form) of its nouns."""

    starts: frozenset[int]
    ends: frozenset[int]
    nouns: dict[int, tuple[int, str]]


def _morphemes(text: str) -> _Morphemes:
    starts, ends, nouns = set(), set(), {}
    end = 0
    for morpheme in _tagger()(text):
        start = text.index(morpheme.surface, end)  # spaces between morphemes are skipped
        end = start + len(morpheme.surface)
        starts.add(start)
        ends.add(end)
        if morpheme.feature.pos1 == "名詞":
            nouns[start] = (end, (morpheme.feature.lemma or "").split("-")[0])
    return _Morphemes(frozenset(starts), frozenset(ends), nouns)


def _is_whole(match: re.Match[str], text: str, morphemes: _Morphemes) -> bool:
    """Whether a spelling stands in the text as a word of its own, not inside of another."""
    spelling = match.group()
    start, end = match.span()
    before, after = text[max(start - 1, 0) : start], text[end : end + 1]
    if KATAKANA.fullmatch(spelling[0] + before) or KATAKANA.fullmatch(spelling[-1] + after):
        return False
    if len(spelling) <= 3 and HIRAGANA.fullmatch(spelling):
        # かも and いるか are also grammar; a noun whose dictionary form is the animal is not.
        noun_end, form = morphemes.nouns.get(start, (None, ""))
        return noun_end == end and _same_animal(spelling, form)
    if len(spelling) == 1 or HIRAGANA.fullmatch(spelling):
        # One kanji may be part of another word (印象), and so may a run of hiragana (「がちょうど」).
        return start in morphemes.starts and end in morphemes.ends
    return True


def _same_animal(spelling: str, other: str) -> bool:
    by_spelling = _by_spelling()
    return other in by_spelling and by_spelling[other] is by_spelling[spelling]
