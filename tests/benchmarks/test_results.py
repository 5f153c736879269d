"""What a run keeps, and how a part of it is taken again."""

import pytest

from benchmarks import results
from benchmarks.results import BenchmarkError, Figure, Results, Section, observed
from benchmarks.timing import Estimate


def some_results(**machine) -> Results:
    section = Section([Figure("read", 1.5, "ms", 1.0, 2.0)], {"ours ÷ theirs": Estimate(0.5, 0.4, 0.6)}, "2026-01-05")
    return Results(results.machine() | machine, sections={"stages": section})


def test_what_is_saved_is_loaded(tmp_path):
    some_results().save(tmp_path)
    assert Results.load(tmp_path) == some_results()


def test_sections_taken_before_stay_while_machine_and_size_are_the_same(tmp_path):
    assert Results.go_on(tmp_path, quick=False).sections == {}
    some_results().save(tmp_path)
    assert set(Results.go_on(tmp_path, quick=False).sections) == {"stages"}
    assert Results.go_on(tmp_path, quick=True).sections == {}
    some_results(threads=1000).save(tmp_path)
    assert Results.go_on(tmp_path, quick=False).sections == {}


def test_a_foreign_file_is_named_in_one_sentence(tmp_path):
    (tmp_path / "results.json").write_text('{"sections": 7}')
    with pytest.raises(BenchmarkError, match=r"results\.json was not written by the benchmarks; delete it\.$"):
        Results.go_on(tmp_path, quick=False)


def test_the_work_of_other_programs_is_told_from_our_own(monkeypatch):
    busy, own, now = iter([100.0, 150.0]), iter([10.0, 40.0]), iter([0.0, 50.0])
    monkeypatch.setattr(results, "_busy", lambda: next(busy))
    monkeypatch.setattr(results, "_own", lambda: next(own))
    monkeypatch.setattr(results.time, "monotonic", lambda: next(now))
    monkeypatch.setattr(results.os, "cpu_count", lambda: 2)
    section = Section()
    with observed(section):
        pass
    assert section.others == 0.2  # 50 s busy, 30 of them ours, of 2 × 50 s
    assert section.taken
