"""Likes and reports: what is kept, what is refused, and that nothing is lost."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from tests.data.file_server import running
from tests.hub import Hub
from tweetcap.ui import feedback as module
from tweetcap.ui.feedback import Feedback, SqliteStore, feedback_from_environment

RECORD = {
    "text": "ライオン、目が本気",
    "tone": "ツッコミ",
    "register": "witty",
    "temperature": 0.8,
    "guidance": 0.5,
    "top_p": 0.9,
    "seed": 7,
    "model": "tweetcap/checkpoint",
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "feedback.sqlite3"


@pytest.fixture
def feedback(path):
    with closing(SqliteStore(path)) as store:
        yield Feedback(store)


def rows(path) -> list[dict]:
    with closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute("SELECT * FROM feedback ORDER BY number")]


def test_a_like_and_a_report_are_kept_with_how_the_tweet_was_made(feedback, path):
    assert feedback.like(RECORD)
    assert feedback.report({"text": "だめなやつ"})
    like, report = rows(path)
    assert {name: like[name] for name in RECORD} == RECORD
    assert (like["kind"], report["kind"], report["text"], report["seed"]) == ("like", "report", "だめなやつ", None)


def test_nothing_about_the_visitor_is_kept(feedback, path):
    extra = {"photo": "/tmp/cat.jpg", "ip": "203.0.113.9", "name": "Hanako", "session": "abcdefgh"}
    assert feedback.like(RECORD | extra, session="session-of-hanako")
    feedback.store.close()
    stored = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert not any(word in stored for word in (b"cat.jpg", b"203.0.113.9", b"anako", b"abcdefgh"))
    assert set(rows(path)[0]) == {"number", "kind", "day", *RECORD}
    assert len(rows(path)[0]["day"]) == len("2026-01-31")


@pytest.mark.parametrize(
    "record",
    [
        None,
        [],
        "text",
        {},
        {"text": ""},
        {"text": " \n"},
        {"text": 7},
        {"text": "x" * 561},
        {"text": "\ud83d"},
        RECORD | {"tone": "x" * 21},
        RECORD | {"tone": ["つぶやき"]},
        RECORD | {"register": 7},
        RECORD | {"temperature": 99},
        RECORD | {"temperature": float("nan")},
        RECORD | {"temperature": "0.8"},
        RECORD | {"seed": True},
        RECORD | {"seed": 2**40},
        RECORD | {"model": "m" * 201},
        RECORD | {"model": {"a": 1}},
    ],
)
def test_what_is_no_record_is_dropped(feedback, path, record):
    assert feedback.like(record) is False
    assert rows(path) == []


def test_a_session_is_limited_and_all_together_are_and_time_lifts_both(path, monkeypatch):
    monkeypatch.setattr(module, "MAX_IN_ALL", 100)
    now = 1000.0
    with closing(SqliteStore(path)) as store:
        feedback = Feedback(store, clock=lambda: now)
        assert sum(feedback.like(RECORD, "a") for _ in range(70)) == module.MAX_A_SESSION
        assert sum(feedback.like(RECORD, "b") for _ in range(70)) == 40
        now += module.PERIOD
        assert feedback.like(RECORD, "a")


def test_a_store_that_fails_does_not_trouble_the_visitor(feedback, caplog):
    feedback.store.close()
    assert feedback.like(RECORD) is False
    assert "a like was lost" in caplog.text


def test_sessions_are_not_remembered_without_end(feedback, monkeypatch):
    monkeypatch.setattr(module, "MAX_SESSIONS", 10)
    for number in range(50):
        feedback.like(RECORD, str(number))
    assert len(feedback._sessions) == 10


def test_threads_and_two_stores_write_to_one_file_at_once(path):
    with closing(SqliteStore(path)) as one, closing(SqliteStore(path)) as two, ThreadPoolExecutor(8) as pool:
        stores = [Feedback(one), Feedback(two)]
        kept = list(pool.map(lambda n: stores[n % 2].like(RECORD | {"seed": n}, str(n)), range(80)))
    assert all(kept)
    assert sorted(row["seed"] for row in rows(path)) == list(range(80))


WRITE = """
import os
from tweetcap.ui.feedback import feedback_from_environment

