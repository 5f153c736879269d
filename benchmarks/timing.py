"""Times of jobs that take turns, and what may be said of them: medians, ratios, and how sure these are.

Jobs of one comparison alternate, so that whatever else the machine does meanwhile meets them all alike.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
LEVEL = (2.5, 97.5)  # percentiles


@dataclass(frozen=True)
class Estimate:
    """A median or a ratio of medians, with its 95 % interval by bootstrap over rounds (Efron 1979)."""

    value: float
    low: float
    high: float


def alternate(
    jobs: dict[str, Callable[[int], object]],
    rounds: Iterable[int],
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Return the seconds of each job in each round; the first round warms up and isn't counted.

    Args:
        jobs: called with the round's number, 0 for the one that warms up.
        rounds: numbers of the rounds that are counted, from 1.
    """
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for job in jobs.values():
        job(0)
    names = list(jobs)
    for number in rounds:
        turn = number % len(names)  # another one begins each time
        for name in names[turn:] + names[:turn]:
            begun = clock()
            jobs[name](number)
            seconds[name].append(clock() - begun)
    return seconds


def median(values: list[float]) -> Estimate:
    return _estimate(np.array([values]), lambda medians: medians[0])


def ratio(above: list[float], below: list[float]) -> Estimate:
    """Return median ÷ median of two jobs of the same rounds, which are drawn together."""
    return _estimate(np.array([above, below]), lambda medians: medians[0] / medians[1])


def _estimate(values: np.ndarray, figure: Callable[[np.ndarray], np.ndarray]) -> Estimate:
    """Return a figure of the medians of values (jobs, rounds)."""
    rounds = values.shape[1]
    draws = np.random.default_rng(0).integers(0, rounds, (RESAMPLES, rounds))
    low, high = np.percentile(figure(np.median(values[:, draws], axis=2)), LEVEL)
    return Estimate(float(figure(np.median(values, axis=1))), float(low), float(high))
