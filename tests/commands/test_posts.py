"""The commands on collected posts, from a terminal's point of view: what they print, write and end with."""

import json
import os

import pytest
from datasets import load_dataset
from typer.testing import CliRunner

from tests.collect.collections import make_collection, post, post_id, some_posts
from tests.collect.fake_x import TOKEN, FakeX, make_world
from tweetcap.collect import client, compliance, photos
from tweetcap.collect.budget import Ledger, load_prices
from tweetcap.collect.client import Client
from tweetcap.collect.hydration import read_ids
from tweetcap.collect.photos import fetch_photos
from tweetcap.collect.posts import derive_posts, write_posts
from tweetcap.collect.raw import lock_folder
from tweetcap.commands.dataset import app


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def collection(tmp_path):
    posts = some_posts(4, 6)
    posts[0].append(post(0, 40, "LINEスタンプ発売中です"))
    return make_collection(tmp_path / "c", posts)


def run(*arguments, **options):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], **options)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert "Traceback" not in result.output
    return result.exit_code, result.output


def test_from_a_collection_to_a_corpus_to_ids(collection, tmp_path):
    code, said = run("build", "tweets", "--collection", collection, "--output", tmp_path / "corpus")
    assert code == 0 and "24 of 25 posts" in said and "promotion 1" in said
    assert sum(map(len, load_dataset(str(tmp_path / "corpus"), cache_dir=str(tmp_path / "cache")).values())) == 24
    code, said = run("dehydrate", tmp_path / "corpus", "--output", tmp_path / "ids.jsonl")
    assert code == 0 and len(read_ids(tmp_path / "ids.jsonl")) == 24
    code, said = run("dehydrate", collection, "--output", tmp_path / "ids")
    assert code == 0 and (tmp_path / "ids/README.md").is_file()
    code, said = run("push", tmp_path / "corpus", "me/posts")
    assert code == 2 and "post IDs only" in said


def test_options_of_the_build_reach_the_corpus(collection, tmp_path):
    tones = tmp_path / "tones.csv"
    tones.write_text(f"post_id,tone\n{post_id(1, 1)},大喜利\n1,大喜利\n")
    options = ["--labels", tones, "--validation", 0.25, "--test", 0, "--max-length", 60, "--all-photos"]
    code, said = run("build", "tweets", "--collection", collection, "--output", tmp_path / "out", *options)
    assert code == 0 and "names 1 posts that the corpus doesn't have" in said
    loaded = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert set(loaded) == {"train", "validation"}
    assert {row["tone"] for rows in loaded.values() for row in rows} == {None, "大喜利"}


def test_a_lost_photo_is_reported_and_ends_with_1(collection, tmp_path):
    next((collection / "photos").glob("*/*")).unlink()
    code, said = run("build", "tweets", "--collection", collection, "--output", tmp_path / "corpus")
    assert code == 1 and "left out, the photo's file is missing: 1" in said


