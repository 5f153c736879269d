"""What is wanted and missing is read, once, whatever happened before and whatever X does."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.collect.fake_x import (
    FREE_FAULTS,
    HARMLESS_FAULTS,
    PAID_FAULTS,
    TOKEN,
    FakeTime,
    FakeX,
    make_world,
    random_faults,
)
from tweetcap.collect.accounts import Account, Accounts
from tweetcap.collect.budget import Budget, Ledger, load_prices
from tweetcap.collect.client import Client
from tweetcap.collect.posts import derive_posts
from tweetcap.collect.raw import FORGOTTEN, PAGES, AppendOnly, read_rows
from tweetcap.collect.timelines import SET_ASIDE, Outcome, Span, collect_timelines, estimate, first_id

FAULTS = PAID_FAULTS + FREE_FAULTS + HARMLESS_FAULTS


@pytest.fixture
def x():
    time = FakeTime()
    with FakeX(make_world(accounts=4, posts=640), clock=time.clock) as server:
        server.time = time
        yield server


def accounts(
    *names: str, max_posts: int = 800, since: datetime | None = None, until: datetime | None = None
) -> Accounts:
    rows = [Account(name=name, since=since, until=until, max_posts=max_posts) for name in names]
    return Accounts(accounts=rows, languages=None)


def everyone(x: FakeX, **options) -> Accounts:
    return accounts(*(user.username for user in x.world.users), **options)


def run(x: FakeX, folder: Path, wanted: Accounts, budget: str | None = None) -> Outcome:
    with (
        Ledger(folder, load_prices(), Budget.parse(budget) if budget else None) as ledger,
        Client(folder, TOKEN, ledger, api=x.url, sleep=x.time.sleep, clock=x.time.clock) as client,
    ):
        return collect_timelines(wanted, folder, client)


def read_ids(folder: Path) -> list[str]:
    """Return the ids of all posts of the timelines' pages, as often as they were stored."""
    pages = [page for page in read_rows(folder / PAGES) if page["request"]["kind"] == "timeline" and page["reads"]]
    return [post["id"] for page in pages for post in page["body"].get("data", [])]


def expected_ids(x: FakeX, index: int, since: datetime | None = None, until: datetime | None = None) -> list[str]:
    """Return what a timeline without replies and reposts holds, from the world itself."""
    rows = []
    for post in x.world.users[index].posts:
        moment = datetime.fromisoformat(post["created_at"])
        kinds = {reference["type"] for reference in post.get("referenced_tweets", [])}
        inside = (since is None or moment >= since) and (until is None or moment < until)
        if inside and not kinds & {"replied_to", "retweeted"}:
            rows.append(post["id"])
    return rows


def test_all_posts_but_replies_and_reposts_are_read_once(tmp_path, x):
    outcome = run(x, tmp_path, everyone(x))
    assert sorted(read_ids(tmp_path)) == sorted(id for index in range(4) for id in expected_ids(x, index))
    assert outcome.posts == len(read_ids(tmp_path)) and outcome.stopped is None
    assert outcome.done == ["animal_00", "animal_01", "animal_02", "animal_03"]
    assert not (tmp_path / SET_ASIDE).exists()


@pytest.mark.parametrize("seed", range(4))
def test_what_comes_from_a_faulty_server_equals_what_comes_from_a_clean_one(tmp_path, x, seed):
    run(x, tmp_path / "clean", everyone(x))
    x.reset(random_faults(seed, 0.5, FAULTS))
    outcome = run(x, tmp_path / "faulty", everyone(x))
    assert not outcome.set_aside and not outcome.stopped
    assert derive_posts(tmp_path / "faulty") == derive_posts(tmp_path / "clean")
    assert sorted(read_ids(tmp_path / "faulty")) == sorted(read_ids(tmp_path / "clean"))


def test_accounts_that_cannot_be_read_are_set_aside_with_xs_reason_and_the_others_go_on(tmp_path, x):
    x.world.users[0].state = "suspended"
    x.world.users[1].state = "protected"
    x.world.users[2].state = "gone"
    outcome = run(x, tmp_path, accounts("animal_00", "animal_01", "ANIMAL_02", "animal_03", "nobody"))
    assert outcome.done == ["animal_03"]
    user_id = x.world.users[1].user_id
    reasons = {
        "animal_00": "User has been suspended: [animal_00].",
        "animal_01": f"X gives no timeline: Sorry, you are not authorized to see the user with id: [{user_id}]",
        "ANIMAL_02": "Could not find user with usernames: [ANIMAL_02].",
        "nobody": "Could not find user with usernames: [nobody].",
    }
    assert outcome.set_aside == reasons
    assert {row["account"]: row["reason"] for row in read_rows(tmp_path / SET_ASIDE)} == reasons


