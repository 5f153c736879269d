"""The questionnaire's report, from answers in a study's own store to the files."""

import json
import re
from itertools import cycle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.made_study import SYSTEMS, make_study
from tweetcap.evaluate.survey.preferences import strengths, win_rates
from tweetcap.evaluate.survey.ratings import RatingStore, export_ratings
from tweetcap.evaluate.survey.report import write_report
from tweetcap.evaluate.survey.statistics import system_differences, system_means
from tweetcap.evaluate.survey.tables import escape, markdown_table, plain

HOSTILE = {"a": "<script>alert(1)</script>", "b": "$x^2$ |\x1b[31m\u202eevil\n# a", "c": "🐱" * 40 + "अر"}


def let_rate(folder: Path, raters: int, *, lazy: int = 0, silent: int = 0, seed: int = 0) -> None:
    """Let raters answer who like a system better the later its letter comes; lazy ones press the same button."""
    now = [1_700_000_000.0]
    store = RatingStore(folder, clock=lambda: now[0])
    rng = np.random.default_rng(seed)
    study = store.study
    for rater in range(raters + lazy):
        token = store.start(("ja", "en")[rater % 2])
        while (task := (progress := store.show(token)).task) is not None:
            now[0] += rng.uniform(5, 15)
            known = study.expected(task)
            worth = [ord(letter[0]) - ord("a") + rng.normal() for letter in task.shown]
            values = {}
            for question in study.questions:
                if study.mode == "rating":
                    value = 4 if rater >= raters else int(np.clip(round(2 + worth[0] + rng.normal(0, 0.5)), 1, 5))
                else:
                    lead = worth[0] - worth[-1] + rng.normal(0, 0.5)
                    value = "left" if rater >= raters or lead > 0.5 else "right" if lead < -0.5 else "tie"
                values[question.name] = known.get(question.name, value)
            store.answer(token, progress.position, values)
    for _ in range(silent):
        store.start("ja")
    store.close()


def reported(folder: Path, raters: int = 9, *, lazy: int = 0, silent: int = 0, **options) -> tuple[str, Path]:
    """Make a study, let raters answer, and report; return the summary and the report's folder."""
    make_study(folder, **options)
    let_rate(folder / "study", raters, lazy=lazy, silent=silent)
    return write_report(folder / "study", folder / "report"), folder / "report"


