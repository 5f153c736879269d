"""What the pairwise mode's choices say: who wins against whom, strengths on one scale, and whether a side does.

Tables are DataFrames. `choices` is what `ratings.export_ratings` returns of a pairwise study; of it,
rater, item, left, right and choice (left, tie or right) are read, and rows without systems, the checks, are left out.
Raters and photos both vary, as in `statistics.py`, which also says what the intervals are.
"""

from itertools import combinations

import numpy as np
import pandas as pd
from scipy import optimize, sparse

from tweetcap.evaluate.survey.statistics import (
    Tested,
    agreement,
    bootstrap_mean,
    crossed_test,
    number_from_zero,
    with_holm,
)

POINTS = {"left": 1.0, "tie": 0.5, "right": 0.0}  # for the system on the left
CONVERGED = 1e-9  # slope of the log-likelihood per choice


def comparisons(choices: pd.DataFrame) -> pd.DataFrame:
    """Return a row a choice, sides forgotten: rater, item, system, other (later in the alphabet), points for system."""
    choices = choices.dropna(subset=["left", "right"])
    points = choices["choice"].map(POINTS)
    swapped = choices["left"] > choices["right"]
    return pd.DataFrame(
        {
            "rater": choices["rater"],
            "item": choices["item"],
            "system": choices["left"].where(~swapped, choices["right"]),
            "other": choices["right"].where(~swapped, choices["left"]),
            "points": points.where(~swapped, 1 - points),
        }
    )


def win_rates(choices: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each two systems: how often the first was chosen, a tie being half a choice, and a test.

    The interval and p, for the hypothesis that both are chosen equally often, are those of `crossed_test`; Holm's
    adjustment is over the whole table.

    Columns: system, other, answers, wins, ties, losses, rate, low, high, p, p_holm.
    """
    rows = []
    table = comparisons(choices)
    for system, other in combinations(systems_of(table), 2):
        pair = table[(table["system"] == system) & (table["other"] == other)]
        if not len(pair):
            continue
        counts = [int((pair["points"] == value).sum()) for value in (1.0, 0.5, 0.0)]
        rows.append((system, other, len(pair), *counts, *_rate(pair["points"], pair)))
    columns = ["system", "other", "answers", "wins", "ties", "losses", "rate", "low", "high", "p"]
    return with_holm(pd.DataFrame(rows, columns=columns), "p")


def _rate(points: pd.Series, rows: pd.DataFrame) -> Tested:
    """Return the mean of points with its test against one half; the interval stays between 0 and 1."""
    if not len(rows):
        return Tested(*[np.nan] * 4)
    values = points.to_numpy(dtype=float)
    influence = (values - values.mean()) / len(values)
    rate = crossed_test(float(values.mean()), influence, *number_from_zero(rows["rater"], rows["item"]), hypothesis=0.5)
    return rate._replace(low=np.maximum(0.0, rate.low), high=np.minimum(1.0, rate.high))  # nan stays nan


def overall_win_rates(choices: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Return a row a system: how often it was chosen over whatever it met, with the interval of `bootstrap_mean`.

    Columns: system, answers, raters, items, rate, low, high.
    """
    rows = []
    table = comparisons(choices)
    for system in systems_of(table):
        own = table[(table["system"] == system) | (table["other"] == system)]
        raters, items = number_from_zero(own["rater"], own["item"])
        points = own["points"].where(own["system"] == system, 1 - own["points"]).to_numpy(dtype=float)
        rate = bootstrap_mean(points, raters, items, (0.0, 1.0), seed=seed)
        rows.append((system, len(own), raters.max() + 1, items.max() + 1, *rate))
    return pd.DataFrame(rows, columns=["system", "answers", "raters", "items", "rate", "low", "high"])


def systems_of(table: pd.DataFrame) -> list[str]:
    return sorted({*table["system"], *table["other"]})


# --- Strengths ------------------------------------------------------------------------------------


def strengths(choices: pd.DataFrame) -> pd.DataFrame:
    """Return a row a system: its strength in Bradley and Terry's model with Davidson's ties.

    The chances that i wins, j wins and nobody does are as πi : πj : ν √(πi πj) (Davidson 1970, Journal of the American
    Statistical Association 65); without ties ν is 0 and the model is Bradley and Terry's (1952). `strength` is log π,
    its mean over the systems being 0, by maximum likelihood. Its interval is the likelihood's sandwich with
    `crossed_variance` as the filling, so that it doesn't take answers of one rater or on one photo for independent.
    `against_average` is the chance to win, ties aside, against a system of strength 0.

    Where some systems never lost or tied against the others, no strength fits, and all are NaN (Ford 1957, American
    Mathematical Monthly 64).

    Columns: system, strength, low, high, against_average.
    """
    columns = ["system", "strength", "low", "high", "against_average"]
    table = comparisons(choices)
    systems = systems_of(table)
    first, second = (np.searchsorted(systems, table[name].to_numpy(dtype=str)) for name in ("system", "other"))
    points = table["points"].to_numpy(dtype=float)
    if len(systems) < 2 or not _connected(first, second, points, len(systems)):
        return pd.DataFrame([(system, *[np.nan] * 4) for system in systems], columns=columns)
    values, influences = fit_strengths(first, second, points, len(systems))
    raters, items = number_from_zero(table["rater"], table["item"])
    rows = []
    for place, system in enumerate(systems):
        tested = crossed_test(float(values[place]), influences[:, place], raters, items)
        rows.append((system, *tested[:3], 1 / (1 + np.exp(-tested.value))))
    return pd.DataFrame(rows, columns=columns)


def fit_strengths(
    first: np.ndarray, second: np.ndarray, points: np.ndarray, systems: int
) -> tuple[np.ndarray, np.ndarray]:
    """Fit Davidson's model by maximum likelihood.

    Args:
        first, second: (choices,), the two systems' numbers.
        points: (choices,), 1, 0.5 or 0 for the first.

    Returns:
        Strengths (systems,), their mean 0; and each choice's influence on them (choices, systems).
    """
    ties = bool((points == 0.5).any())
    # What an outcome adds to the log-likelihood, as a row to multiply the parameters by: log π of all but the last
    # system, and log ν where there are ties. A tie is half of each system and one ν.
    unit = np.concatenate([np.eye(systems - 1), np.zeros((1, systems - 1))])
    outcomes = [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), *([(0.5, 0.5, 1.0)] if ties else [])]
    features = np.stack([a * unit[first] + b * unit[second] for a, b, _ in outcomes], axis=1)
    if ties:
        tied = np.broadcast_to(np.array([tie for *_, tie in outcomes])[None, :, None], (*features.shape[:2], 1))
        features = np.concatenate([features, tied], axis=2)  # (choices, outcomes, parameters)
    taken = features[np.arange(len(points)), np.select([points == 1.0, points == 0.0], [0, 1], 2)]

    def chances(parameters: np.ndarray) -> np.ndarray:
        scores = features @ parameters
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)  # (choices, outcomes)

    def loss(parameters: np.ndarray) -> float:
        scores = features @ parameters
        highest = scores.max(axis=1)
        return float((highest + np.log(np.exp(scores - highest[:, None]).sum(axis=1)) - taken @ parameters).mean())

    def slopes(parameters: np.ndarray) -> np.ndarray:
        return np.einsum("co,cop->cp", chances(parameters), features) - taken

    def curvature(parameters: np.ndarray) -> np.ndarray:
        chance = chances(parameters)
        means = np.einsum("co,cop->cp", chance, features)
        return (np.einsum("co,cop,coq->pq", chance, features, features) - means.T @ means) / len(points)

    fitted = optimize.minimize(
        loss,
        np.zeros(features.shape[2]),
        jac=lambda parameters: slopes(parameters).mean(axis=0),
        hess=curvature,
        method="trust-exact",
        options={"gtol": CONVERGED},
    ).x
    centring = unit - unit.mean(axis=0)  # (systems, all but the last)
    inverse = np.linalg.inv(curvature(fitted))[: systems - 1]
    influences = -slopes(fitted) @ inverse.T @ centring.T / len(points)
    return centring @ fitted[: systems - 1], influences


