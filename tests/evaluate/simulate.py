"""Studies whose truth is known: answers drawn from raters and photos that differ as the statistics assume.

Behind every answer stands a number: the system's mean, how mild the rater is and how fond of the system, how well the
photo does and how well this text came out, and chance. The rating mode rounds it to 1 to 5, the pairwise mode compares
two systems' numbers and calls what is close a tie. Rounding to five scores makes answers as coarse and lopsided as
real ones, and what the true mean is after rounding is known exactly.

    python -m tests.evaluate.simulate --studies 2000     # all conditions, an hour
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import astuple, replace
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats
from tqdm import tqdm

from tweetcap.evaluate.survey.preferences import (
    comparisons,
    fit_strengths,
    overall_win_rates,
    side_bias,
    strengths,
    win_rates,
)
from tweetcap.evaluate.survey.statistics import Components, rating_agreement, system_differences, system_means

THRESHOLDS = np.array([1.5, 2.5, 3.5, 4.5])
TIE = 0.4  # numbers closer than this are a tie
NAMES = "abcdefgh"
FULL = Components()


def rating_studies(
    studies: int,
    means: Sequence[float],
    components: Components = FULL,
    raters: int = 35,
    items: int = 30,
    missing: float = 0.0,
    seed: int = 0,
) -> Iterator[pd.DataFrame]:
    """Yield the answers of studies in the rating mode: a Latin square, one question.

    Args:
        means: each system's, before rounding.
        missing: share of answers that are left out at random.
    """
    rng = np.random.default_rng(seed)
    rater, item = np.divmod(np.arange(raters * items), items)
    system = (rater + item) % len(means)
    frame = pd.DataFrame(
        {
            "rater": np.char.add("r", rater.astype(str)),
            "item": np.char.add("p", item.astype(str)),
            "system": np.array(list(NAMES))[system],
            "question": "funny",
        }
    )
    for _ in range(studies):
        hidden = (
            np.asarray(means)[system]
            + components.rater * rng.standard_normal(raters)[rater]
            + components.rater_system * rng.standard_normal((raters, len(means)))[rater, system]
            + components.photo * rng.standard_normal(items)[item]
            + components.text * rng.standard_normal((items, len(means)))[item, system]
            + components.answer * rng.standard_normal(len(rater))
        )
        study = frame.assign(score=1 + np.searchsorted(THRESHOLDS, hidden))
        yield study[rng.random(len(study)) >= missing] if missing else study


def true_means(means: Sequence[float], components: Components = FULL) -> np.ndarray:
    """Return each system's mean score over all raters, photos and answers there could be."""
    spread = np.linalg.norm(astuple(components))
    return np.array([1 + stats.norm.sf((THRESHOLDS - mean) / spread).sum() for mean in means])


def pairwise_studies(
    studies: int,
    means: Sequence[float],
    components: Components = FULL,
    raters: int = 35,
    items: int = 30,
    left: float = 0.0,
    seed: int = 0,
) -> Iterator[pd.DataFrame]:
    """Yield the answers of studies in the pairwise mode: each rater sees each photo with one pair, by a Latin square.

    Args:
        left: what standing on the left adds to a number.
    """
    rng = np.random.default_rng(seed)
    rater, item = np.divmod(np.arange(raters * items), items)
    pairs = np.array(list(combinations(range(len(means)), 2)))
    pair = pairs[(rater + item) % len(pairs)]
    names = np.array(list(NAMES))
    for _ in range(studies):
        sides = np.where(rng.random(len(pair))[:, None] < 0.5, pair, pair[:, ::-1])
        taste = components.rater_system * rng.standard_normal((raters, len(means)))
        texts = components.text * rng.standard_normal((items, len(means)))
        noise = components.answer * rng.standard_normal(sides.shape)
        hidden = np.asarray(means)[sides] + taste[rater[:, None], sides] + texts[item[:, None], sides] + noise
        lead = hidden[:, 0] + left - hidden[:, 1]
        yield pd.DataFrame(
            {
                "rater": np.char.add("r", rater.astype(str)),
                "item": np.char.add("p", item.astype(str)),
                "left": names[sides[:, 0]],
                "right": names[sides[:, 1]],
                "choice": np.select([lead > TIE, lead < -TIE], ["left", "right"], "tie"),
            }
        )


def true_win_rate(lead: float, components: Components = FULL) -> float:
    """Return how often a system wins that is ahead by so much, ties being half."""
    spread = np.sqrt(2 * (components.rater_system**2 + components.text**2 + components.answer**2))
    return (stats.norm.sf((TIE - lead) / spread) + stats.norm.sf((-TIE - lead) / spread)) / 2


def true_strengths(means: Sequence[float], components: Components) -> np.ndarray:
    """Return the strengths that fit a study without end best: each answer has its own rater and photo."""
    alone = Components(0, 0, 0, 0, np.sqrt(components.rater_system**2 + components.text**2 + components.answer**2))
    (study,) = pairwise_studies(1, means, alone, raters=10_000, items=30, seed=1)
    table = comparisons(study)
    numbers = [np.searchsorted(list(NAMES), table[name].to_numpy(dtype=str)) for name in ("system", "other")]
    return fit_strengths(*numbers, table["points"].to_numpy(), len(means))[0]


# --- How often the truth is covered, and how often there is a false alarm -------------------------

