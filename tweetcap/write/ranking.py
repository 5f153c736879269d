"""Which candidates become tweets: likely and well grounded ones, the tones taking turns."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

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


class Contender(NamedTuple):
    """A text that may be published, and how it was drawn."""

    text: str
    tone: str
    register: str
    candidate: Candidate


def choose(contenders: Sequence[Contender], count: int, avoid: Sequence[str] = ()) -> list[Contender]:
    """Return up to `count` contenders, no two of them near copies, and none of a text to avoid.

    The tone that was chosen least often so far comes next, with its best text: the first is the best of all,
    and no tone in particular means a mixture of tones.
    """
    scored = [
        (score(contender.text, contender.candidate), contender)
        for contender in contenders
        if not any(near_copies(contender.text, text) for text in avoid)
    ]
    chosen: list[Contender] = []
    tones: Counter[str] = Counter()
    while scored and len(chosen) < count:
        _, best = max(scored, key=lambda item: (-tones[item[1].tone], item[0], item[1].text))
        chosen.append(best)
        tones[best.tone] += 1
        scored = [item for item in scored if not near_copies(item[1].text, best.text)]
    return chosen