def page_of(report: Path) -> str:
    return (report / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def rated(tmp_path_factory):
    """A study in the rating mode with nine good raters, one lazy and one silent: its summary and report."""
    return reported(tmp_path_factory.mktemp("rated"), lazy=1, silent=1, photos=8)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The same in the pairwise mode."""
    return reported(tmp_path_factory.mktemp("compared"), lazy=1, photos=12, mode="pairwise")


def test_the_tables_are_the_statistics_of_those_who_are_kept(rated):
    _, report = rated
    raters = pd.read_csv(report / "raters.csv")
    assert raters.loc[~raters["kept"], "reasons"].to_list() == ["always the same answer"]
    answers = export_ratings(report.parent / "study")
    kept = answers[answers["rater"].isin(raters.loc[raters["kept"], "rater"])]
    for name, table in (("means", system_means), ("differences", system_differences)):
        pd.testing.assert_frame_equal(pd.read_csv(report / f"{name}.csv"), table(kept), check_dtype=False)
        of_all = pd.read_csv(report / f"{name}_all_raters.csv")
        pd.testing.assert_frame_equal(of_all, table(answers), check_dtype=False)


def test_the_pairwise_tables_are_the_statistics_of_those_who_are_kept(compared):
    _, report = compared
    raters = pd.read_csv(report / "raters.csv")
    answers = export_ratings(report.parent / "study")
    kept = answers[answers["rater"].isin(raters.loc[raters["kept"], "rater"])]
    assert len(kept) < len(answers)
    for name, table in (("win_rates", win_rates), ("strengths", strengths)):
        pd.testing.assert_frame_equal(pd.read_csv(report / f"{name}.csv"), table(kept), check_dtype=False)
    assert {"overall_win_rates.csv", "sides.csv", "agreement.csv", "texts.csv", "win_rates_all_raters.csv"} <= {
        path.name for path in report.iterdir()
    }


def test_the_page_is_one_file_with_plots_photos_and_both_languages(rated, compared):
    for (_, report), plots in ((rated, 3), (compared, 2)):
        page = page_of(report)
        assert page.count("data:image/svg+xml;base64,") == plots
        assert "data:image/jpeg;base64," in page
        assert not re.findall(r'(?:src|href)="(?!data:)', page)
        assert "url(" not in page and "<script" not in page
        assert "写真とことばのアンケート" in page
    assert "Is the text funny?" in page_of(rated[1]) and "おもしろいですか？" in page_of(rated[1])


def test_the_summary_says_who_counts_what_was_shown_and_where_the_report_is(rated):
    summary, report = rated
    assert "Raters: 11 started (ja 6, en 5), 10 finished, 9 count." in summary
    assert "1 of 11 raters opened the page and answered nothing." in summary
    assert "Raters left out: 1 of 10." in summary
    differences = pd.read_csv(report / "differences.csv")
    shown = int((differences["p_holm"] < 0.05).sum())
    assert shown and f"{shown} of 12 differences" in summary
    assert summary.count(" is better than ") == shown
    assert summary.endswith(f"Report: {report / 'report.html'}")


def test_the_winner_is_named_first_in_the_pairwise_mode(compared):
    summary, report = compared
    best = pd.read_csv(report / "strengths.csv").sort_values("strength")["system"].iloc[-1]
    names = json.loads((report.parent / "study" / "systems.json").read_text(encoding="utf-8"))
    assert best == names["c"]
    assert f"{best} is better than {names['a']}" in summary


def test_each_text_has_its_means_best_first(rated):
    _, report = rated
    texts = pd.read_csv(report / "texts.csv")
    assert len(texts) == 8 * 3 and texts["mean"].is_monotonic_decreasing
    answers = export_ratings(report.parent / "study")
    kept = pd.read_csv(report / "raters.csv").query("kept")["rater"]
    own = answers[(answers["rater"].isin(kept)) & (answers["kind"] == "item")]
    row = texts.iloc[0]
    mine = own[(own["item"] == row["item"]) & (own["system"] == row["system"])]
    assert row["funny"] == pytest.approx(mine[mine["question"] == "funny"]["score"].mean())
    assert row["mean"] == pytest.approx(mine["score"].mean())
    assert row["raters"] == mine["rater"].nunique()
    assert escape(row["text"]) in page_of(report)


def test_the_same_answers_give_the_same_files(rated):
    _, report = rated
    first = {path.name: path.read_bytes() for path in report.iterdir()}
    write_report(report.parent / "study", report)
    assert {path.name: path.read_bytes() for path in report.iterdir()} == first


@pytest.mark.parametrize("mode", ["rating", "pairwise"])
def test_hostile_names_and_texts_stay_text(tmp_path, mode):
    make_study(tmp_path, photos=3, mode=mode)
    study = tmp_path / "study"
    (study / "systems.json").write_text(json.dumps(HOSTILE), encoding="utf-8")
    values = json.loads((study / "study.json").read_text(encoding="utf-8"))
    hostile = cycle(['"><img src=x onerror=alert(1)>', "改行\nあり", "</p></div><h1>x</h1>"])
    for item in values["items"]:
        item["texts"] = {letter: next(hostile) for letter in item["texts"]}
    values["title"]["en"] = "<b>title</b>\x1b[0m"
    (study / "study.json").write_text(json.dumps(values), encoding="utf-8")
    let_rate(study, 6)
    summary = write_report(study, tmp_path / "report")
    page = page_of(tmp_path / "report")
    assert "<script" not in page and "<img src=x" not in page and "<b>title" not in page and "<h1>x" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "改行\nあり" in page
    assert not {"\x1b", "\u202e"} & set(page + summary)
    assert "\n# a" not in summary  # a name can't begin a line of its own
    assert "\\|" in summary


def test_one_rater_gives_means_without_intervals(tmp_path):
    summary, report = reported(tmp_path, raters=1, photos=6)
    assert "One rater says nothing about others" in summary
    assert "Shown" not in summary
    means = pd.read_csv(report / "means.csv")
    assert means["mean"].notna().all() and means["low"].isna().all()


def test_one_photo_gives_means_without_intervals(tmp_path):
    summary, report = reported(tmp_path, photos=1)
    assert "One photo says nothing about others" in summary
    assert pd.read_csv(report / "means.csv")["low"].isna().all()


def test_one_system_gives_no_differences(tmp_path):
    summary, report = reported(tmp_path, photos=4, systems=SYSTEMS[:1])
    assert "nothing to compare it with" in summary
    assert not (report / "differences.csv").exists()
    assert len(pd.read_csv(report / "means.csv")) == 4


def test_nobody_kept_gives_all_raters_and_says_so(tmp_path):
    make_study(tmp_path, photos=12, mode="pairwise")
    study = tmp_path / "study"
    let_rate(study, 2)
    (study / "rules.json").write_text('{"same": 0}', encoding="utf-8")
    summary = write_report(study, tmp_path / "report")
    assert "Every rater breaks a rule" in summary and "Raters left out: 2 of 2." in summary
    assert "as in rules.json" in page_of(tmp_path / "report")


def test_a_total_winner_has_win_rates_and_no_strength(tmp_path):
    make_study(tmp_path, photos=4, systems=SYSTEMS[:2], mode="pairwise")
    store = RatingStore(tmp_path / "study")
    for _ in range(4):
        token = store.start("ja")
        while (task := (progress := store.show(token)).task) is not None:
            best = ("left", "right")[task.shown.index("a")] if task.kind == "item" else "tie"
            store.answer(token, progress.position, {"choice": best})
    store.close()
    write_report(tmp_path / "study", tmp_path / "report")
    assert set(pd.read_csv(tmp_path / "report" / "win_rates.csv")["rate"]) <= {0.0, 1.0}
    assert "No strengths fit" in page_of(tmp_path / "report")


def test_a_lost_photo_is_named_in_its_place(tmp_path):
    make_study(tmp_path, photos=3, mode="pairwise")
    study = tmp_path / "study"
    let_rate(study, 3)
    lost = next((study / "photos").iterdir())
    lost.unlink()
    write_report(study, tmp_path / "report")
    assert f"{lost.name} does not exist" in page_of(tmp_path / "report")


def test_a_study_without_answers_is_said_in_one_sentence(tmp_path):
    make_study(tmp_path, photos=3)
    study = tmp_path / "study"
    with pytest.raises(ValueError, match="nobody has rated yet"):
        write_report(study, tmp_path / "report")
    let_rate(study, 0, silent=2)
    with pytest.raises(ValueError, match="has no answers yet; let people rate"):
        write_report(study, tmp_path / "report")
    with pytest.raises(ValueError, match=r"holds no study\.json"):
        write_report(tmp_path / "photos", tmp_path / "report")
    assert not (tmp_path / "report").exists()


# Tables


def test_tables_show_intervals_signs_and_small_p_values():
    table = pd.DataFrame(
        {
            "system": ["a|b", "c"],
            "difference": [0.5, -1.0],
            "low": [0.1, np.nan],
            "high": [0.9, np.nan],
            "p": [0.0004, np.nan],
            "p_holm": [1.0, np.nan],
            "answers": [12.0, 3.0],
            "kept": [True, False],
        }
    )
    assert markdown_table(table).splitlines() == [
        "| system | difference | 95 % interval | p | p (Holm) | answers | kept |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
        "| a\\|b | +0.50 | 0.10 to 0.90 | < 0.001 | 1.000 | 12 | yes |",
        "| c | -1.00 | – | – | – | 3 | no |",
    ]


def test_plain_text_is_one_line_in_valid_utf8_and_html_keeps_its_lines():
    assert plain("a\nb\ud800\x1b\u202e") == "a b   "
    assert escape("a<\nb\x00") == "a&lt;\nb "
