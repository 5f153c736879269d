"""Whatever X answers, there is a page, or one sentence, and the token is nowhere but in the header."""

import json
import logging
import socket
import urllib.request

import pytest
import tweepy

from tests.collect.fake_x import FREE_FAULTS, PAID_FAULTS, TOKEN, FakeTime, FakeX, make_world
from tweetcap.collect import client as client_module
from tweetcap.collect.budget import Ask, Budget, BudgetError, Ledger, Reads, StopError, load_prices
from tweetcap.collect.client import ATTEMPTS, POST_PARAMS, Client, RefusedError, read_token
from tweetcap.collect.raw import PAGES, read_rows


@pytest.fixture(scope="module")
def server():
    with FakeX(make_world(accounts=2, posts=60)) as server:
        yield server


@pytest.fixture
def time():
    return FakeTime()


@pytest.fixture
def x(server, time):
    server.clock = time.clock
    server.limit = 100_000
    server.token = TOKEN
    server.reset()
    return server


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path, load_prices()) as ledger:
        yield ledger


@pytest.fixture
def client(tmp_path, x, time, said, ledger):
    with Client(tmp_path, TOKEN, ledger, api=x.url, sleep=time.sleep, clock=time.clock, report=said.append) as client:
        yield client


def timeline(x: FakeX, **params) -> Ask:
    user = x.world.users[0]
    return Ask("timeline", user.username, {"id": user.user_id, "max_results": 20, **POST_PARAMS, **params})


def test_a_page_is_stored_as_it_came(tmp_path, x, client):
    page = client.ask(timeline(x))
    assert list(read_rows(tmp_path / PAGES)) == [page]
    assert page["status"] == 200 and page["request"]["account"] == "animal_00"
    assert set(page["rate_limit"]) == {"limit", "remaining", "reset"}
    params = {"max_results": "20", "expansions": "attachments.media_keys"}
    params |= {"tweet.fields": ",".join(POST_PARAMS["tweet_fields"])}
    params |= {"media.fields": ",".join(POST_PARAMS["media_fields"])}
    assert page["body"] == x.timeline(x.world.users[0].user_id, params)[1]


def test_what_is_charged_is_what_was_read(x, client, ledger):
    client.users(["animal_00", "animal_01"])
    client.ask(timeline(x))
    client.posts([post["id"] for post in x.world.users[1].posts[:30]])
    assert ledger.spent == x.charged
    assert (ledger.spent.users, ledger.spent.posts) == (2, 50)


def test_no_expansion_is_asked_for_that_is_charged_and_not_needed(x, client):
    client.ask(timeline(x))
    client.posts([x.world.users[0].posts[0]["id"]])
    assert not any("author_id" in request.partition("expansions=")[2].partition("&")[0] for request in x.requests)


@pytest.mark.parametrize("fault", PAID_FAULTS + FREE_FAULTS)
def test_after_any_passing_fault_the_same_page_comes(tmp_path, x, client, said, fault):
    clean = client.ask(timeline(x))
    x.reset([fault, fault, fault])
    page = client.ask(timeline(x))
    assert page["body"] == clean["body"] and page["reads"] == clean["reads"]
    assert len(x.requests) == 4 and len(said) == 3
    # What wasn't JSON is kept, and is no page.
    rows = [row for row in read_rows(tmp_path / PAGES) if row["reads"] is None]
    assert len(rows) == (3 if fault in ("malformed", "html", "no object", "odd shape", "one row", "huge id") else 0)


@pytest.mark.parametrize("fault", PAID_FAULTS)
def test_an_answer_that_is_charged_and_lost_is_in_the_ledger(x, client, ledger, fault):
    x.reset([fault])
    client.ask(timeline(x))
    assert ledger.spent == x.charged == Reads(posts=40, media=x.charged.media)


def test_partial_errors_beside_data_are_kept_and_are_no_fault(x, client, said):
    x.reset(["partial errors"])
    page = client.ask(timeline(x))
    assert page["body"]["data"] and page["body"]["errors"] and not said


def test_a_rate_limit_is_slept_off_with_the_time_and_the_reason(x, client, time, said):
    x.reset(["429"])
    start = time.now
    client.ask(timeline(x))
    assert time.naps == [31] and time.now == start + 31
    assert said == [
        "X's rate limit is reached, and its header says when to go on: waiting 31 s, until 09:20:31 UTC. "
        "Ctrl-C stops, nothing is lost."
    ]


def test_the_last_request_of_a_window_makes_the_next_one_wait_and_no_429_is_caused(x, client, time, said):
    x.limit = 2
    for _ in range(3):
        client.ask(timeline(x))
    assert len(x.requests) == 3 and len(time.naps) == 1
    assert said[0].startswith("X allows no more requests for timelines in this window: waiting 10 min")