def test_an_account_set_aside_for_faults_is_read_on_the_next_run_and_leaves_the_list(tmp_path, x):
    x.reset([None, *["503"] * 6])
    first = run(x, tmp_path, everyone(x))
    assert first.set_aside == {"animal_00": "X answered with 503, 6 times in a row."}
    assert len(first.done) == 3
    second = run(x, tmp_path, everyone(x))
    assert not second.set_aside and not list(read_rows(tmp_path / SET_ASIDE))
    assert sorted(read_ids(tmp_path)) == sorted(id for index in range(4) for id in expected_ids(x, index))


def test_a_forgotten_account_is_not_paid_for_again(tmp_path, x):
    with AppendOnly(tmp_path / FORGOTTEN) as forgotten:
        forgotten.append({"user_id": x.world.users[0].user_id, "at": "2026-01-01T00:00:00Z"})
    outcome = run(x, tmp_path, accounts("animal_00", "animal_01"))
    assert outcome.set_aside == {"animal_00": "it was forgotten and is not read again; take it out of the file."}
    assert not any(x.world.users[0].user_id in request for request in x.requests)


def test_an_account_no_longer_asked_for_leaves_the_list(tmp_path, x):
    run(x, tmp_path, accounts("nobody", "noone"))
    run(x, tmp_path, accounts("noone"))
    assert [row["account"] for row in read_rows(tmp_path / SET_ASIDE)] == ["noone"]


def test_a_renamed_account_goes_on_by_its_id(tmp_path, x):
    run(x, tmp_path, accounts("animal_00"))
    x.world.users[0].username = "renamed_cat"
    x.world.users[1].username = "animal_00"  # someone else takes the name
    x.reset()
    outcome = run(x, tmp_path, accounts("animal_00"))
    assert outcome.done == ["animal_00"] and x.charged.users == 0
    assert {post.user_id for post in derive_posts(tmp_path)} == {x.world.users[0].user_id}


def test_a_second_run_reads_only_what_is_new(tmp_path, x):
    newest = x.world.users[0].posts[:60]
    del x.world.users[0].posts[:60]
    run(x, tmp_path, accounts("animal_00"))
    x.world.users[0].posts[:0] = newest
    x.reset()
    outcome = run(x, tmp_path, accounts("animal_00"))
    assert 0 < outcome.posts < 60 and x.charged.posts == outcome.posts and x.charged.users == 0
    assert sorted(read_ids(tmp_path)) == sorted(expected_ids(x, 0))
    x.reset()
    assert run(x, tmp_path, accounts("animal_00")).posts == 0
    assert x.charged.posts == 0 and len(x.requests) == 1 and "since_id" in x.requests[0]


def test_a_collection_that_is_wanted_further_back_reads_only_the_older_posts(tmp_path, x):
    middle = datetime(2024, 1, 10, tzinfo=UTC)
    run(x, tmp_path, accounts("animal_00", since=middle))
    assert sorted(read_ids(tmp_path)) == sorted(expected_ids(x, 0, since=middle))
    x.reset()
    run(x, tmp_path, accounts("animal_00"))
    assert max(x.charged_posts.values()) == 1
    assert sorted(read_ids(tmp_path)) == sorted(expected_ids(x, 0))


def test_a_sweep_that_was_cut_above_what_is_wanted_now_is_left(tmp_path, x):
    run(x, tmp_path, accounts("animal_00"), "60posts")
    x.charged_posts.clear()
    until = datetime(2024, 1, 8, tzinfo=UTC)
    run(x, tmp_path, accounts("animal_00", until=until))
    assert set(x.charged_posts) == set(expected_ids(x, 0, until=until))
    run(x, tmp_path, accounts("animal_00"))
    assert max(x.charged_posts.values()) == 1
    assert sorted(read_ids(tmp_path)) == sorted(expected_ids(x, 0))


