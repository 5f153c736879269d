"""Which candidates become tweets: the likeliest and best grounded, in varied tones and wordings."""

from collections import Counter

from tweetcap.write.filters import near_copies
from tweetcap.write.sampling import Candidate

GROUNDING_WEIGHT = 1.0  # how much a nat gained by the photo counts beside a nat of likelihood
TONE_PENALTY = 0.6  # nats a token by which each further tweet of one tone has to be better


def score(candidate: Candidate) -> float:
    """Return how good a candidate is, in nats a token: fluent and more likely with the photo than without."""
    return (candidate.log_likelihood + GROUNDING_WEIGHT * candidate.grounding) / candidate.tokens


def choose(candidates: list[tuple[str, str, Candidate]], count: int) -> list[tuple[str, str, Candidate]]:
    """Return up to `count` of the (text, tone, candidate) triples, best first, no two of them near copies.

    Each choice is the best of those left after a penalty for tones already chosen, so that no tone in particular
    means a mixture of tones.
    """
    left = sorted(candidates, key=lambda item: (-score(item[2]), item[0]))
    chosen, tones = [], Counter()
    while left and len(chosen) < count:
        best = max(left, key=lambda item: score(item[2]) - TONE_PENALTY * tones[item[1]])
        chosen.append(best)
        tones[best[1]] += 1
        left = [item for item in left if not near_copies(item[0], best[0])]
    return chosen
