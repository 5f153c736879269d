"""The ratings: one answer a task, balanced raters, and nothing lost."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.made_study import SYSTEMS, make_study, write_rows
from tweetcap.evaluate.survey.export import export_study
from tweetcap.evaluate.survey.ratings import RATINGS_FILE, RatingStore, SurveyError, export_raters, export_ratings
from tweetcap.evaluate.survey.study import read_systems

SCORES = {"natural": 5, "fits": 4, "funny": 2, "like": 1}


class Clock:
    """A clock that tests move."""

    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    make_study(tmp_path)
    store = RatingStore(tmp_path / "study", clock)
    yield store
    store.close()


def finish(store: RatingStore, token: str, values=SCORES) -> None:
    while (progress := store.show(token)).task is not None:
        assert store.answer(token, progress.position, values)


def refusal(call, *arguments) -> str:
    with pytest.raises(SurveyError) as error:
        call(*arguments)
    return error.value.reason


def test_a_rater_goes_from_task_to_task_to_the_end(store):
    token = store.start("en")
    first = store.show(token)
    assert (first.position, first.total, first.code) == (1, 7, None)
    finish(store, token)
    last = store.show(token)
    assert (last.position, last.task) == (8, None)
    assert store.has_code(last.code.lower())
    assert not store.has_code("AAAAAAAAAA")


def test_an_answer_that_comes_again_changes_nothing(store):
    token = store.start("ja")
    assert store.answer(token, 1, SCORES) is True
    assert store.answer(token, 1, SCORES) is False
    assert store.answer(token, 1, dict.fromkeys(SCORES, 3)) is False
    assert store.show(token).position == 2
    assert [value for *_, value, _, _ in store.answers()] == list(SCORES.values())


def test_a_double_click_that_arrives_at_once_counts_once(store):
    token = store.start("ja")
    with ThreadPoolExecutor(16) as pool:
        taken = list(pool.map(lambda _: store.answer(token, 1, SCORES), range(16)))
    assert Counter(taken) == {True: 1, False: 15}
    assert len(store.answers()) == 4


@pytest.mark.parametrize(
    ("position", "values"),
    [
        (2, SCORES),
        (0, SCORES),
        (-1, SCORES),
        (True, SCORES),
        ("1", SCORES),
        (None, SCORES),
        (1, SCORES | {"fits": 6}),
        (1, SCORES | {"fits": 0}),
        (1, SCORES | {"fits": True}),
        (1, SCORES | {"fits": 3.0}),
        (1, SCORES | {"fits": "3"}),
        (1, SCORES | {"fits": [3]}),
        (1, SCORES | {"kind": 3}),
        (1, {"natural": 3}),
        (1, None),
        (1, []),
    ],
)
def test_an_answer_that_the_page_would_not_send_is_refused(store, position, values):
    token = store.start("ja")
    assert refusal(store.answer, token, position, values) == "refused"
    assert store.answers() == []


def test_nobody_answers_without_a_link(store):
    for token in ("", "x", None, 7, "\ud800", ["x"]):
        assert refusal(store.show, token) == "unknown"
        assert refusal(store.answer, token, 1, SCORES) == "unknown"


def test_the_link_is_not_in_the_database_and_neither_is_who_got_which_code(store):
    token = store.start("ja")
    finish(store, token)
    dump = "\n".join(store._connection.iterdump())
    assert token not in dump
    code = store.show(token).code
    assert [line for line in dump.splitlines() if code in line] == [f"INSERT INTO \"codes\" VALUES('{code}');"]


def test_an_answer_before_the_minimum_time_is_sent_back_and_taken_later(tmp_path, clock):
    make_study(tmp_path, minimum_seconds=3)
    store = RatingStore(tmp_path / "study", clock)
    token = store.start("ja")
    store.show(token)
    clock.now += 1
    with pytest.raises(SurveyError) as error:
        store.answer(token, 1, SCORES)
    assert (error.value.reason, error.value.wait) == ("too_soon", pytest.approx(2))
    clock.now += 2
    assert store.answer(token, 1, SCORES)
    clock.now += 100
    store.show(token)  # came back: the time away is no time of thinking
    clock.now += 5
    assert store.answer(token, 2, SCORES)
    assert list(export_ratings(tmp_path / "study").groupby("position")["seconds"].first()) == [3.0, 5.0]


def test_a_clock_that_was_set_back_keeps_nobody_waiting(tmp_path, clock):
    make_study(tmp_path, minimum_seconds=3)
    store = RatingStore(tmp_path / "study", clock)
    token = store.start("ja")
    clock.now -= 3600
    assert store.answer(token, 1, SCORES)


def test_a_start_that_comes_again_is_the_same_rater_even_in_a_full_study(tmp_path):
    make_study(tmp_path, raters=1)
    store = RatingStore(tmp_path / "study")
    token = store.start("ja")
    assert store.start("ja", token) == token
    assert len(store.raters()) == 1
    for wrong in ("", "short", "ä" * 32, 7, ["x"] * 32):
        assert refusal(store.start, "ja", wrong) == "refused"


def cells(store) -> Counter:
    return Counter((block, row) for _, block, row, *_ in store.raters())


def test_raters_who_arrive_at_once_are_spread_evenly(tmp_path):
    study = make_study(tmp_path, photos=8, items_per_rater=4)
    store = RatingStore(tmp_path / "study")
    with ThreadPoolExecutor(35) as pool:
        tokens = list(pool.map(store.start, ["ja"] * 35))
    assert len(set(tokens)) == 35
    filled = cells(store)
    assert len(filled) == len(study.cells()) == 6
    assert set(filled.values()) == {5, 6}


def test_the_place_of_a_rater_who_gave_up_is_given_again(store, clock):
    gone, *_ = [store.start("ja") for _ in range(3)]
    place = next((block, row) for _, block, row, *_ in store.raters())
    assert set(cells(store).values()) == {1}
    clock.now += 7 * 3600
    others = [store.start("ja") for _ in range(3)]
    assert set(cells(store).values()) == {2}
    assert place in cells(store)
    assert (store.status().abandoned, store.status().under_way) == (3, 3)
    finish(store, gone)  # who comes back after all goes on
    assert store.status().finished == 1
    assert len(others) == 3


def test_a_full_study_lets_nobody_in_but_those_in_it_finish(tmp_path, clock):
    make_study(tmp_path, raters=2)
    store = RatingStore(tmp_path / "study", clock)
    one, two = store.start("ja"), store.start("ja")
    assert refusal(store.start, "ja") == "full"
    assert refusal(store.check_admission) == "full"
    finish(store, one)
    clock.now += 7 * 3600  # the other one gave up
    store.check_admission()
    finish(store, two)
    assert refusal(store.start, "ja") == "full"


def test_a_closed_study_takes_nothing_until_it_is_opened_again(store):
    done, open_ = store.start("ja"), store.start("ja")
    finish(store, done)
    store.set_closed(True)
    assert refusal(store.start, "ja") == "closed"
    assert refusal(store.show, open_) == "closed"
    assert refusal(store.answer, open_, 1, SCORES) == "closed"
    assert store.show(done).code
    assert store.answer(done, 1, SCORES) is False
    store.set_closed(False)
    assert store.answer(open_, 1, SCORES)


def test_ratings_of_another_study_are_not_mixed_in(tmp_path):
    make_study(tmp_path / "a", seed=1)
    make_study(tmp_path / "b", seed=2)
    RatingStore(tmp_path / "a" / "study").close()
    os.rename(tmp_path / "a" / "study" / RATINGS_FILE, tmp_path / "b" / "study" / RATINGS_FILE)
    with pytest.raises(ValueError, match="holds the ratings of another study"):
        RatingStore(tmp_path / "b" / "study")


def test_a_file_that_is_no_database_is_named_with_the_remedy(tmp_path):
    make_study(tmp_path)
    (tmp_path / "study" / RATINGS_FILE).write_text("not a database" * 100)
    with pytest.raises(ValueError, match="can't be used"):
        RatingStore(tmp_path / "study")


def test_every_commit_waits_for_the_disk(store):
    assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_the_tables_say_what_was_shown_by_its_real_name(tmp_path):
    study = make_study(tmp_path, photos=6, attention=1)
    store = RatingStore(tmp_path / "study")
    tokens = [store.start(language) for language in ("ja", "en", "xx")]
    for token in tokens[:2]:
        finish(store, token)
    store.answer(tokens[2], 1, SCORES)
    names = read_systems(tmp_path / "study")
    ratings, raters = export_ratings(tmp_path / "study"), export_raters(tmp_path / "study")
    assert list(ratings.columns) == [
        *("rater", "item", "system", "question", "score", "seconds", "position"),
        *("kind", "expected", "block", "answered_at"),
    ]
    assert len(ratings) == (2 * 7 + 1) * 4
    assert list(ratings["question"][:4]) == list(SCORES)
    shown = ratings[(ratings["kind"] == "item") & (ratings["question"] == "fits")]
    assert set(shown["system"]) == set(SYSTEMS)
    assert set(shown["score"]) == {4}
    task_texts = {
        (rater, task.item): study.find_item(task.kind, task.item).texts[task.shown[0]]
        for rater, _, _, task, *_ in store.answers()
        if task.kind == "item"
    }
    for row in shown.itertuples():
        assert task_texts[row.rater, row.item] == f"{SYSTEMS.index(row.system)}番{row.item[1:]}"
    checks = ratings[ratings["kind"] == "attention"]
    assert checks["system"].isna().all()
    assert set(checks["expected"]) <= {2, 4}
    assert ratings[ratings["kind"] == "item"]["expected"].isna().all()
    assert sorted(names.values()) == sorted(SYSTEMS)
    assert list(raters["language"].value_counts().sort_index()) == [1, 2]
    assert raters["finished_at"].notna().sum() == 2
    assert ratings["answered_at"].dt.tz is not None


def test_pairs_are_told_by_side_and_gold_by_the_right_one(tmp_path):
    gold = tmp_path / "gold.jsonl"
    write_rows(gold, [{"photo_id": "p0005", "good": "よい", "bad": "わるい"}])
    names = [f"s{number}" for number in range(3)]
    from tests.made_study import make_photos, make_sources
    from tweetcap.evaluate.survey.new_study import create_study

    photos = make_photos(tmp_path / "photos", 6)
    sources = make_sources(tmp_path, photos, names)
    options = {"mode": "pairwise", "gold": gold, "minimum_seconds": 0}
    create_study(tmp_path / "photos", sources, tmp_path / "study", **options)
    store = RatingStore(tmp_path / "study")
    for _ in range(6):
        finish(store, store.start("ja"), {"choice": "left"})
    ratings = export_ratings(tmp_path / "study")
    items = ratings[ratings["kind"] == "item"]
    assert len(items) == 30
    ways = items.groupby(["left", "right"]).size()
    assert len(ways) == 6
    assert set(ways) == {5}
    assert items.groupby(["item", "left", "right"]).size().max() == 1
    golden = ratings[ratings["kind"] == "gold"]
    assert golden["left"].isna().all()
    assert set(golden["expected"]) <= {"left", "right"}


def test_csv_and_parquet_hold_the_same_and_the_card_describes_them(tmp_path):
    from tweetcap.data.publish import check_folder

    make_study(tmp_path)
    store = RatingStore(tmp_path / "study")
    finish(store, store.start("ja"))
    assert export_study(tmp_path / "study", tmp_path / "out") == (28, 1)
    csv, parquet = pd.read_csv(tmp_path / "out" / "ratings.csv"), pd.read_parquet(tmp_path / "out" / "ratings.parquet")
    assert list(csv.columns) == list(parquet.columns)
    assert (csv["score"] == parquet["score"]).all()
    np.testing.assert_array_equal(csv["expected"].to_numpy(float), parquet["expected"].to_numpy(float, na_value=np.nan))
    card = check_folder(tmp_path / "out")
    assert all(f"`{column}`" in card.text for column in csv.columns)
    (tmp_path / "out" / "README.md").write_text("mine")
    export_study(tmp_path / "study", tmp_path / "out")
    assert (tmp_path / "out" / "README.md").read_text() == "mine"


def test_a_study_that_nobody_rated_has_empty_tables_or_a_sentence(tmp_path):
    make_study(tmp_path)
    with pytest.raises(ValueError, match="nobody has rated yet"):
        export_ratings(tmp_path / "study")
    RatingStore(tmp_path / "study").close()
    assert len(export_ratings(tmp_path / "study")) == len(export_raters(tmp_path / "study")) == 0


def test_an_export_beside_the_server_neither_blocks_nor_is_blocked(tmp_path):
    make_study(tmp_path)
    store = RatingStore(tmp_path / "study")
    failures = []

    def rate():
        try:
            for _ in range(5):
                finish(store, store.start("ja"))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=rate) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert export_ratings(tmp_path / "study").groupby(["rater", "position"]).size().isin([4]).all()
    assert failures == []
    assert len(export_raters(tmp_path / "study")) == 20


WRITER = """
import sys, threading
from tweetcap.evaluate.survey.ratings import RatingStore
store, scores = RatingStore(sys.argv[1]), {"natural": 5, "fits": 4, "funny": 2, "like": 1}
lock = threading.Lock()
def rate():
    while True:
        token = store.start("ja")
        for position in range(1, 8):
            store.answer(token, position, scores)
            with lock:
                print(token, position, flush=True)
for _ in range(8):
    threading.Thread(target=rate).start()
"""


def test_a_writer_killed_at_any_moment_has_kept_what_it_acknowledged(tmp_path):
    make_study(tmp_path)
    for acknowledged_before in (3, 40, 111):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "study")], stdout=subprocess.PIPE, cwd=Path.cwd(), text=True
        )
        lines = [writer.stdout.readline() for _ in range(acknowledged_before)]
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.readlines()
        writer.wait()
        acknowledged = [line.split() for line in lines if re.fullmatch(r"\S+ \d\n", line)]
        store = RatingStore(tmp_path / "study")
        assert store._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        furthest = {token: int(position) for token, position in acknowledged}
        for token, position in furthest.items():
            assert store.show(token).position > position
        store.close()


def test_a_full_disk_loses_the_answer_but_not_the_store(store):
    token = store.start("ja")
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        for position in range(1, 8):
            store.answer(token, position, SCORES)
        for _ in range(200):
            store.start("ja")
    store._connection.execute("PRAGMA max_page_count = 1000000")
    finish(store, store.start("ja"))
    finish(store, token)
