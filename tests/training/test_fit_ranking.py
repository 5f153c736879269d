"""What ranking knows is what its verdicts say: learnt anew from them it comes out the same."""

from pathlib import Path

import numpy as np
import pytest

from tweetcap.model import TWEET_TONES
from tweetcap.write.ranking import VERDICTS

REPORT = Path(__file__).parents[2] / "training" / "reports" / "ranking.csv"


@pytest.fixture(scope="module")
def read():
    from fit_ranking import read_verdicts

    return read_verdicts(REPORT)


@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_weights_of_the_writer_are_those_that_the_verdicts_teach(read, verdict):
    from fit_ranking import fit

    features, tones, _, verdicts = read
    learnt = fit(features, tones, verdicts[verdict])
    np.testing.assert_allclose([VERDICTS[verdict][tone] for tone in TWEET_TONES], learnt, rtol=0.02, atol=2e-3)


def test_scores_find_the_good_texts_of_photos_that_taught_nothing(read):
    from fit_ranking import auc, fit

    features, tones, photos, verdicts = read
    for name, values in verdicts.items():
        out = photos % 4 == 0
        weights = fit(features[~out], tones[~out], values[~out])
        scores = weights[tones[out], 0] + (features[out] * weights[tones[out], 1:]).sum(1)
        assert auc(values[out], scores) > 0.65, name
