"""The ledger never counts too little, and no budget is broken at the server's own count."""

from dataclasses import asdict
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.collect.fake_x import FREE_FAULTS, PAID_FAULTS, TOKEN, FakeTime, FakeX, make_world, random_faults
from tweetcap.collect import budget as budget_module
from tweetcap.collect.accounts import Account, Accounts
from tweetcap.collect.budget import REQUESTS, Ask, Budget, BudgetError, Ledger, Reads, count_reads, load_prices
from tweetcap.collect.client import Client
from tweetcap.collect.raw import PAGES, AppendOnly
from tweetcap.collect.timelines import collect_timelines

TIMELINE = Ask("timeline", "a", {"id": "1", "max_results": 100})


def page(number: int, reads: Reads | None, status: int = 200) -> dict:
    """A row of raw/pages.jsonl as far as the ledger reads it."""
    request = {"number": number, "kind": "timeline"}
    return {"request": request, "status": status, "reads": reads and asdict(reads), "body": {}}


def test_the_prices_that_come_with_the_package_are_read_exactly():
    prices = load_prices()
    assert (prices.post, prices.user) == (Decimal("0.005"), Decimal("0.010"))
    assert prices.cost(Reads(posts=1000, users=31, media=0)) == Decimal("5.31")


def test_prices_can_be_corrected_in_a_file_of_ones_own(tmp_path):
    path = tmp_path / "prices.yaml"
    path.write_text("post: 0.1\nuser: 0\nmedia: 0.3\n")
    assert load_prices(path).cost(Reads(1, 5, 1)) == Decimal("0.4")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("post: cheap\nuser: 1\nmedia: 1\n", "post is cheap; write the price of one in US dollars, such as 0.005."),
        ("post: 0.005\nmedia: 1\n", "user is None; write the price of one in US dollars"),
        ("post: -1\nuser: 1\nmedia: 1\n", "post is -1;"),
        ("post: .nan\nuser: 1\nmedia: 1\n", "post is .nan;"),
        ("- 0.005\n", "holds no prices: copy the package's prices.yaml"),
        ("post: [", "is not YAML: copy the package's prices.yaml"),
    ],
)
def test_a_wrong_price_list_is_refused_in_one_sentence(tmp_path, text, sentence):
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    with pytest.raises(ValueError) as caught:
        load_prices(path)
    assert sentence in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize(("text", "amount", "unit"), [("5.00usd", "5", "usd"), ("1000posts", "1000", "posts")])
def test_a_budget_is_dollars_or_posts(text, amount, unit):
    assert Budget.parse(text) == Budget(Decimal(amount), unit)
    assert Budget.parse(f" {text.upper()} ") == Budget(Decimal(amount), unit)


@pytest.mark.parametrize("text", ["5", "$5", "-5usd", "5 eur", "1.5posts", "infusd", "nanusd", "", "５usd", "1e9usd"])
def test_anything_else_is_no_budget(text):
    with pytest.raises(ValueError, match=r"write dollars as 5\.00usd or posts as 1000posts"):
        Budget.parse(text)


def test_everything_that_a_page_brings_is_counted():
    body = {"data": [{}, {}], "includes": {"media": [{}, {}, {}], "users": [{}], "tweets": [{}]}}
    assert count_reads("timeline", body) == Reads(posts=3, users=1, media=3)
    assert count_reads("users", body) == Reads(posts=1, users=3, media=3)
    assert count_reads("timeline", {"meta": {"result_count": 0}}) == Reads()


def test_a_page_is_made_as_small_as_the_budget_at_its_worst(tmp_path):
    # A post with four photos may cost 0.025 USD.
    for dollars, size in (("2.50usd", 100), ("2.49usd", 99), ("0.13usd", 5), ("0.125usd", 5)):
        assert Ledger(tmp_path, load_prices(), Budget.parse(dollars)).fit(TIMELINE).size == size
    for posts, size in (("100posts", 100), ("99posts", 99), ("5posts", 5)):
        assert Ledger(tmp_path, load_prices(), Budget.parse(posts)).fit(TIMELINE).size == size


def test_a_request_that_could_break_the_budget_is_not_made(tmp_path):
    for budget, smallest in (("0.124usd", "0.125"), ("4posts", "5")):
        with pytest.raises(BudgetError, match=f"has no room for the next request.*may cost {smallest}; raise --budget"):
            Ledger(tmp_path, load_prices(), Budget.parse(budget)).fit(TIMELINE)


def test_names_and_ids_are_asked_for_as_far_as_the_budget_goes(tmp_path):
    ledger = Ledger(tmp_path, load_prices(), Budget.parse("0.05usd"))
    users = Ask("users", None, {"usernames": [f"a{n}" for n in range(100)]})
    assert ledger.fit(users).params["usernames"] == ["a0", "a1", "a2", "a3", "a4"]
    posts = Ask("posts", None, {"ids": ["1", "2", "3"]})
    assert ledger.fit(posts).params["ids"] == ["1", "2"]


def test_an_answered_request_costs_what_came(tmp_path):
    with Ledger(tmp_path, load_prices()) as ledger:
        number = ledger.ask(TIMELINE)
        assert ledger.spent == Reads(posts=100, media=400)
        ledger.answered(page(number, Reads(posts=7, media=8)))
        assert ledger.spent == Reads(posts=7, media=8)