def test_a_page_that_someone_took_out_of_the_file_is_read_again_and_no_other(tmp_path):
    time = FakeTime()
    with FakeX(make_world(accounts=1, posts=450), clock=time.clock) as x:
        x.time = time
        run(x, tmp_path, everyone(x))
        lines = (tmp_path / PAGES).read_text().splitlines(keepends=True)
        missing = json.loads(lines[3])["body"]["data"]
        (tmp_path / PAGES).write_text("".join([*lines[:3], "broken\n", *lines[4:]]))
        x.charged_posts.clear()
        run(x, tmp_path, everyone(x))
        assert sorted(x.charged_posts) == sorted(post["id"] for post in missing)
        assert sorted(read_ids(tmp_path)) == sorted(expected_ids(x, 0))


def test_a_page_token_that_x_no_longer_knows_costs_no_page_twice(tmp_path, x):
    run(x, tmp_path, accounts("animal_00"), "60posts")
    assert 0 < len(read_ids(tmp_path)) <= 60
    charged = set(x.charged_posts)
    x.reset()  # forgets its tokens too
    run(x, tmp_path, accounts("animal_00"))
    assert not charged & set(x.charged_posts)
    assert sorted(read_ids(tmp_path)) == sorted(expected_ids(x, 0))


def test_a_timeline_that_leads_back_to_itself_is_set_aside(tmp_path, x, monkeypatch):
    page = x.timeline
    again = {"next_token": f"{x.world.users[0].user_id}-{x.world.users[0].posts[99]['id']}"}
    monkeypatch.setattr(
        x, "timeline", lambda id, query: (200, page(id, query)[1] | {"meta": again | {"result_count": 0}, "data": []})
    )
    outcome = run(x, tmp_path, accounts("animal_00"))
    assert outcome.set_aside == {"animal_00": "X names a page as the one after itself."}
    assert len(x.requests) == 3


def test_max_posts_holds_over_all_runs(tmp_path, x):
    for _ in range(3):
        outcome = run(x, tmp_path, accounts("animal_00", "animal_01", max_posts=33))
        assert outcome.full == ["animal_00", "animal_01"]
    for index in (0, 1):
        mine = [id for id in read_ids(tmp_path) if id in set(expected_ids(x, index))]
        assert 29 <= len(mine) <= 33 and sorted(mine) == sorted(expected_ids(x, index)[: len(mine)])


def test_no_more_than_the_newest_800_posts_are_promised(tmp_path):
    time = FakeTime()
    with FakeX(make_world(accounts=1, posts=1200), clock=time.clock) as x:
        x.time = time
        run(x, tmp_path, everyone(x))
        newest = {post["id"] for post in x.world.users[0].posts[:800]}
        assert set(read_ids(tmp_path)) == newest & set(expected_ids(x, 0))


def test_an_empty_page_with_errors_about_other_posts_is_a_page(tmp_path, x):
    run(x, tmp_path, accounts("animal_00"))
    x.reset(["partial errors"])
    outcome = run(x, tmp_path, accounts("animal_00"))
    assert outcome.done == ["animal_00"] and outcome.posts == 0


def test_one_damaged_name_lookup_sets_only_the_unknown_aside(tmp_path, x):
    run(x, tmp_path, accounts("animal_00"))
    x.reset(["503"] * 6)
    outcome = run(x, tmp_path, everyone(x))
    assert outcome.done == ["animal_00"]
    assert set(outcome.set_aside.values()) == {"X answered with 503, 6 times in a row."}


def test_an_odd_answer_about_a_name_is_no_end_of_the_run_and_reaches_no_terminal(tmp_path, x, monkeypatch):
    users = [
        {"id": "1", "username": 3},
        {"id": x.world.users[0].user_id, "username": "animal_00", "public_metrics": None},
    ]
    errors = [{"value": "nobody", "detail": "gone \x1b[2J\n" + "!" * 999}, {"value": "noone", "detail": None}]
    monkeypatch.setattr(x, "users_by", lambda query: (200, {"data": users, "errors": errors}))
    wanted = accounts("animal_00", "nobody", "noone")
    outcome = run(x, tmp_path, wanted)
    assert outcome.done == ["animal_00"] and outcome.set_aside["noone"] == "X does not know it."
    assert outcome.set_aside["nobody"].startswith("gone [2J !!!") and len(outcome.set_aside["nobody"]) <= 201
    assert len(estimate(wanted, tmp_path).accounts) == 3


def test_a_hundred_and_one_accounts_are_looked_up_in_two_requests(tmp_path, x):
    names = [f"nobody_{number}" for number in range(100)]
    outcome = run(x, tmp_path, accounts(*names, "animal_00"))
    assert outcome.done == ["animal_00"] and len(outcome.set_aside) == 100
    assert sum("/2/users/by" in request for request in x.requests) == 2


