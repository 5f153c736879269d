"""What a questionnaire's answers say, and how sure that is: means, differences, agreement, and raters needed.

Raters are crossed with photos: every rater judges many photos and every photo is judged by many raters. Both are a
sample, so both make a figure uncertain, and a statistic that forgets one of them (a Wilcoxon test over raters, a t-test
over answers) finds differences that the next photos will not show: the language-as-fixed-effect fallacy (Clark 1973,
Journal of Verbal Learning and Verbal Behavior 12). Everything here lets both vary.

Tables are DataFrames. `ratings` is what `ratings.export_ratings` returns; of it, rater, item, system,
question and score are read, and rows without a system, the checks, are left out. A cell that can't be worked out, for
want of raters, photos or differing answers, holds NaN.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse, stats

SCORES = (1, 2, 3, 4, 5)
LEVEL = 0.05
RESAMPLES = 2000
NORMAL_FROM = 10  # differences, for Wilcoxon's test
CHUNK = 250  # resamples in memory at once
MOST_RATERS, MOST_PHOTOS = 100_000, 10_000  # that `raters_needed` looks at
NO_SPREAD = 1e-15  # variances below this are rounding errors


class Tested(NamedTuple):
    """A figure, its 95 % interval, and p for the hypothesis that its true value is the one named."""

    value: float
    low: float
    high: float
    p: float


# --- Uncertainty over raters and photos -----------------------------------------------------------


def crossed_variance(influence: np.ndarray, raters: np.ndarray, items: np.ndarray) -> np.ndarray | float:
    """Return the variance of a figure over new raters and new photos.

    Squared sums of the influences by rater, plus those by photo, less those by meeting of the two (Cameron, Gelbach
    and Miller 2011, Journal of Business & Economic Statistics 29): all products of two answers that share a rater or
    a photo. Influences add up to 0, so that these products come out too small by what the unrelated ones average;
    times all pairs ÷ unrelated pairs, a mean's variance is unbiased. Never less than raters or photos alone give, as
    the true variance never is: the formula can even come out negative.

    Args:
        influence: (answers,) or (answers, figures); how much each answer moves the figure. For a mean, its
            deviation from the mean ÷ the number of answers.
        raters, items: (answers,), whole numbers from 0.

    Returns:
        One variance a figure; NaN with fewer than two raters or photos.
    """
    if min(np.ptp(raters), np.ptp(items)) == 0:
        return np.full(influence.shape[1:], np.nan)[()]
    meetings = np.unique(raters * (items.max() + 1) + items, return_inverse=True)[1]
    by_rater, by_item, by_meeting = (_squared_sums(influence, codes) for codes in (raters, items, meetings))
    related = [int((np.bincount(codes) ** 2).sum()) for codes in (raters, items, meetings)]
    pairs = len(raters) ** 2
    share_unrelated = 1 - (related[0] + related[1] - related[2]) / pairs
    return np.maximum.reduce(
        [(by_rater + by_item - by_meeting) / share_unrelated, _enlarged(by_rater, raters), _enlarged(by_item, items)]
    )


def _squared_sums(influence: np.ndarray, codes: np.ndarray) -> np.ndarray:
    columns = influence.reshape(len(influence), -1).T
    sums = np.stack([np.bincount(codes, column) for column in columns], axis=-1)
    return (sums**2).sum(axis=0).reshape(influence.shape[1:])


def _enlarged(squares: np.ndarray, codes: np.ndarray) -> np.ndarray:
    groups = len(np.unique(codes))
    return squares * groups / (groups - 1)


def crossed_test(
    value: float, influence: np.ndarray, raters: np.ndarray, items: np.ndarray, hypothesis: float = 0.0
) -> Tested:
    """Return a figure's interval and test, by Student's t with as many degrees of freedom as the scarcer of raters
    and photos has less one (as Cameron, Gelbach and Miller 2011)."""
    variance = float(crossed_variance(influence, raters, items))
    if not variance > NO_SPREAD:
        return Tested(value, np.nan, np.nan, np.nan)
    freedom = min(len(np.unique(raters)), len(np.unique(items))) - 1
    error = np.sqrt(variance)
    margin = stats.t.ppf(1 - LEVEL / 2, freedom) * error
    return Tested(value, value - margin, value + margin, 2 * stats.t.sf(abs(value - hypothesis) / error, freedom))


def bootstrap_mean(
    values: np.ndarray,
    raters: np.ndarray,
    items: np.ndarray,
    bounds: tuple[float, float],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Return a mean and its 95 % interval, by resampling raters and photos.

    Raters and photos are drawn with replacement, independently, and an answer counts as often as its rater times as
    its photo was drawn: the pigeonhole bootstrap (Owen 2007, Annals of Applied Statistics 1). Its plain percentiles
    are too wide, since the noise of single answers enters three times; in simulated studies as those of
    tests/evaluate/simulate.py they cover the truth in 94.5 to 99.8 %. So each resample is studentised by its own
    `crossed_variance` (bootstrap-t; Efron and Tibshirani 1993, chapter 12), which covers it in 94 to 98 %.

    Args:
        bounds: the lowest and the highest value there can be; the interval stays between them.
    """
    mean = float(values.mean())
    variance = crossed_variance((values - mean) / len(values), raters, items)
    if not variance > NO_SPREAD:
        return mean, np.nan, np.nan
    table = _Table(values, raters, items)
    rng = np.random.default_rng(seed)
    chunks = [min(CHUNK, resamples - start) for start in range(0, resamples, CHUNK)]
    t = np.concatenate([table.resampled_t(mean, size, rng) for size in chunks])
    t = t[~np.isnan(t)]  # resamples without an answer
    if not len(t):
        return mean, np.nan, np.nan
    low, high = np.percentile(t, 50 * LEVEL, method="lower"), np.percentile(t, 100 - 50 * LEVEL, method="higher")
    error = np.sqrt(variance)
    return mean, max(bounds[0], mean - high * error), min(bounds[1], mean - low * error)