feedback = feedback_from_environment(os.environ)
for number in range(1000):
    assert feedback.like({"text": "にゃー", "seed": number}, str(number))
    print(number, flush=True)
"""


def test_what_was_acknowledged_survives_a_kill_while_another_process_writes(path, feedback):
    environment = os.environ | {"TWEETCAP_FEEDBACK": str(path)}
    command = [sys.executable, "-c", WRITE]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as other:
        for number in range(40):
            assert other.stdout.readline() == f"{number}\n"
            assert feedback.report(RECORD | {"seed": number}, str(number))
        other.send_signal(signal.SIGKILL)
        acknowledged = 39 + other.stdout.read().count("\n")
    assert [row["seed"] for row in rows(path) if row["kind"] == "report"] == list(range(40))
    likes = [row["seed"] for row in rows(path) if row["kind"] == "like"]
    assert likes == list(range(len(likes)))
    assert len(likes) > acknowledged


PUSH = """
import os, signal, sys
from tweetcap.ui.feedback import feedback_from_environment

feedback = feedback_from_environment(os.environ)
for text in sys.argv[1:]:
    assert feedback.like({"text": text}, text)
feedback.store.scheduler.trigger().result()
assert feedback.report({"text": "そのあと"})
os.kill(os.getpid(), signal.SIGKILL)
"""


def pushed(hub: Hub) -> list[str]:
    files = hub.files("org/likes", "dataset")
    lines = [line for path in sorted(files) if path.endswith(".jsonl") for line in files[path].splitlines()]
    assert all(path.startswith("data/feedback-") for path in files if path.endswith(".jsonl"))
    return sorted(json.loads(line)["text"] for line in lines)


def push(hub: Hub, home, *texts: str, token: str | None) -> subprocess.CompletedProcess:
    environment = hub.environment(home, token) | {"TWEETCAP_FEEDBACK_DATASET": "org/likes"}
    environment |= {"HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    return subprocess.run([sys.executable, "-c", PUSH, *texts], env=environment, capture_output=True, text=True)


def test_with_a_token_records_go_to_a_private_dataset_those_too_that_a_killed_process_left(tmp_path):
    with running(Hub("hf_" + "t" * 30)) as hub:
        assert push(hub, tmp_path, "にゃー", "わん", token=hub.token).returncode == -signal.SIGKILL
        assert hub.repositories["dataset", "org/likes"].private
        assert pushed(hub) == ["にゃー", "わん"]
        assert push(hub, tmp_path, "がおー", token=hub.token).returncode == -signal.SIGKILL
        assert pushed(hub) == sorted(["にゃー", "わん", "そのあと", "がおー"])

        refused = push(hub, tmp_path, "x", token="hf_" + "x" * 30)
        last = refused.stderr.strip().splitlines()[-1]
        assert last.startswith("ValueError: likes and reports can't be kept in TWEETCAP_FEEDBACK_DATASET=org/likes (")
        assert "hf_xxx" not in refused.stderr


def test_a_file_that_cannot_be_is_said_in_a_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(
        ValueError, match=r"likes and reports can't be kept in .*file/feedback\.sqlite3 \(.*\); name another"
    ):
        feedback_from_environment({"TWEETCAP_FEEDBACK": str(tmp_path / "file" / "feedback.sqlite3")})


def test_a_dataset_without_a_token_is_said_in_a_sentence():
    with pytest.raises(
        ValueError, match=r"TWEETCAP_FEEDBACK_DATASET is org/likes, but there is no token .* set HF_TOKEN"
    ):
        feedback_from_environment({"TWEETCAP_FEEDBACK_DATASET": "org/likes"})


def test_without_a_place_to_write_the_page_goes_without(tmp_path, monkeypatch, caplog):
    (tmp_path / "home").write_text("not a folder")
    monkeypatch.setattr(module.typer, "get_app_dir", lambda name: str(tmp_path / "home"))
    assert feedback_from_environment({}) is None
    assert "can't be kept" in caplog.text