def test_a_429_without_a_header_is_waited_for_longer_each_time(x, client, time, said):
    x.reset(["429 bare"] * 4)
    client.ask(timeline(x))
    assert time.naps == [2, 4, 8, 16]
    assert said[0].startswith("X's rate limit is reached; trying again, 2 of 6: waiting 2 s, until ")


@pytest.mark.parametrize("reset", ["soon", "-1", "99999999999", "1e9", "1767000030.5"])
def test_a_reset_time_that_makes_no_sense_is_not_believed(x, client, time, reset):
    x.reset(["429"])
    x.reset_time = reset
    client.ask(timeline(x))
    assert time.naps == [2]


def test_a_reset_time_that_has_passed_means_a_second(x, client, time):
    x.reset(["429"])
    x.reset_time = "1000"
    client.ask(timeline(x))
    assert time.naps == [1]


@pytest.mark.parametrize("fault", ["503", "cut", "malformed"])
def test_a_fault_that_stays_is_given_up_after_a_few_tries(x, client, time, fault):
    x.reset([fault] * 99)
    with pytest.raises(RefusedError, match=f", {ATTEMPTS} times in a row"):
        client.ask(timeline(x))
    assert len(x.requests) == ATTEMPTS and sum(time.naps) == 62


def test_a_rate_limit_that_stays_ends_the_run(x, client):
    x.reset(["429 bare"] * 99)
    with pytest.raises(
        StopError, match=r"X's rate limit is reached, 6 times in a row: run the same command again later\."
    ):
        client.ask(timeline(x))


def test_an_unreachable_x_ends_the_run_and_costs_nothing(tmp_path, ledger, time):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with Client(tmp_path, TOKEN, ledger, api=url, sleep=time.sleep) as client:
            with pytest.raises(
                StopError, match=r"X can't be reached \(ConnectionError\), 6 times in a row: check the network"
            ):
                client.users(["animal_00"])
    assert ledger.spent == Reads()


def test_an_x_that_never_answers_is_not_waited_for_for_ever(tmp_path, ledger, time, said):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Client(
            tmp_path, TOKEN, ledger, api=url, sleep=time.sleep, report=said.append, timeout=(1, 0.05)
        ) as client:
            with pytest.raises(RefusedError, match="X did not answer in time, 6 times in a row"):
                client.users(["animal_00"])
    assert ledger.spent == Reads(users=6)  # it may have heard and charged each


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("problem 402 CreditsDepleted", "X says that the credits or the spending limit of your app are used up (402,"),
        ("problem 403 SpendCapReached", "X says that the credits or the spending limit of your app are used up (403,"),
        ("problem 429 UsageCapExceeded", "X says that the credits or the spending limit of your app are used up (429,"),
        ("problem 403 client-not-enrolled", "X refused access (403, client-not-enrolled at X): check in the developer"),
        ("problem 401 Unauthorized", "X refused the token (401, Unauthorized at X): check that X_BEARER_TOKEN or"),
    ],
)
def test_what_no_patience_helps_against_stops_at_once_in_one_sentence(x, client, time, fault, sentence):
    x.reset([fault])
    with pytest.raises(StopError) as caught:
        client.ask(timeline(x))
    assert sentence in str(caught.value) and "\n" not in str(caught.value)
    assert len(x.requests) == 1 and not time.naps


@pytest.mark.parametrize(
    ("fault", "status"), [("problem 400 invalid", 400), ("problem 404 resource-not-found", 404), ("302", 302)]
)
def test_what_concerns_one_request_is_refused_at_once(x, client, fault, status):
    x.reset([fault])
    with pytest.raises(RefusedError, match=f"X answered with {status}") as caught:
        client.ask(timeline(x))
    assert caught.value.status == status and len(x.requests) == 1


def test_a_page_under_another_status_is_refused_and_what_it_holds_is_in_the_ledger(x, client, ledger, monkeypatch):
    page = x.timeline
    monkeypatch.setattr(x, "timeline", lambda user_id, query: (201, page(user_id, query)[1]))
    with pytest.raises(RefusedError, match="X answered with 201"):
        client.ask(timeline(x))
    assert ledger.spent.posts == 20


def test_a_redirect_is_not_followed(x, client):
    x.redirect = f"{x.url}/media/elsewhere.jpg"
    x.reset(["302 redirect"])
    with pytest.raises(RefusedError, match="X answered with 302"):
        client.ask(timeline(x))
    assert len(x.requests) == 1 and not x.leaks


