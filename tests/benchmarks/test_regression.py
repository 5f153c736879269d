"""Whether something became slower."""

import json

import pytest

from benchmarks.regression import compare, save_baseline
from benchmarks.results import BenchmarkError, Results, Section
from benchmarks.timing import Estimate
from tests.benchmarks.test_report import MACHINE


def run(value: float, low: float | None = None, high: float | None = None, **machine) -> Results:
    ratio = Estimate(value, low or 0.98 * value, high or 1.02 * value)
    return Results(MACHINE | machine, sections={"stages": Section(ratios={"8 tweets ÷ reference kernel": ratio})})


@pytest.fixture
def baseline(tmp_path):
    path = tmp_path / "baseline.json"
    save_baseline(run(2.0), path)
    return path


def test_a_run_equals_its_own_baseline(baseline):
    assert compare(run(2.0), baseline) == (["Nothing is slower than the baseline by more than 15%."], False)


def test_what_became_slower_is_named_with_both_figures(baseline):
    (sentence,), slower = compare(run(2.6), baseline)
    assert slower
    assert sentence == "SLOWER stages: 8 tweets ÷ reference kernel: 2.6, was 2 (+30%)"


def test_a_noisy_run_raises_no_alarm(baseline):
    assert not compare(run(2.6, low=1.9, high=3.5), baseline)[1]


def test_a_little_slower_is_tolerated_and_faster_is_told(baseline):
    assert not compare(run(2.2), baseline)[1]
    sentences, slower = compare(run(1.0), baseline)
    assert not slower and sentences[0].startswith("faster stages")


def test_a_baseline_of_another_machine_is_not_compared_with(baseline):
    (sentence,), slower = compare(run(9.0, threads=64), baseline)
    assert not slower and "threads 2 and not 64" in sentence


def test_another_version_of_torch_is_compared_with(baseline):
    assert compare(run(9.0, torch="9.9"), baseline)[1]


def test_no_baseline_is_no_failure(tmp_path):
    (sentence,), slower = compare(run(2.0), tmp_path / "none.json")
    assert not slower and "--save-baseline" in sentence


@pytest.mark.parametrize("content", ["", "[]", json.dumps({"machine": MACHINE}), '{"machine": {}, "ratios": {"a": 1}}'])
def test_a_file_that_is_no_baseline_is_named(tmp_path, content):
    path = tmp_path / "baseline.json"
    path.write_text(content)
    with pytest.raises(BenchmarkError, match="is no baseline"):
        compare(run(2.0), path)
