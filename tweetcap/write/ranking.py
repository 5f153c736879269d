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
        "つぶやき": (5.87, 0.185, 0.106, -1.67, -0.0491),
        "ツッコミ": (4.34, 0.182, 0.0733, -0.821, -0.0508),
        "アフレコ": (5.23, 0.204, 0.114, -1.54, -0.155),
        "ほっこり": (4.69, 0.166, 0.0802, -1.43, -0.132),
        "大喜利": (6, 0.212, 0.112, -1.04, 0.138),
    },
    "fits": {
        "つぶやき": (-1.26, 0.0413, 0.00733, -0.00443, 0.263),
        "ツッコミ": (1.24, 0.177, -0.0161, 0.188, 0.0835),
        "アフレコ": (2.96, 0.0699, 0.116, -0.349, 0.355),
        "ほっこり": (-0.157, 0.145, -0.037, 0.522, 0.12),
        "大喜利": (3.09, 0.0904, 0.124, -2.38, 0.147),
    },
    "funny": {
        "つぶやき": (-2.97, -0.000768, 0.00538, -0.978, -0.042),
        "ツッコミ": (0.585, 0.173, 0.0243, 0.308, 0.00149),
        "アフレコ": (1.93, 0.144, 0.0936, 0.0799, 0.201),
        "ほっこり": (-0.552, 0.134, -0.0143, -0.062, 0.114),
        "大喜利": (1.96, 0.0997, 0.119, -1.71, 0.139),
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
