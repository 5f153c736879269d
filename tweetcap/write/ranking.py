"""Which candidates become tweets: likely and well grounded ones, the tones taking turns."""

import re
from collections import Counter

from tweetcap.write.filters import near_copies
from tweetcap.write.sampling import Candidate

GROUNDING_WEIGHT = 0.5  # how much a nat gained by the photo counts beside a nat of likelihood
REPETITION_PENALTY = 3.0  # nats for each kanji or katakana word that a text says again: 馬と馬

CONTENT_WORD = re.compile(r"[一-鿿々]+|[ァ-ヴー]{2,}")


def score(text: str, candidate: Candidate) -> float:
    """Return how good a candidate is, in nats a token: likely, likelier with the photo than without, no stammer."""
    words = CONTENT_WORD.findall(text)
    repeated = len(words) - len(set(words))
    nats = candidate.log_likelihood + GROUNDING_WEIGHT * candidate.grounding - REPETITION_PENALTY * repeated
    return nats / candidate.tokens


def choose(candidates: list[tuple[str, str, Candidate]], count: int) -> list[tuple[str, str, Candidate]]:
    """Return up to `count` of the (text, tone, candidate) triples, no two of them near copies.

    The tone that was chosen least often so far comes next, with its best candidate: the first is the best of all,
    and no tone in particular means a mixture of tones.
    """
    scored = [(score(text, candidate), text, tone, candidate) for text, tone, candidate in candidates]
    chosen: list[tuple[str, str, Candidate]] = []
    tones: Counter[str] = Counter()
    while scored and len(chosen) < count:
        _, text, tone, candidate = max(scored, key=lambda item: (-tones[item[2]], item[0], item[1]))
        chosen.append((text, tone, candidate))
        tones[tone] += 1
        scored = [item for item in scored if not near_copies(item[1], text)]
    return chosen