class _Table:
    """Answers as sparse matrices (raters, photos): how many, their sum, and what squares of deviations need."""

    def __init__(self, values: np.ndarray, raters: np.ndarray, items: np.ndarray):
        shape = (raters.max() + 1, items.max() + 1)
        self.counts = sparse.coo_array((np.ones(len(values)), (raters, items)), shape).tocsr()  # adds up repetitions
        self.sums = sparse.coo_array((values, (raters, items)), shape).tocsr()
        self.products = [self.sums * self.sums, self.sums * self.counts, self.counts * self.counts]

    def resampled_t(self, mean: float, resamples: int, rng: np.random.Generator) -> np.ndarray:
        """Return each resample's deviation from the mean in its own standard errors: (resamples,)."""
        raters, items = self.counts.shape
        rater_draws = rng.multinomial(raters, np.full(raters, 1 / raters), resamples).T.astype(float)
        item_draws = rng.multinomial(items, np.full(items, 1 / items), resamples).T.astype(float)
        counts, sums = self.counts @ item_draws, self.sums @ item_draws  # (raters, resamples)
        number = (rater_draws * counts).sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            means = (rater_draws * sums).sum(axis=0) / number
            by_rater = (rater_draws * (sums - means * counts) ** 2).sum(axis=0)
            item_counts, item_sums = self.counts.T @ rater_draws, self.sums.T @ rater_draws  # (photos, resamples)
            by_item = (item_draws * (item_sums - means * item_counts) ** 2).sum(axis=0)
            squares, mixed, ones = ((rater_draws * (table @ item_draws)).sum(axis=0) for table in self.products)
            by_meeting = squares - 2 * means * mixed + means**2 * ones
            # Copies of a rater stand for others of the kind: related are the answers of one copy, or to one copy.
            related = (rater_draws * counts**2).sum(axis=0) + (item_draws * item_counts**2).sum(axis=0) - ones
            both = (by_rater + by_item - by_meeting) / (1 - related / number**2)
            least = np.maximum(by_rater * raters / (raters - 1), by_item * items / (items - 1))
            return (means - mean) * number / np.sqrt(np.maximum(both, least))