CONDITIONS = {
    "as assumed": FULL,
    "photos and texts alike": replace(FULL, photo=0, text=0),
    "raters alike": replace(FULL, rater=0, rater_system=0),
    "chance alone": Components(0, 0, 0, 0, 1),
    "uneven texts": Components(0.7, 0.4, 0.5, 0.8, 0.7),
}


def within(table: pd.DataFrame, truth) -> np.ndarray:
    return ((table["low"] <= truth) & (truth <= table["high"])).to_numpy()


def check_ratings(studies: int, components: Components, means=(3.0, 3.0, 3.3), **design) -> dict[str, float]:
    """Return shares of the studies: intervals that cover the truth, and false alarms for the first two systems,
    whose true means must be equal."""
    truth = true_means(means, components)
    rows = []
    for study in tqdm(rating_studies(studies, means, components, **design), total=studies, disable=None):
        last, differences = system_means(study[study["system"] == NAMES[len(means) - 1]]), system_differences(study)
        gaps = np.array([truth[a] - truth[b] for a, b in combinations(range(len(means)), 2)])
        rows.append(
            {
                "mean covered": within(last, truth[-1])[0],
                "difference covered": within(differences, gaps)[1],
                "false alarm": differences["p"][0] < 0.05,
                "false alarm by Wilcoxon over photos": differences["wilcoxon_items"][0] < 0.05,
                "false alarm by Wilcoxon over raters": differences["wilcoxon_raters"][0] < 0.05,
                "effect shown": differences["p"][1] < 0.05,
            }
        )
    return pd.DataFrame(rows).mean().to_dict()


def check_preferences(studies: int, components: Components, means=(0.0, 0.0, 0.4), **design) -> dict[str, float]:
    """Return the same for the pairwise mode; the first two systems must be equally good."""
    rate = true_win_rate(means[0] - means[2], components)
    strongest = true_strengths(means, components)[2]
    rows = []
    for study in tqdm(pairwise_studies(studies, means, components, **design), total=studies, disable=None):
        pairs = win_rates(study)
        rows.append(
            {
                "win rate covered": within(pairs, rate)[1],
                "strength covered": within(strengths(study), strongest)[2],
                "false alarm": pairs["p"][0] < 0.05,
                "false alarm on sides": side_bias(study)["p"][0] < 0.05,
            }
        )
    return pd.DataFrame(rows).mean().to_dict()


def check_overall(studies: int, components: Components, means=(0.0, 0.0, 0.4), **design) -> dict[str, float]:
    """Return the share of the first system's overall win rates that cover the truth."""
    truth = np.mean([true_win_rate(means[0] - other, components) for other in means[1:]])
    covered = [
        within(overall_win_rates(study), truth)[0]
        for study in tqdm(pairwise_studies(studies, means, components, **design), total=studies, disable=None)
    ]
    return {"overall win rate covered": float(np.mean(covered))}


def check_agreement(studies: int, components: Components, means=(3.0, 3.0, 3.3)) -> dict[str, float]:
    """Return the share of alpha's intervals that cover the alpha of a study without end."""
    of_text = np.hypot(components.photo, components.text)
    of_answer = np.linalg.norm([components.rater, components.rater_system, components.answer])
    truth = rating_agreement(_endless(of_text, of_answer, means))["alpha"][0]
    covered = [
        within(rating_agreement(study), truth)[0]
        for study in tqdm(rating_studies(studies, means, components), total=studies, disable=None)
    ]
    return {"true alpha": truth, "alpha covered": float(np.mean(covered))}


def _endless(of_text: float, of_answer: float, means: Sequence[float], texts: int = 50_000) -> pd.DataFrame:
    """Return many texts, each judged by two raters who judge nothing else; the spreads are all there is."""
    rng = np.random.default_rng(0)
    text = np.repeat(np.arange(texts), 2)
    system = text % len(means)
    hidden = np.asarray(means)[system] + of_text * rng.standard_normal(texts)[text]
    hidden += of_answer * rng.standard_normal(2 * texts)
    return pd.DataFrame(
        {
            "rater": np.char.add("r", np.arange(2 * texts).astype(str)),
            "item": np.char.add("p", text.astype(str)),
            "system": np.array(list(NAMES))[system],
            "question": "funny",
            "score": 1 + np.searchsorted(THRESHOLDS, hidden),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="How often intervals cover the truth, and tests raise false alarms.")
    parser.add_argument("--studies", type=int, default=200)
    studies = parser.parse_args().studies
    for name, components in CONDITIONS.items():
        print("rating:", name, check_ratings(studies, components), flush=True)
        print("pairwise:", name, check_preferences(studies, components), flush=True)
        print("overall:", name, check_overall(studies, components), flush=True)
        print("agreement:", name, check_agreement(studies, components), flush=True)
    print("rating: near the top", check_ratings(studies, FULL, means=(4.3, 4.3, 4.6)), flush=True)
    print("rating: every fifth answer missing", check_ratings(studies, FULL, missing=0.2), flush=True)
    print("rating: 12 raters, 12 photos", check_ratings(studies, FULL, raters=12, items=12), flush=True)
    crowd = check_ratings(studies, FULL, (3, 3, 3.3, 3), raters=100, items=20)
    print("rating: 100 raters, 20 photos, 4 systems", crowd, flush=True)
    print("pairwise: a strong winner", check_preferences(studies, FULL, means=(0.0, 0.0, 2.0)), flush=True)
    print("pairwise: the left side helps", check_preferences(studies, FULL, left=0.3), flush=True)


if __name__ == "__main__":
    main()
