"""Which candidates become tweets: those that a reader is likeliest to find good, the tones taking turns."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from tweetcap.write.filters import near_copies
from tweetcap.write.sampling import Candidate

CONTENT_WORD = re.compile(r"[一-鿿々]+|[ァ-ヴー]{2,}")


class Features(NamedTuple):
    """What ranking knows of a text.

    Attributes:
        log_likelihood: of the whole text with the photo, in nats: the longer it is, the more can break.
        null_log_likelihood: the same without the photo, which says as much of its soundness.
        repeated: kanji or katakana words that are said again: 馬と馬.
        sights: nats by which the detectors find its words likelier in this photo than in others.
    """

    log_likelihood: float
    null_log_likelihood: float
    repeated: int
    sights: float


# Log-odds that a reader finds a text sound, fitting, and funny or warm: a bias, then a weight for each of `Features`.
# Learnt by training/fit_ranking.py from candidates that were read one by one.
VERDICTS = {
    "fluent": {
        "つぶやき": (6.78, 0.216, 0.116, -1.51, -0.0702),
        "ツッコミ": (4.18, 0.16, 0.0682, -0.856, -0.0177),
        "アフレコ": (5.36, 0.181, 0.132, -1.75, -0.134),
        "ほっこり": (4.65, 0.112, 0.107, -1.41, -0.113),
        "大喜利": (5.87, 0.183, 0.112, -1.1, 0.172),
    },
    "fits": {
        "つぶやき": (-0.65, 0.0738, 0.0205, 0.146, 0.244),
        "ツッコミ": (1.16, 0.167, -0.0197, 0.167, 0.0938),
        "アフレコ": (3.32, 0.0813, 0.122, -0.492, 0.367),
        "ほっこり": (0.266, 0.156, -0.0205, 0.634, 0.114),
        "大喜利": (2.94, 0.0614, 0.132, -2.42, 0.17),
    },
    "funny": {
        "つぶやき": (-2.65, 0.0239, 0.00734, -0.952, -0.0509),
        "ツッコミ": (0.669, 0.179, 0.0198, 0.165, 0.00602),
        "アフレコ": (2.01, 0.119, 0.115, -0.0436, 0.214),
        "ほっこり": (-0.42, 0.118, 0.00165, -0.0187, 0.119),
        "大喜利": (2.15, 0.098, 0.126, -1.74, 0.162),
    },
}


class Contender(NamedTuple):
    """A text that may be published, how it was drawn, and how its words go with the photo."""

    text: str
    tone: str
    candidate: Candidate
    sights: float = 0.0

    @property
    def features(self) -> Features:
        words = CONTENT_WORD.findall(self.text)
        likelihoods = self.candidate.log_likelihood, self.candidate.null_log_likelihood
        return Features(*likelihoods, len(words) - len(set(words)), self.sights)


def score(contender: Contender) -> float:
    """Return how good a text is, from 0 to 3: the probabilities that it is found sound, fitting, and funny or warm.

    Among texts that are surely sound a likelier one gains nothing; were it to, the likeliest idioms would always win.
    """
    return sum(_probability(table[contender.tone], contender.features) for table in VERDICTS.values())


def _probability(weights: Sequence[float], features: Features) -> float:
    bias, *others = weights
    log_odds = bias + sum(weight * feature for weight, feature in zip(others, features, strict=True))
    return 1 / (1 + math.exp(min(-log_odds, 700.0)))


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
