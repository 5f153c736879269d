"""Figures from times: what takes turns, and what medians and ratios make of it."""

import numpy as np
import pytest

from benchmarks.timing import alternate, median, ratio


class Clock:
    """Time passes only where a job lets it."""

    def __init__(self):
        self.now = 0.0
        self.called: list[tuple[str, int]] = []

    def __call__(self) -> float:
        return self.now

    def job(self, name: str, seconds):
        def run(number: int) -> None:
            self.called.append((name, number))
            self.now += seconds(number)

        return run


def test_jobs_take_turns_and_the_first_round_is_not_counted():
    clock = Clock()
    jobs = {"a": clock.job("a", lambda number: 1 if number else 100), "b": clock.job("b", lambda number: 2)}
    seconds = alternate(jobs, range(1, 4), clock)
    assert seconds == {"a": [1, 1, 1], "b": [2, 2, 2]}
    rounds = [sorted(clock.called[start : start + 2]) for start in range(0, 8, 2)]
    assert rounds == [[("a", number), ("b", number)] for number in range(4)]
    assert {name for name, _ in clock.called[2::2]} == {"a", "b"}  # neither always comes first


def test_a_machine_that_slows_down_leaves_the_ratio_as_it_is():
    clock = Clock()
    jobs = {"a": clock.job("a", lambda number: 3.0 * 2**number), "b": clock.job("b", lambda number: 1.0 * 2**number)}
    seconds = alternate(jobs, range(1, 8), clock)
    found = ratio(seconds["a"], seconds["b"])
    assert (found.value, found.low, found.high) == pytest.approx((3, 3, 3))
    assert median(seconds["a"]).high > 2 * median(seconds["a"]).low


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    found = [median(list(rng.normal(10, 1, 25))) for _ in range(200)]
    assert 180 <= sum(one.low <= 10 <= one.high for one in found) <= 200


def test_one_round_is_its_own_median():
    assert median([4.0]).low == median([4.0]).value == median([4.0]).high == 4.0
