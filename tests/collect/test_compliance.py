"""What was deleted on X goes from the collection and all that was made of it; a cut run goes on with its job."""

import json
import os
from pathlib import Path

import pytest

from tests.collect.fake_x import TOKEN, FakeTime, FakeX, make_world
from tweetcap.collect import compliance
from tweetcap.collect.accounts import Account, Accounts
from tweetcap.collect.budget import Ledger, load_prices
from tweetcap.collect.client import Client
from tweetcap.collect.compliance import JOBS, refresh
from tweetcap.collect.corpus import build_corpus
from tweetcap.collect.photos import fetch_photos
from tweetcap.collect.posts import derive_posts, read_forgotten, read_photos, write_posts
from tweetcap.collect.timelines import collect_timelines


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def x(tmp_path):
    time = FakeTime()
    with FakeX(make_world(accounts=3, posts=36), clock=time.clock) as server:
        server.time = time
        names = [Account(name=user.username, since=None, until=None, max_posts=800) for user in server.world.users]
        folder = tmp_path / "c"
        with_client(server, folder, lambda c: collect_timelines(Accounts(accounts=names, languages=None), folder, c))
        photos = [photo for post in write_posts(folder) for photo in post.photos]
        fetch_photos(folder, photos, origins=(server.url,), sleep=time.sleep)
        build_corpus(folder, tmp_path / "corpus")
        yield server


def with_client(x: FakeX, folder: Path, what):
    with (
        Ledger(folder, load_prices(), None) as ledger,
        Client(folder, TOKEN, ledger, api=x.url, sleep=x.time.sleep, clock=x.time.clock) as client,
    ):
        return what(client)


def run(x: FakeX, tmp_path: Path, **more):
    folder = tmp_path / "c"
    return with_client(x, folder, lambda client: refresh(folder, client, sleep=x.time.sleep, **more))


def test_deleted_posts_and_users_go_and_nothing_else(x, tmp_path):
    posts = derive_posts(tmp_path / "c")
    left = [post for post in posts if post.user_id != x.world.users[2].user_id][3:]
    gone = [post for post in posts if post.user_id != x.world.users[2].user_id][:3]
    x.deleted |= {post.post_id: "deleted" for post in gone} | {x.world.users[2].user_id: "deactivated"}
    said = []
    refreshed = run(x, tmp_path, report=said.append)
    assert refreshed.reasons == {"deleted": 3, "deactivated": 1} and not refreshed.waiting
    assert refreshed.checked["users"] == 3 and refreshed.checked["tweets"] >= len(posts)
    assert derive_posts(tmp_path / "c") == left
    rows = refreshed.forgotten["tweets"].rows | refreshed.forgotten["users"].rows
    assert any("corpus" in path for path in rows)
    assert set(read_photos(tmp_path / "c")) >= {photo.media_key for post in left for photo in post.photos}
    assert json.loads((tmp_path / "c" / JOBS).read_text()) == {}
    assert any("Uploading" in sentence for sentence in said)


def test_where_nothing_was_deleted_nothing_changes_and_nothing_is_paid(x, tmp_path):
    before = derive_posts(tmp_path / "c")
    x.reset()
    refreshed = run(x, tmp_path)
    assert not refreshed.reasons and derive_posts(tmp_path / "c") == before
    assert (x.charged.posts, x.charged.users) == (0, 0)


def test_a_place_that_was_scrubbed_costs_no_post(x, tmp_path):
    post = derive_posts(tmp_path / "c")[0]
    x.deleted[post.post_id] = "scrub_geo"
    run(x, tmp_path)
    assert read_forgotten(tmp_path / "c") == (set(), set())


@pytest.mark.parametrize("where", ["_upload", "_wait", "_download", "forget"])
def test_a_cut_run_goes_on_with_the_same_job(x, tmp_path, monkeypatch, where):
    posts = derive_posts(tmp_path / "c")
    x.deleted[posts[0].post_id] = "deleted"

    def cut(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(compliance, where, cut)
        run(x, tmp_path)
    refreshed = run(x, tmp_path)
    assert refreshed.reasons == {"deleted": 1} and derive_posts(tmp_path / "c") == posts[1:]
    assert len(x.jobs) == 2  # one for posts, one for users


def test_no_address_of_a_job_is_stored_or_spoken_of(x, tmp_path, monkeypatch):
    said = []
    x.deleted[derive_posts(tmp_path / "c")[0].post_id] = "deleted"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(compliance, "_download", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        run(x, tmp_path, report=said.append)
    held = b"".join(path.read_bytes() for path in (tmp_path / "c").rglob("*") if path.is_file())
    assert b"signature" not in held and "signature" not in " ".join(said)
    assert x.leaks == []  # nor was the token sent to where the ids go
    for status, message in ((403, r"was refused \(403\)"), (500, r"failed \(500\)")):
        monkeypatch.setattr(x, "upload", lambda *_, status=status: status)
        x.jobs.clear()
        with pytest.raises(ValueError, match=message) as error:
            run(x, tmp_path)
        assert "signature" not in str(error.value)


def test_a_result_that_x_no_longer_gives_out_costs_a_new_job(x, tmp_path, monkeypatch):
    posts = derive_posts(tmp_path / "c")
    x.deleted[posts[0].post_id] = "deleted"

    def refuse(*_):
        raise compliance._RefusedTransferError("refused")

    with monkeypatch.context() as patch, pytest.raises(ValueError, match="refused"):
        patch.setattr(compliance, "_download", refuse)
        run(x, tmp_path)
    assert run(x, tmp_path).reasons == {"deleted": 1}
    assert len(x.jobs) == 3


def test_a_job_that_x_has_lost_or_given_up_is_made_anew(x, tmp_path, monkeypatch):
    posts = derive_posts(tmp_path / "c")
    x.deleted[posts[0].post_id] = "deleted"
    (tmp_path / "c" / JOBS).write_text(json.dumps({"tweets": {"job_id": "77", "ids": 3, "at": "x"}}))
    assert run(x, tmp_path).reasons == {"deleted": 1}
    job = next(iter(x.jobs.values()))
    job["status"] = "expired"
    (tmp_path / "c" / JOBS).write_text(json.dumps({"tweets": {"job_id": job["id"], "ids": 3, "at": "x"}}))
    assert run(x, tmp_path).checked["tweets"] > 3
    (tmp_path / "c" / JOBS).write_text("{")
    with pytest.raises(ValueError, match=r"compliance\.json is broken; delete it"):
        run(x, tmp_path)


def test_a_job_that_takes_long_is_left_waiting_and_asked_for_again(x, tmp_path, monkeypatch):
    x.deleted[derive_posts(tmp_path / "c")[0].post_id] = "deleted"
    answer = x.compliance

    def slow(method, path, body):
        status, found = answer(method, path, body)
        for job in x.jobs.values():
            job["status"] = "in_progress" if job["status"] == "complete" else job["status"]
        return status, {"data": {**found["data"], "status": "in_progress"} if method == "GET" else found["data"]}

    with monkeypatch.context() as patch:
        patch.setattr(x, "compliance", slow)
        assert len(run(x, tmp_path).waiting) == 2
    assert run(x, tmp_path).reasons == {"deleted": 1} and len(x.jobs) == 2


def test_ids_are_sent_to_https_alone():
    with pytest.raises(ValueError, match="not https; nothing was sent"):
        compliance._upload("http://storage.example.com/x", b"1\n", lambda seconds: None)
