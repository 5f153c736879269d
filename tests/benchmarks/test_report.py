"""Tables, the plot and docs/speed.md."""

import re

import pytest

from benchmarks import report
from benchmarks.__main__ import PAGE
from benchmarks.report import BEGIN, END, TITLES, number, save, table, write_docs
from benchmarks.results import BenchmarkError, Figure, Results, Section

MACHINE = {
    "processor": "Some CPU",
    "threads": 2,
    "bfloat16": True,
    "accelerator": None,
    "python": "3.11.7",
    "torch": "2.15.0",
    "transformers": "5.23.0",
}
PEERS = Section(
    [
        Figure("ViT-GPT2, 239 M: 8 sampled texts", 2600.0, "ms", 2500.0, 2700.0),
        Figure("tweetcap: 8 tweets, ranked and filtered", 80.0, "ms", 78.0, 84.0),
        Figure("ViT-GPT2, 239 M: 8 sampled texts ÷ our 8 tweets", 32.5, "×", 31.0, 34.0),
    ],
    taken="2026-01-05T10:00:00+00:00",
    others=0.031,
)


def whole() -> Results:
    return Results(MACHINE, sections={name: PEERS for name in TITLES})


def test_the_table_has_every_figure_with_its_interval_and_what_disturbed_it():
    text = table(Results(MACHINE, sections={"peers": PEERS}))
    assert "| tweetcap: 8 tweets, ranked and filtered | 80.0 ms | 78.0 to 84.0 |" in text
    assert "| 32.5 × |" in text
    assert "2 threads of Some CPU (bfloat16), no GPU" in text
    assert "Taken 2026-01-05; other programs used 3% of the processors meanwhile." in text
    assert "### A folder" not in text  # nothing was measured there


@pytest.mark.parametrize(("value", "text"), [(1234.6, "1,235"), (12.34, "12.3"), (1.234, "1.23"), (0.01234, "0.012")])
def test_figures_have_few_digits(value, text):
    assert number(value) == text


def test_a_quick_run_says_so():
    assert "not for being quoted" in table(Results(MACHINE, quick=True, sections={"peers": PEERS}))


def test_table_and_a_small_plot_are_written(tmp_path):
    save(Results(MACHINE, sections={"peers": PEERS}), tmp_path)
    assert (tmp_path / "table.md").read_text().count("|") > 10
    assert 1000 < (tmp_path / "plot.png").stat().st_size < 150_000


def test_figures_replace_those_between_the_marks_and_nothing_else(tmp_path):
    page = tmp_path / "speed.md"
    page.write_text(f"before\n{BEGIN}\nstale\n{END}\nafter\n")
    write_docs(whole(), page)
    first = page.read_text()
    write_docs(whole(), page)
    assert page.read_text() == first
    assert first.startswith(f"before\n{BEGIN}\n") and first.endswith(f"{END}\nafter\n")
    assert "stale" not in first and "| 80.0 ms |" in first
    (picture,) = re.findall(r"\]\((.*?)\)", first)
    assert (tmp_path / picture).stat().st_size < 150_000


def test_the_guide_waits_for_all_sections(tmp_path):
    page = tmp_path / "speed.md"
    page.write_text(f"{BEGIN}\n{END}\n")
    with pytest.raises(BenchmarkError, match="stages, start, folder, memory, training must be taken first"):
        write_docs(Results(MACHINE, sections={"peers": PEERS}), page)
    assert page.read_text() == f"{BEGIN}\n{END}\n"


def test_a_page_without_marks_is_refused(tmp_path):
    page = tmp_path / "speed.md"
    page.write_text("nothing\n")
    with pytest.raises(BenchmarkError, match="has no lines"):
        write_docs(whole(), page)


def test_the_guide_has_the_marks_and_the_picture_that_it_shows():
    text = PAGE.read_text(encoding="utf-8")
    assert text.count(report.BEGIN) == text.count(report.END) == 1
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (PAGE.parent / picture).stat().st_size <= 150_000