@pytest.mark.parametrize("state", ["protected", "suspended", "gone"])
def test_a_timeline_that_x_does_not_give_is_refused_with_its_words(x, client, ledger, state, monkeypatch):
    monkeypatch.setattr(x.world.users[0], "state", state)
    with pytest.raises(RefusedError, match=r"X gives no timeline: (Sorry, you are not authorized|Could not find user)"):
        client.ask(timeline(x))
    assert ledger.spent == Reads()


def test_each_try_must_fit_into_the_budget(tmp_path, x, time):
    x.reset(["malformed"] * 99)
    with (
        Ledger(tmp_path, load_prices(), Budget.parse("45posts")) as ledger,
        Client(tmp_path, TOKEN, ledger, api=x.url, sleep=time.sleep, clock=time.clock) as client,
    ):
        with pytest.raises(BudgetError):
            client.ask(timeline(x))
    assert x.charged.posts == 45 and len(x.requests) == 3


def test_a_compliance_job_costs_nothing_and_its_addresses_are_not_stored(tmp_path, x, client, ledger):
    post_id = x.world.users[0].posts[0]["id"]
    x.deleted[post_id] = "deleted"
    x.reset(["503", "malformed"])
    job = client.call("create_compliance_job", "tweets", name="tweetcap")["data"]
    upload = urllib.request.Request(job["upload_url"], f"{post_id}\n7\n".encode(), method="PUT")
    urllib.request.urlopen(upload).close()
    states = [client.call("get_compliance_job", job["id"])["data"]["status"] for _ in range(2)]
    assert states == ["in_progress", "complete"]
    with urllib.request.urlopen(job["download_url"]) as result:
        assert [json.loads(line)["id"] for line in result] == [post_id]
    x.deleted.clear()
    assert ledger.spent == Reads() and not (tmp_path / PAGES).read_bytes()


def test_our_request_replaces_one_that_tweepy_still_has():
    # Should tweepy stop sending everything through `request`, its debug log would show the token.
    assert "request" in vars(tweepy.client.BaseClient)
    assert client_module._Api.request is not tweepy.Client.request


@pytest.mark.parametrize("fault", [None, *PAID_FAULTS, *FREE_FAULTS, "problem 401 Unauthorized", "echo"])
def test_the_token_is_in_no_log_no_sentence_and_no_file(tmp_path, x, client, said, caplog, fault, monkeypatch):
    caplog.set_level(logging.DEBUG)
    if fault == "echo":  # a server that sends everything back
        for post in x.world.users[0].posts[:20]:
            monkeypatch.setitem(post, "text", f"you sent Bearer {TOKEN}")
    x.reset([fault] * ATTEMPTS if fault != "echo" else [])
    try:
        client.ask(timeline(x))
    except ValueError as error:
        said.append(f"{error!r} {error.__cause__!r} {error.__suppress_context__}")
    logged = [f"{record.getMessage()} {record.args}" for record in caplog.records]
    assert any(record.name.startswith("urllib3") for record in caplog.records), "nothing was logged at all"
    files = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    for text in (*logged, *said, *files, *x.requests):
        assert TOKEN not in text and TOKEN.partition("%")[0] not in text


def test_a_netrc_does_not_replace_the_token(tmp_path, x, client, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert client.users(["animal_00"])["status"] == 200


def test_the_token_never_travels_unencrypted(tmp_path, ledger):
    for address in ("http://api.x.com", "http://127.0.0.1.example.com", "ftp://api.x.com", "api.x.com"):
        with pytest.raises(ValueError, match="would travel unencrypted"):
            Client(tmp_path, TOKEN, ledger, api=address)


def test_the_token_comes_from_the_environment_or_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("X_BEARER_TOKEN", f" Bearer {TOKEN}\n")
    assert read_token() == TOKEN
    path = tmp_path / "token"
    path.write_text("AAAAother\n")
    assert read_token(path) == "AAAAother"


@pytest.mark.parametrize("token", ["", "  ", "secret\nsecret", "secret secret", "sécret-sécret", "secret\x00secret"])
def test_what_cannot_be_a_token_is_refused_and_not_shown(tmp_path, token, monkeypatch):
    path = tmp_path / "token"
    path.write_text(token)
    with pytest.raises(ValueError) as caught:
        read_token(path)
    assert str(path) in str(caught.value) and "ecret" not in str(caught.value)
    monkeypatch.delenv("X_BEARER_TOKEN", raising=False)
    with pytest.raises(ValueError, match="X_BEARER_TOKEN holds no token"):
        read_token()
    with pytest.raises(ValueError, match="check --token-file"):
        read_token(tmp_path / "none")