def test_what_is_forgotten_is_reported_and_gone(collection, tmp_path):
    run("build", "tweets", "--collection", collection, "--output", tmp_path / "corpus")
    code, said = run("forget", collection, "--post-id", post_id(0, 1), "--user", "animal_03")
    assert code == 0 and "7 posts and 1 users forgotten, 7 photos and 7 rows" in said
    assert "datasets" in said
    assert len(derive_posts(collection)) == 18
    code, said = run("forget", collection, "--user", "who")
    assert code == 1 and "knows nobody called who" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "tweets", "--collection", "nowhere", "--output", "out"], "nowhere is no collection"),
        (["forget", "nowhere", "--post-id", "1"], "nowhere is no collection"),
        (["refresh", "nowhere"], "nowhere is no collection"),
        (["dehydrate", "nowhere", "--output", "ids.jsonl"], "nowhere is no collection, no corpus"),
        (["hydrate", "posts", "nowhere.jsonl", "--output", "out"], "nowhere.jsonl is no collection, no corpus"),
    ],
)
def test_a_wrong_path_is_one_sentence_and_ends_with_2(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, said = run(*arguments)
    assert code == 2 and message in said and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_collection_in_use_is_left_alone(collection, tmp_path):
    with lock_folder(collection):
        for arguments in (
            ["build", "tweets", "--collection", collection, "--output", tmp_path / "x"],
            ["forget", collection],
        ):
            code, said = run(*arguments)
            assert code == 2 and "in use by another tweetcap" in said


def test_an_interrupted_command_says_how_to_go_on(collection, tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("tweetcap.collect.corpus.build_corpus", interrupt)
    code, said = run("build", "tweets", "--collection", collection, "--output", tmp_path / "corpus")
    assert code == 130 and "run the same command again" in said


# --- With X ---------------------------------------------------------------------------------------


@pytest.fixture
def x(monkeypatch):
    with FakeX(make_world(accounts=3, posts=36)) as server:
        monkeypatch.setattr(client, "API", server.url)
        monkeypatch.setattr(photos, "PHOTO_ORIGINS", (server.url,))
        monkeypatch.setenv(client.TOKEN_VARIABLE, TOKEN)
        yield server


@pytest.fixture
def ids(x, tmp_path):
    """Ids of all posts of the world that have a photo and a text to learn from."""
    folder = tmp_path / "first"
    with Ledger(folder, load_prices(), None) as ledger, Client(folder, TOKEN, ledger, api=x.url) as asker:
        asker.posts(list(x.world.posts))
    found = [photo for row in write_posts(folder) for photo in row.photos]
    fetch_photos(folder, found, origins=(x.url,))
    assert run("dehydrate", folder, "--output", tmp_path / "ids.jsonl")[0] == 0
    x.reset()
    return tmp_path / "ids.jsonl"


def test_ids_come_back_as_posts_and_photos_within_the_budget(x, ids, tmp_path):
    code, said = run("hydrate", "posts", ids, "--output", tmp_path / "c")
    assert code == 2 and "give --budget" in said and x.charged.posts == 0
    code, said = run("hydrate", "posts", ids, "--output", tmp_path / "c", "--budget", "8posts")
    assert code == 1 and x.charged.posts == 8 and "run the same command again" in said
    wanted = len({row["post_id"] for row in read_ids(ids)})
    code, said = run("hydrate", "posts", ids, "--output", tmp_path / "c", "--budget", "5.00usd")
    assert code == 0 and f"{wanted} of {wanted} posts" in said and x.charged.posts == wanted
    code, said = run("build", "tweets", "--collection", tmp_path / "c", "--output", tmp_path / "corpus")
    assert code == 0 and "labels of a dehydrated corpus" in said


def test_what_x_deleted_is_refreshed_away(x, ids, tmp_path, monkeypatch):
    run("hydrate", "posts", ids, "--output", tmp_path / "c", "--budget", "5.00usd")
    run("build", "tweets", "--collection", tmp_path / "c", "--output", tmp_path / "corpus")
    gone = derive_posts(tmp_path / "c")[0].post_id
    x.deleted[gone] = "deleted"
    monkeypatch.setattr(compliance, "FIRST_PAUSE", 0.01)
    code, said = run("refresh", tmp_path / "c", ids)
    assert code == 0 and "To be removed, deleted: 1" in said and "1 posts and 0 users forgotten" in said
    assert gone not in ids.read_text() and gone not in {row.post_id for row in derive_posts(tmp_path / "c")}
    assert json.loads((tmp_path / "corpus/report.json").read_text())["forgotten_rows"] == 1
    assert TOKEN not in said


def test_without_a_token_nothing_is_asked(x, ids, tmp_path, monkeypatch):
    monkeypatch.delenv(client.TOKEN_VARIABLE)
    for arguments in (
        ["hydrate", "posts", ids, "--output", tmp_path / "c", "--budget", "1posts"],
        ["refresh", tmp_path / "first"],
    ):
        code, said = run(*arguments)
        assert code == 2 and "holds no token" in said
    assert not x.requests