def test_a_refused_token_stops_the_run_at_once(tmp_path, x):
    x.token = "another"
    outcome = run(x, tmp_path, everyone(x))
    assert outcome.stopped.startswith("X refused the token (401") and not outcome.set_aside
    assert len(x.requests) == 1


def test_an_estimate_is_never_below_what_is_read(tmp_path, x):
    guess = estimate(everyone(x), tmp_path)
    assert (guess.posts, guess.lookups, guess.requests) == (3200, 4, 33)
    assert not x.requests and not list(tmp_path.iterdir())
    outcome = run(x, tmp_path, everyone(x), "100posts")
    rest = estimate(everyone(x), tmp_path)
    # An account that was looked up and not read has no more posts than X says.
    assert rest.lookups == 0 and rest.posts == 800 - outcome.posts + 3 * 160
    read = run(x, tmp_path, everyone(x)).posts
    assert read <= rest.posts
    again = estimate(everyone(x), tmp_path)
    assert again.read_before == 4 and again.posts == 400


MOMENTS = st.one_of(st.none(), st.integers(0, 23).map(lambda day: datetime(2024, 1, 1, tzinfo=UTC) + timedelta(day)))
RUNS = st.lists(
    st.tuples(MOMENTS, MOMENTS, st.integers(0, 25), st.sampled_from([0, 0.4]), st.integers(5, 200)),
    min_size=1,
    max_size=5,
)


@given(RUNS, st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_whatever_was_asked_for_before_the_wanted_posts_are_read_and_none_twice(tmp_path_factory, world, runs, seed):
    """Runs with other dates, new posts in between, faults, and budgets that cut them short."""
    x, user = world, world.world.users[0]
    folder = tmp_path_factory.mktemp("runs")
    hidden = 40
    for number, (since, until, new, rate, budget) in enumerate(runs):
        hidden = max(0, hidden - new)
        user.posts = x.all_posts[hidden:]
        if until and until > datetime.fromisoformat(user.posts[0]["created_at"]):
            until = None  # a day yet to come: no post can come later from a day that is over
        if since and until and since >= until:
            since = None
        x.reset(random_faults(seed + number, rate, FREE_FAULTS))
        wanted = accounts(user.username, since=since, until=until)
        run(x, folder, wanted, f"{budget * (number + 1)}posts")
        x.reset()
        run(x, folder, wanted)
        ids = read_ids(folder)
        assert len(ids) == len(set(ids))
        assert set(expected_ids(x, 0, since, until)) <= set(ids)


@pytest.fixture(scope="module")
def world():
    time = FakeTime()
    with FakeX(make_world(accounts=1, posts=180), clock=time.clock) as server:
        server.time = time
        server.all_posts = server.world.users[0].posts
        yield server


SPANS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)).map(lambda pair: Span(*pair)), max_size=6)


@given(st.builds(Span, st.integers(0, 20), st.integers(0, 20)), SPANS)
def test_a_span_without_others_is_what_a_set_says(span, others):
    left = span.without(others)
    covered = {number for other in others for number in range(other.low, other.high)}
    assert [number for piece in left for number in range(piece.low, piece.high)] == [
        number for piece in sorted(left, key=lambda piece: -piece.low) for number in range(piece.low, piece.high)
    ]
    assert {n for piece in left for n in range(piece.low, piece.high)} == set(range(span.low, span.high)) - covered
    assert all(piece.low < piece.high for piece in left)


def test_an_id_holds_its_posts_time():
    # A post of X's documentation: 1212092628029698048 of 2019-12-31T19:26:16.000Z.
    moment = datetime(2019, 12, 31, 19, 26, 16, tzinfo=UTC)
    assert first_id(moment) <= 1212092628029698048 < first_id(moment + timedelta(seconds=1))


def test_a_page_is_on_the_disk_before_the_next_is_asked_for(tmp_path, x):
    seen = []
    x.before_answer = lambda number: seen.append(
        len((tmp_path / PAGES).read_text().splitlines()) if (tmp_path / PAGES).exists() else 0
    )
    run(x, tmp_path, everyone(x))
    assert seen == list(range(len(x.requests)))
    assert all(json.loads(line)["status"] == 200 for line in (tmp_path / PAGES).read_text().splitlines())
