"""Processes that are watched from outside."""

import math

import pytest

from benchmarks.processes import python, slope
from benchmarks.results import BenchmarkError


def test_a_process_tells_its_times_memory_and_words():
    program = (
        "import time; print('first', flush=True); held = bytes(range(256)) * 2**18; time.sleep(0.7); print('last')"
    )
    done = python("-c", program)
    assert done.output == "first\nlast\n"
    assert done.first_line + 0.4 < done.seconds
    assert done.peak_mb > 64


def test_memory_is_noted_by_the_work_that_was_done():
    work = iter(range(1000))
    done = python("-c", "import time; time.sleep(1)", work_done=lambda: next(work))
    assert [number for number, _ in done.memory] == list(range(len(done.memory)))
    assert len(done.memory) > 1 and all(size > 0 for _, size in done.memory[:-1])


def test_a_silent_process_has_no_first_line():
    assert python("-c", "pass").first_line is None


def test_a_failure_is_told_with_its_last_line():
    with pytest.raises(BenchmarkError, match=r"failed \(SystemExit: no photo|failed \(no photo\); run it by hand"):
        python("-c", "import sys; sys.exit('no photo')")


def test_a_process_ends_with_the_benchmark_that_watches_it():
    def stop() -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        python("-c", "import time; time.sleep(600)", work_done=stop)


def test_growth_is_that_of_the_second_half():
    warming = [(number, 100.0 + number) for number in range(500)]
    assert slope(warming + [(number, 600.0) for number in range(500, 1001)]) == pytest.approx(0, abs=1e-6)
    assert slope([(number, 100 + 0.002 * number) for number in range(1001)]) == pytest.approx(2)


def test_growth_of_too_little_is_unknown():
    assert math.isnan(slope([])) and math.isnan(slope([(1, 5.0)]))