def test_a_lost_request_counts_at_its_worst_until_the_same_page_comes(tmp_path):
    with Ledger(tmp_path, load_prices()) as ledger:
        ledger.ask(TIMELINE)
        ledger.ask(TIMELINE)
        refused = ledger.ask(TIMELINE)
        ledger.answered(page(refused, Reads(), status=503))
        assert ledger.spent == Reads(posts=200, media=800) and ledger.lost == 2
        ledger.answered(page(ledger.ask(TIMELINE), Reads(posts=7, media=8)))
        assert ledger.spent == Reads(posts=21, media=24) and ledger.lost == 0
        ledger.ask(TIMELINE)  # what came before says nothing of what is lost later
        assert ledger.spent == Reads(posts=121, media=424)


def test_an_answer_of_another_day_says_nothing_of_a_lost_request(tmp_path, monkeypatch):
    with Ledger(tmp_path, load_prices()) as ledger:
        monkeypatch.setattr(budget_module, "now", lambda: "2026-01-05T23:59:59.000Z")
        ledger.ask(TIMELINE)
        monkeypatch.setattr(budget_module, "now", lambda: "2026-02-05T00:00:00.000Z")
        ledger.answered(page(ledger.ask(TIMELINE), Reads(posts=7)))  # the newest posts are others by now
        assert ledger.spent == Reads(posts=107, media=400) and ledger.lost == 1


def test_a_page_that_nobody_can_read_counts_as_lost(tmp_path):
    with Ledger(tmp_path, load_prices()) as ledger:
        ledger.answered(page(ledger.ask(TIMELINE), None))
        assert ledger.spent == TIMELINE.worst


def test_a_request_that_never_left_costs_nothing(tmp_path):
    with Ledger(tmp_path, load_prices()) as ledger:
        ledger.not_sent(ledger.ask(TIMELINE))
        assert ledger.spent == Reads()
    assert Ledger(tmp_path, load_prices()).spent == Reads()


def test_a_broken_row_of_the_journal_is_reported_and_the_others_count(tmp_path, caplog):
    with Ledger(tmp_path, load_prices()) as ledger:
        ledger.ask(TIMELINE)
    with AppendOnly(tmp_path / REQUESTS) as requests:
        requests.append({"number": 2, "kind": "timeline"})
    assert Ledger(tmp_path, load_prices()).spent == TIMELINE.worst
    assert "a row is no request and is left out" in caplog.records[0].getMessage()


def test_an_estimate_writes_nothing(tmp_path):
    with Ledger(tmp_path / "none", load_prices()) as ledger:
        assert ledger.cost == 0
    assert not (tmp_path / "none").exists()


EVENTS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["page", "lost", "damaged", "refused", "unsent"])))


@given(EVENTS)
@settings(max_examples=60, deadline=None)
def test_a_ledger_that_is_opened_again_says_the_same(tmp_path_factory, events):
    folder = tmp_path_factory.mktemp("ledger")
    with Ledger(folder, load_prices()) as ledger, AppendOnly(folder / PAGES) as pages:
        for which, event in events:
            ask = Ask("timeline", "a", {"id": str(which), "max_results": 10})
            number = ledger.ask(ask)
            rows = {
                "page": page(number, Reads(posts=which, media=which)),
                "damaged": page(number, None),
                "refused": page(number, Reads(), status=503),
            }
            if event == "unsent":
                ledger.not_sent(number)
            elif event in rows:
                pages.append(rows[event])
                ledger.answered(rows[event])
        assert Ledger(folder, load_prices()).spent == ledger.spent


@pytest.fixture(scope="module")
def x():
    clock = FakeTime()
    with FakeX(make_world(accounts=3, posts=400), clock=clock.clock) as server:
        server.time = clock
        yield server


@given(
    cents=st.integers(1, 600),
    in_posts=st.booleans(),
    seed=st.integers(0, 2**32),
    rate=st.sampled_from([0, 0.3, 0.6]),
    runs=st.integers(1, 3),
)
@settings(max_examples=40, deadline=None)
def test_no_budget_is_ever_broken_at_the_servers_own_count(tmp_path_factory, x, cents, in_posts, seed, rate, runs):
    folder = tmp_path_factory.mktemp("budget")
    x.reset(random_faults(seed, rate, PAID_FAULTS + FREE_FAULTS))
    budget = Budget.parse(f"{cents}posts" if in_posts else f"{cents / 100:.2f}usd")
    prices = load_prices()
    accounts = [Account(name=user.username, since=None, until=None, max_posts=800) for user in x.world.users]
    for _ in range(runs):
        with (
            Ledger(folder, prices, budget) as ledger,
            Client(folder, TOKEN, ledger, api=x.url, sleep=x.time.sleep, clock=x.time.clock) as client,
        ):
            collect_timelines(Accounts(accounts=accounts, languages=None), folder, client)
            assert ledger.cost >= prices.cost(x.charged) and ledger.spent.posts >= x.charged.posts
        assert (x.charged.posts if in_posts else prices.cost(x.charged)) <= budget.amount
