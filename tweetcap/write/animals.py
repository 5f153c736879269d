"""Which animals a text may name: those that the photo's concepts make likely enough.

An LSTM that has read of dogs ten times as often as of lizards writes 犬 under a lizard, however sure the encoder is. So
the words of other animals are kept from being drawn, and a candidate that spells one out in pieces is dropped.
"""

import re
from functools import lru_cache

import torch

from tweetcap.data.animals import animals_named, load_animals, right_animal
from tweetcap.model import TweetCapEncoderOutput, TweetCapTokenizer

LEAST_PROBABILITY, LEAST_SHARE = 0.05, 0.25  # of the likeliest concept's probability; chosen on validation photos
GRAMMAR = re.compile(r"[ぁ-んー]{1,3}")  # かも, いか: more often grammar than animals


class AnimalWords:
    """The animal words of a vocabulary, and which of them a photo allows.

    Args:
        concepts: the word of each of the network's concepts; with none, every word is allowed.
    """

    def __init__(self, tokenizer: TweetCapTokenizer, concepts: list[str]):
        self.concepts = concepts
        self.tokens: dict[str, set[int]] = {}  # animal → every token of its spellings
        self.whole: dict[str, set[int]] = {}  # animal → the tokens that are one of its spellings
        for animal in load_animals() if concepts else ():
            pieces = [tokenizer.encode(spelling) for spelling in animal.words if not GRAMMAR.fullmatch(spelling)]
            self.tokens[animal.word] = {token for ids in pieces for token in ids}
            self.whole[animal.word] = {ids[0] for ids in pieces if len(ids) == 1}

    def allowed(self, encoded: TweetCapEncoderOutput) -> frozenset[str] | None:
        """Return the animals that one photo allows, by their canonical words; None where there are no concepts."""
        if not self.concepts:
            return None
        probs = encoded.concept_log_probs[0].exp()
        likely = probs >= (LEAST_SHARE * probs[0]).clamp_min(LEAST_PROBABILITY)
        concepts = [self.concepts[index] for index in encoded.concept_ids[0][likely].tolist()]
        return frozenset().union(*map(_right_words, concepts))

    def banned(self, allowed: frozenset[str] | None) -> list[int]:
        """Return the tokens that are words of animals which aren't allowed, and no part of one that is."""
        if allowed is None:
            return []
        needed = set().union(*(self.tokens[animal] for animal in allowed))
        others = set().union(*(tokens for animal, tokens in self.whole.items() if animal not in allowed))
        return sorted(others - needed)

    @staticmethod
    def names_another(text: str, allowed: frozenset[str] | None) -> bool:
        """Whether the text names animals and none that is allowed."""
        named = animals_named(text) if allowed is not None else []
        return bool(named) and not allowed.intersection(named)


@lru_cache(maxsize=1024)
def _right_words(concept: str) -> frozenset[str]:
    """Return the animals that a photo of a concept may be said to show: 鳥 for a カモメ, 子猫 for a 猫."""
    return frozenset(animal.word for animal in load_animals() if right_animal(animal.word, concept))


def forbid(banned: torch.Tensor, tokens: list[int]) -> torch.Tensor:
    """Return a mask (vocab_size,) that bans these tokens too."""
    mask = banned.clone()
    mask[tokens] = True
    return mask