def number_from_zero(*columns: pd.Series) -> list[np.ndarray]:
    """Return each column's values as whole numbers from 0, in the order of the sorted values."""
    return [np.unique(column.to_numpy(dtype=str), return_inverse=True)[1] for column in columns]


# --- Rating mode ----------------------------------------------------------------------------------


def system_means(ratings: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Return a row for each question and system: the mean with its interval, see `bootstrap_mean`.

    Columns: question, system, answers, raters, items, mean, low, high, deviation (standard, of the scores).
    """
    rows = []
    for (question, system), group in _by(ratings, "question", "system"):
        raters, items = number_from_zero(group["rater"], group["item"])
        scores = group["score"].to_numpy(dtype=float)
        mean, low, high = bootstrap_mean(scores, raters, items, (SCORES[0], SCORES[-1]), seed=seed)
        deviation = scores.std(ddof=1) if len(scores) > 1 else np.nan
        size = (len(scores), raters.max() + 1, items.max() + 1)
        rows.append((question, system, *size, mean, low, high, deviation))
    columns = ["question", "system", "answers", "raters", "items", "mean", "low", "high", "deviation"]
    return pd.DataFrame(rows, columns=columns)


def score_distribution(ratings: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each question, system and score: how many answers, and their share."""
    rows = []
    for (question, system), group in _by(ratings, "question", "system"):
        counts = [int((group["score"] == score).sum()) for score in SCORES]
        rows += [(question, system, score, n, n / len(group)) for score, n in zip(SCORES, counts, strict=True)]
    return pd.DataFrame(rows, columns=["question", "system", "score", "answers", "share"])


def system_differences(ratings: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each question and two systems: by how much the first is better than the second, and tests.

    The headline is `difference` with low, high, p and p_holm. In a Latin square nobody sees a photo with two systems,
    so answers can't be paired. Instead a linear model with a constant for every rater and every photo takes out that
    raters are strict or mild and photos easy or hard; what is left, that raters like one system better and that one
    photo's text came out well, is the noise, counted by `crossed_variance`. That is what a mixed model with random
    slopes for both assumes (Barr et al. 2013, Journal of Memory and Language 68), without its normal distributions and
    without its failures to converge, and it stays right where answers are missing. A permutation test is not exact
    here: swapping two systems' labels by photo keeps each rater's taste out, swapping them by rater the photos'.

    Beside it stand Wilcoxon's signed-rank tests, on the means of each photo and on those of each rater. Each lets only
    photos or only raters vary (Clark's F2 and F1), so that it is right where the other hardly matters. Holm's
    adjustment (1979) is over the whole table.

    Columns: question, system, other, difference, low, high, p, p_holm, wilcoxon_items, wilcoxon_items_holm,
    wilcoxon_raters, wilcoxon_raters_holm.
    """
    tests = ("p", "wilcoxon_items", "wilcoxon_raters")
    rows = []
    for (question,), group in _by(ratings, "question"):
        systems = sorted(group["system"].unique())
        means = [_means_by(group, by, systems) for by in ("item", "rater")]
        pairs = combinations(range(len(systems)), 2)
        for (first, second), fitted in zip(pairs, _fit_differences(group, systems), strict=True):
            wilcoxon = [_wilcoxon(table[:, first] - table[:, second]) for table in means]
            rows.append((question, systems[first], systems[second], *fitted, *wilcoxon))
    columns = ["question", "system", "other", "difference", "low", "high", *tests]
    return with_holm(pd.DataFrame(rows, columns=columns), *tests)


def with_holm(table: pd.DataFrame, *tests: str) -> pd.DataFrame:
    """Return the table with a column of Holm's adjusted p-values behind each column of p-values."""
    from tweetcap.evaluate.measures import holm  # brings PyTorch along, for which `raters_needed` shouldn't wait

    for test in tests:
        values = table[test].astype(float)
        table = table.assign(**{test: values})
        table.insert(table.columns.get_loc(test) + 1, f"{test}_holm", holm(values.tolist()))
    return table


def _fit_differences(answers: pd.DataFrame, systems: Sequence[str]) -> list[Tested]:
    """Return the difference of each two systems, in the order of `combinations`.

    The raters' constants are taken out first (Frisch and Waugh 1933), so that the equations to solve are as many as
    systems and photos, however many raters there are.
    """
    raters, items = number_from_zero(answers["rater"], answers["item"])
    system_codes = np.searchsorted(systems, answers["system"].to_numpy(dtype=str))
    scores = answers["score"].to_numpy(dtype=float)
    count, columns = len(scores), len(systems) + items.max() + 1
    ones, rows = np.ones(2 * count), np.tile(np.arange(count), 2)
    design = sparse.csr_array((ones, (rows, np.concatenate([system_codes, len(systems) + items]))), (count, columns))
    group = sparse.csr_array((np.ones(count), (raters, np.arange(count))))  # (raters, answers)
    sizes = np.bincount(raters)[:, None]

    def centred(values: np.ndarray) -> np.ndarray:
        """Subtract each rater's mean from (answers, n)."""
        return values - ((group @ values) / sizes)[raters]

    by_rater = (group @ design).toarray()  # (raters, columns)
    equations = (design.T @ design).toarray() - by_rater.T @ (by_rater / sizes)
    pairs = list(combinations(range(len(systems)), 2))
    contrasts = np.zeros((columns, len(pairs)))
    for place, (first, second) in enumerate(pairs):
        contrasts[first, place], contrasts[second, place] = 1, -1
    inverse = np.linalg.pinv(equations, hermitian=True)
    weights = inverse @ contrasts
    known = np.abs(equations @ weights - contrasts).max(axis=0) < 1e-6
    effects = inverse @ (design.T @ centred(scores[:, None]))
    residuals = centred(scores[:, None] - design @ effects)
    influences = centred(design @ weights) * residuals
    values = (contrasts.T @ effects)[:, 0]
    unknown = Tested(*[np.nan] * 4)
    return [
        _within_scale(crossed_test(float(values[place]), influences[:, place], raters, items))
        if known[place]
        else unknown
        for place in range(len(pairs))
    ]


def _within_scale(difference: Tested) -> Tested:
    widest = SCORES[-1] - SCORES[0]
    low, high = np.clip([difference.low, difference.high], -widest, widest).tolist()  # nan stays nan
    return difference._replace(low=low, high=high)


def _means_by(answers: pd.DataFrame, by: str, systems: Sequence[str]) -> np.ndarray:
    """Return each photo's or rater's mean for each system: (photos or raters, systems); NaN where there is none."""
    (groups,) = number_from_zero(answers[by])
    cells = groups * len(systems) + np.searchsorted(systems, answers["system"].to_numpy(dtype=str))
    size = (groups.max() + 1) * len(systems)
    with np.errstate(invalid="ignore"):
        means = np.bincount(cells, answers["score"], size) / np.bincount(cells, minlength=size)
    return means.reshape(-1, len(systems))


def _wilcoxon(differences: np.ndarray) -> float:
    """Return p of the signed-rank test; NaN where nobody, or nothing, has both systems."""
    differences = differences[~np.isnan(differences)].round(9)  # equal means differ by rounding errors
    if not len(differences):
        return np.nan
    if not differences.any():
        return 1.0
    # scipy's exact test for tied values takes seconds for a dozen of them; from ten on, the normal one is as good.
    method = "auto" if len(differences) < NORMAL_FROM else "asymptotic"
    return float(stats.wilcoxon(differences, method=method).pvalue)


def _by(table: pd.DataFrame, *columns: str):
    """Yield (values, rows) for the rows with a system: questions in the order asked, systems sorted."""
    table = table.dropna(subset=["system"])
    for question in table["question"].unique():
        rows = table[table["question"] == question]
        if columns == ("question",):
            yield (question,), rows
            continue
        for system in sorted(rows["system"].unique()):
            yield (question, system), rows[rows["system"] == system]


# --- Agreement ------------------------------------------------------------------------------------


def agreement(units: np.ndarray, values: np.ndarray, raters: np.ndarray, items: np.ndarray) -> Tested:
    """Return Krippendorff's alpha for ordered values, with an interval over raters and photos.

    1 is full agreement, 0 what chance gives. The influence of an answer is what alpha loses without it (the jackknife;
    Efron and Tibshirani 1993, chapter 11). A bootstrap won't do: drawing photos alone, as is usual, covers the true
    alpha in 80 to 93 % of simulated studies as those of tests/evaluate/simulate.py, and raters who are drawn twice
    agree with themselves. This interval covers it in 92 to 99 %.

    Args:
        units: (answers,), what was judged: a text under its photo.
        values: (answers,), whole numbers from 0.
        raters, items: (answers,), whole numbers from 0.
    """
    import krippendorff

    unknown = Tested(*[np.nan] * 4)
    units = np.unique(units, return_inverse=True)[1]
    domain = values.max() + 1
    counts = np.bincount(units * domain + values, minlength=(units.max() + 1) * domain).reshape(-1, domain)
    if counts.sum(axis=1).max() < 2 or (counts[counts.sum(axis=1) > 1].sum(axis=0) > 0).sum() < 2:
        return unknown  # nothing was judged twice, or all answers are the same
    alpha = float(krippendorff.alpha(value_counts=counts, level_of_measurement="ordinal"))
    losses = alpha - _alphas_without_one(counts)[units, values]
    losses = np.where(np.isnan(losses), 0.0, losses)
    return crossed_test(alpha, losses - losses.mean(), raters, items)


def _alphas_without_one(counts: np.ndarray) -> np.ndarray:
    """Return alpha without one answer: (units, values) → (units, values), the value being that of the answer."""
    single = np.eye(counts.shape[1])
    whole = _coincidences(counts)  # (units, values, values)
    total = whole.sum(axis=0)
    return np.stack(
        [_ordinal_alpha(total - whole + _coincidences(np.maximum(counts - without, 0))) for without in single], axis=1
    )


def _coincidences(counts: np.ndarray) -> np.ndarray:
    """Return how often each two values meet in a unit (Krippendorff 2019, Content Analysis, chapter 12)."""
    sizes = counts.sum(axis=1)[:, None, None]
    meetings = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(counts.shape[1])
    return np.where(sizes > 1, meetings / np.maximum(sizes - 1, 1), 0.0)


def _ordinal_alpha(coincidences: np.ndarray) -> np.ndarray:
    """Return alpha with the ordinal distance (same chapter): (…, values, values) → (…)."""
    totals = coincidences.sum(axis=-1)
    ranks = totals.cumsum(axis=-1) - totals / 2
    distances = (ranks[..., :, None] - ranks[..., None, :]) ** 2
    observed = (coincidences * distances).sum(axis=(-1, -2))
    expected = (totals[..., :, None] * totals[..., None, :] * distances).sum(axis=(-1, -2))
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 - (totals.sum(axis=-1) - 1) * observed / expected


def rating_agreement(ratings: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each question: alpha over the texts that two raters or more judged.

    Columns: question, texts, answers, alpha, low, high.
    """
    rows = []
    for (question,), group in _by(ratings, "question"):
        raters, items, systems = number_from_zero(group["rater"], group["item"], group["system"])
        units = items * (systems.max() + 1) + systems
        scores = group["score"].to_numpy(dtype=int)
        shared = np.bincount(units)[units] > 1
        alpha = agreement(units, scores - SCORES[0], raters, items)
        rows.append((question, len(np.unique(units[shared])), int(shared.sum()), alpha.value, alpha.low, alpha.high))
    return pd.DataFrame(rows, columns=["question", "texts", "answers", "alpha", "low", "high"])


# --- Power ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Components:
    """Where the scores' spread comes from, as standard deviations on the scale of 1 to 5.

    The defaults are assumptions, for when there is no pilot: they add up to 1.1, a common spread of such scores.

    Attributes:
        rater: how strict raters are.
        rater_system: how much raters differ in liking one system over another.
        photo: how well photos do, whatever the text.
        text: how much a system's texts differ in how well they came out.
        answer: what is left: one answer of one rater to one text.
    """

    rater: float = 0.5
    rater_system: float = 0.25
    photo: float = 0.3
    text: float = 0.4
    answer: float = 0.8


DEFAULT_COMPONENTS = Components()


def variance_components(ratings: pd.DataFrame) -> dict[str, Components]:
    """Return each question's components, from a pilot study.

    Products of two answers' deviations from their systems' means are averaged over all pairs of answers: of one rater
    to one system, of one rater to two, of one photo, and so on; what unrelated pairs average is subtracted from each
    (method of moments: Searle, Casella and McCulloch 1992, Variance Components, chapter 5). Estimates below 0 are 0.
    """
    return {question: _components(group) for (question,), group in _by(ratings, "question")}


def _components(answers: pd.DataFrame) -> Components:
    raters, items, systems = number_from_zero(answers["rater"], answers["item"], answers["system"])
    scores = answers["score"].to_numpy(dtype=float)
    deviations = scores - (np.bincount(systems, scores) / np.bincount(systems))[systems]
    many = systems.max() + 1
    everyone = np.zeros_like(raters)
    products = {
        "rater": _products(deviations, raters),
        "rater and system": _products(deviations, raters * many + systems),
        "item": _products(deviations, items),
        "item and system": _products(deviations, items * many + systems),
        "system": _products(deviations, systems),
        "all": _products(deviations, everyone),
    }
    same = products["system"] - products["rater and system"] - products["item and system"]
    two = products["all"] - products["rater"] - products["item"] - same
    unrelated, unrelated_of_two = _average(same), _average(two)
    rater = _average(products["rater"] - products["rater and system"]) - unrelated_of_two
    photo = _average(products["item"] - products["item and system"]) - unrelated_of_two
    of_rater = _average(products["rater and system"]) - unrelated
    of_photo = _average(products["item and system"]) - unrelated
    total = np.mean(deviations**2) - unrelated
    # With one system there is no telling a rater from a rater's taste: all of it goes to the former.
    rater, of_rater = _shares(rater, of_rater)
    photo, of_photo = _shares(photo, of_photo)
    parts = (rater, of_rater - rater, photo, of_photo - photo, max(0.0, total - of_rater - of_photo))
    return Components(*(float(np.sqrt(part)) for part in parts))


def _products(deviations: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the sum of the products of each two answers of one group, and how many such pairs there are."""
    squares = np.bincount(groups, deviations) ** 2
    sizes = np.bincount(groups)
    return np.array([squares.sum() - (deviations**2).sum(), (sizes**2).sum() - len(groups)])


def _average(products: np.ndarray) -> float:
    return float(products[0] / products[1]) if products[1] else np.nan


def _shares(part: float, whole: float) -> tuple[float, float]:
    """Return both between 0 and the whole; a part that can't be told is all of it."""
    whole = max(0.0, np.nan_to_num(whole))
    return min(whole, max(0.0, np.nan_to_num(part, nan=whole))), whole


def chance_to_show(
    difference: float,
    raters: int,
    *,
    systems: int = 3,
    items: int = 30,
    items_per_rater: int | None = None,
    components: Components = DEFAULT_COMPONENTS,
    alpha: float = LEVEL,
) -> float:
    """Return the power: how likely `system_differences` finds a true difference, p being below alpha.

    In a Latin square the difference's variance is 2 (rater_system² ÷ raters + text² ÷ items + answer² · systems ÷
    answers); p comes from the noncentral t with as many degrees of freedom as in `crossed_test` (as Westfall, Kenny
    and Judd 2014, Journal of Experimental Psychology: General 143, for designs with both raters and items). The
    arguments are those of `raters_needed`.
    """
    answers = raters * (items_per_rater or items)
    taste, texts, noise = components.rater_system**2, components.text**2, components.answer**2
    error = np.sqrt(2 * (taste / raters + texts / items + noise * systems / answers))
    freedom = min(raters, items) - 1
    limit = stats.t.ppf(1 - alpha / 2, freedom)
    return float(stats.nct.sf(limit, freedom, difference / error) + stats.nct.cdf(-limit, freedom, difference / error))


def raters_needed(
    difference: float,
    *,
    systems: int = 3,
    items: int = 30,
    items_per_rater: int | None = None,
    components: Components = DEFAULT_COMPONENTS,
    power: float = 0.8,
    alpha: float = LEVEL,
) -> int:
    """Return how many raters a study in the rating mode needs to show a difference between two systems' means.

    Args:
        difference: the least one worth seeing, in points of the scale of 1 to 5.
        systems: how many the study compares.
        items: photos in the study.
        items_per_rater: photos that one rater does; all of them by default.
        components: of a pilot (`variance_components`), or the assumed ones.
        power: how likely the difference shall be shown.
        alpha: level of the test; divide it by the number of comparisons to plan for Holm's adjustment.

    Raises:
        ValueError: an argument is out of its range, or no number of raters suffices on so few photos.
    """
    _check_plan(difference, systems, items, items_per_rater, power, alpha)

    def enough(raters: int, photos: int = items) -> bool:
        plan = {"systems": systems, "items_per_rater": items_per_rater or items, "components": components}
        return chance_to_show(difference, raters, items=photos, alpha=alpha, **plan) >= power

    if not enough(MOST_RATERS):
        photos = _least(lambda number: enough(MOST_RATERS, number), items, MOST_PHOTOS)
        more = f"take {photos} photos or more" if photos else "look for a larger difference"
        raise ValueError(f"no number of raters shows a difference of {difference:g} on {items} photos; {more}.")
    return _least(enough, 2, MOST_RATERS)


def _least(enough: Callable[[int], bool], low: int, high: int) -> int | None:
    """Return the least number from low to high that is enough, where all above it are too; None if there is none."""
    place = bisect_left(range(low, high + 1), True, key=enough)
    return low + place if low + place <= high else None


def _check_plan(difference, systems, items, items_per_rater, power, alpha) -> None:
    ranges = {
        "the difference": (difference, 0 < difference <= SCORES[-1] - SCORES[0], "above 0 and at most 4"),
        "the number of systems": (systems, systems >= 2, "2 or more"),
        "the number of photos": (items, 2 <= items <= MOST_PHOTOS, f"from 2 to {MOST_PHOTOS}"),
        "photos a rater": (items_per_rater, items_per_rater is None or 1 <= items_per_rater <= items, f"1 to {items}"),
        "the power": (power, 0 < power < 1, "above 0 and below 1"),
        "alpha": (alpha, 0 < alpha < 1, "above 0 and below 1"),
    }
    for name, (value, right, allowed) in ranges.items():
        if not right:
            raise ValueError(f"{name} is {value}; it must be {allowed}.")


def power_table(
    components: Components = DEFAULT_COMPONENTS,
    *,
    systems: int = 3,
    items: Sequence[int] = (30, 60, 120),
    items_per_rater: int = 30,
    differences: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5),
    power: float = 0.8,
    alpha: float = LEVEL,
) -> pd.DataFrame:
    """Return a row for each difference and number of photos: the raters needed; empty where none suffice.

    Columns: difference, items, items_per_rater, raters.
    """
    rows = []
    for difference, photos in product(differences, items):
        plan = {"systems": systems, "items": photos, "items_per_rater": min(items_per_rater, photos)}
        try:
            raters = raters_needed(difference, components=components, power=power, alpha=alpha, **plan)
        except ValueError:
            raters = None
        rows.append((difference, photos, plan["items_per_rater"], raters))
    table = pd.DataFrame(rows, columns=["difference", "items", "items_per_rater", "raters"])
    return table.astype({"raters": "Int64"})
