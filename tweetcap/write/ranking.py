"""Which candidates become tweets: sound ones that belong to the photo, the tones taking turns."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from tweetcap.write.filters import near_copies
from tweetcap.write.sampling import Candidate

# The log-odds that a reader finds a text sound: a logistic regression over 714 candidates that were read one by one.
# Both likelihoods are a whole text's, in nats: the longer it is, the more can break. How likely it is without the photo
# says as much as how likely it is with it.
SOUND_WITH_PHOTO, SOUND_WITHOUT, SOUND_BIAS = 0.20, 0.13, 5.7
SOUND_REPEATED = -4.0  # for each kanji or katakana word that a text says again: 馬と馬
GROUNDING_WEIGHT = 0.05  # a nat by which the photo makes the text likelier
COMMONPLACE_WEIGHT = 0.01  # a nat of being unlikely without the photo; against idioms that fit every animal

CONTENT_WORD = re.compile(r"[一-鿿々]+|[ァ-ヴー]{2,}")


class Contender(NamedTuple):
    """A text that may be published, and how it was drawn."""

    text: str
    tone: str
    candidate: Candidate


def score(contender: Contender) -> float:
    """Return how good a text is: the log-probability that it is sound, and a little for fitting this photo alone.

    Among texts that are surely sound a likelier one gains nothing; were it to, the likeliest idioms would always win.
    """
    candidate = contender.candidate
    words = CONTENT_WORD.findall(contender.text)
    repeated = len(words) - len(set(words))
    log_odds = SOUND_BIAS + SOUND_REPEATED * repeated
    log_odds += SOUND_WITH_PHOTO * candidate.log_likelihood + SOUND_WITHOUT * candidate.null_log_likelihood
    soundness = min(log_odds, 0.0) - math.log1p(math.exp(-abs(log_odds)))
    return soundness + GROUNDING_WEIGHT * candidate.grounding - COMMONPLACE_WEIGHT * candidate.null_log_likelihood


def choose(contenders: Sequence[Contender], count: int, avoid: Sequence[str] = ()) -> list[Contender]:
    """Return up to `count` contenders, no two of them near copies, and none of a text to avoid.

    The tone that was chosen least often so far comes next, with its best text: the first is the best of all,
    and no tone in particular means a mixture of tones.
    """
    scored = [
        (score(contender), contender)
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