def _connected(first: np.ndarray, second: np.ndarray, points: np.ndarray, systems: int) -> bool:
    """Return whether every system has won or tied against every other, directly or by way of others; and whether
    anything but ties was chosen."""
    wins = np.zeros((systems, systems))
    np.add.at(wins, (first, second), points)
    np.add.at(wins, (second, first), 1 - points)
    parts = sparse.csgraph.connected_components(sparse.csr_array(wins), connection="strong", return_labels=False)
    return parts == 1 and bool((points != 0.5).any())


# --- Sides and agreement --------------------------------------------------------------------------


def side_bias(choices: pd.DataFrame) -> pd.DataFrame:
    """Return one row: how often the left side was chosen where a side was, and p for one half.

    Columns: answers, left, ties, right, rate, low, high, p.
    """
    choices = choices.dropna(subset=["left", "right"])
    counts = [int((choices["choice"] == side).sum()) for side in POINTS]
    decided = choices[choices["choice"] != "tie"]
    rate = _rate(decided["choice"].map(POINTS), decided)
    columns = ["answers", "left", "ties", "right", "rate", "low", "high", "p"]
    return pd.DataFrame([(len(choices), *counts, *rate)], columns=columns)


def choice_agreement(choices: pd.DataFrame, question: str = "choice") -> pd.DataFrame:
    """Return one row: Krippendorff's alpha over pairs of texts, a tie standing between the two choices.

    Columns: question, texts (pairs that two raters or more judged), answers, alpha, low, high.
    """
    columns = ["question", "texts", "answers", "alpha", "low", "high"]
    table = comparisons(choices)
    if not len(table):
        return pd.DataFrame([], columns=columns)
    raters, items, first, second = number_from_zero(*(table[name] for name in ("rater", "item", "system", "other")))
    units = (items * (first.max() + 1) + first) * (second.max() + 1) + second
    shared = np.bincount(units)[units] > 1
    alpha = agreement(units, (2 * table["points"]).to_numpy(dtype=int), raters, items)
    row = (question, len(np.unique(units[shared])), int(shared.sum()), alpha.value, alpha.low, alpha.high)
    return pd.DataFrame([row], columns=columns)
