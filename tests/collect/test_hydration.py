"""Ids and labels go out, nothing else; texts and photos come back over the API, and the corpus is the same."""

import json
import os
from pathlib import Path

import pytest
from datasets import load_dataset
from huggingface_hub import DatasetCard

from tests.collect.collections import make_collection, post_id, sentence, some_posts
from tests.collect.fake_x import TOKEN, FakeTime, FakeX, make_world
from tweetcap.collect.accounts import Account, Accounts
from tweetcap.collect.budget import Budget, Ledger, load_prices
from tweetcap.collect.client import Client
from tweetcap.collect.consent import forget
from tweetcap.collect.corpus import CorpusSettings, build_corpus, plan_corpus
from tweetcap.collect.hydration import COLUMNS, dehydrate, hydrate, read_ids
from tweetcap.collect.photos import fetch_photos
from tweetcap.collect.posts import read_photos, write_posts
from tweetcap.collect.timelines import collect_timelines
from tweetcap.data.publish import check_folder

CARD = Path(__file__).parents[2] / "dataset_cards/animal_tweets/README.md"


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def x():
    time = FakeTime()
    with FakeX(make_world(accounts=4, posts=90), clock=time.clock) as server:
        server.time = time
        yield server


def ask(x: FakeX, folder: Path, what, budget: str | None = None):
    """Call with a client for the folder, then bring the photos."""
    limit = Budget.parse(budget) if budget else None
    with (
        Ledger(folder, load_prices(), limit) as ledger,
        Client(folder, TOKEN, ledger, api=x.url, sleep=x.time.sleep, clock=x.time.clock) as client,
    ):
        outcome = what(client)
    photos = [photo for post in write_posts(folder) for photo in post.photos]
    fetch_photos(folder, photos, origins=(x.url,), sleep=x.time.sleep)
    return outcome


def collect(x: FakeX, folder: Path):
    names = [Account(name=user.username, since=None, until=None, max_posts=800) for user in x.world.users]
    ask(x, folder, lambda client: collect_timelines(Accounts(accounts=names, languages=None), folder, client))


def rows_of(folder: Path, settings: CorpusSettings | None = None) -> dict[str, list[dict]]:
    """Return what a corpus of the collection would hold, with the photos' hashes, without what changes with time."""
    plan = plan_corpus(folder, settings or CorpusSettings())
    return {
        split: [{k: v for k, v in row.items() if k != "likes"} for row in rows] for split, rows in plan.rows.items()
    }


def test_a_corpus_comes_back_the_same_from_its_ids(x, tmp_path):
    collect(x, tmp_path / "first")
    counts = dehydrate(tmp_path / "first", tmp_path / "ids.jsonl")
    outcome = ask(x, tmp_path / "second", lambda client: hydrate(tmp_path / "ids.jsonl", tmp_path / "second", client))
    assert outcome.found == outcome.wanted == sum(counts.values()) > 30
    assert not outcome.gone and not outcome.unanswered and outcome.stopped is None
    assert rows_of(tmp_path / "second") == rows_of(tmp_path / "first")
    build_corpus(tmp_path / "first", tmp_path / "a")
    build_corpus(tmp_path / "second", tmp_path / "b")
    one, two = (load_dataset(str(tmp_path / n), cache_dir=str(tmp_path / f"cache {n}")) for n in "ab")
    for split in one:
        assert one[split].with_format("arrow")[:] == two[split].with_format("arrow")[:]


def test_texts_are_cut_alike_although_the_dropped_posts_did_not_come_back(tmp_path):
    posts = some_posts(4, 24)
    greeting = "まるがお送りする朝の一枚です。"
    for number, row in enumerate(posts[0]):
        row["text"] = (
            greeting + sentence(0, number)
            if number < 5
            else "LINEスタンプ発売中です"
            if number < 8
            else sentence(0, number)
        )
    make_collection(tmp_path / "first", posts)
    posts[0] = posts[0][:5] + posts[0][8:]
    assert plan_corpus(tmp_path / "first", CorpusSettings()).report["boilerplate"]["posts"] == 5
    dehydrate(tmp_path / "first", tmp_path / "ids.jsonl")
    make_collection(tmp_path / "second", {0: posts[0][:9], **{n: posts[n] for n in (1, 2, 3)}})
    labels = read_ids(tmp_path / "ids.jsonl")
    (tmp_path / "second/labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in labels))
    texts = {row["post_id"]: row["text"] for rows in rows_of(tmp_path / "second").values() for row in rows}
    assert [texts[post_id(0, number)] for number in range(5)] == [sentence(0, number) for number in range(5)]


def test_what_is_published_holds_ids_and_labels_and_nothing_else(tmp_path):
    make_collection(tmp_path / "c", some_posts(4, 6))
    build_corpus(tmp_path / "c", tmp_path / "corpus")
    dehydrate(tmp_path / "corpus", tmp_path / "ids.jsonl")
    dehydrate(tmp_path / "corpus", tmp_path / "ids", card=CARD.read_text(encoding="utf-8"))
    loaded = load_dataset(str(tmp_path / "ids"), cache_dir=str(tmp_path / "cache"))
    lines = [json.loads(line) for line in (tmp_path / "ids.jsonl").read_text().splitlines()]
    assert all(tuple(row) == COLUMNS for row in lines)
    assert [row for rows in loaded.values() for row in rows] == [
        row | {"weight": pytest.approx(row["weight"])} for row in lines
    ]
    for path in [tmp_path / "ids.jsonl", *(p for p in (tmp_path / "ids").rglob("*") if p.is_file())]:
        content = path.read_bytes()
        assert "番目".encode() not in content and b"animal_0" not in content and b"5000001" not in content
    card = check_folder(tmp_path / "ids")  # what push asks before it sends anything
    assert card.data.to_dict()["size_categories"] == ["n<1K"]
    sizes = {
        split["name"]: split["num_examples"]
        for split in DatasetCard.load(tmp_path / "ids/README.md").data["dataset_info"]["splits"]
    }
    assert sizes == {split: len(rows) for split, rows in loaded.items()}


def test_ids_are_the_same_from_the_collection_the_corpus_and_its_parquet(tmp_path):
    make_collection(tmp_path / "c", some_posts(4, 6))
    build_corpus(tmp_path / "c", tmp_path / "corpus")
    for source, name in (("c", "one"), ("corpus", "two"), ("corpus/data", "three")):
        dehydrate(tmp_path / source, tmp_path / f"{name}.jsonl")
    one, two = (sorted((tmp_path / f"{name}.jsonl").read_text().splitlines()) for name in ("one", "two"))
    assert one == two
    assert (tmp_path / "two.jsonl").read_text() == (tmp_path / "three.jsonl").read_text()
    dehydrate(next((tmp_path / "corpus/data").glob("test-*.parquet")), tmp_path / "part.jsonl")
    assert 0 < len(read_ids(tmp_path / "part.jsonl")) < len(read_ids(tmp_path / "one.jsonl"))


def test_what_was_deleted_is_counted_and_the_rest_keeps_its_splits(x, tmp_path):
    collect(x, tmp_path / "first")
    dehydrate(tmp_path / "first", tmp_path / "ids.jsonl")
    ids = read_ids(tmp_path / "ids.jsonl")
    x.deleted |= {row["post_id"]: "deleted" for row in ids[:7]}
    x.gone_photos.add(ids[20]["media_key"])
    outcome = ask(x, tmp_path / "second", lambda client: hydrate(tmp_path / "ids.jsonl", tmp_path / "second", client))
    assert (outcome.found, outcome.gone) == (len(ids) - 7, {"Not Found Error": 7})
    first = {row["post_id"]: row for rows in rows_of(tmp_path / "first").values() for row in rows}
    second = {row["post_id"]: row for rows in rows_of(tmp_path / "second").values() for row in rows}
    assert len(second) == len(first) - 8 and all(first[post_id] == row for post_id, row in second.items())


def test_a_budget_is_kept_and_the_next_run_pays_only_for_the_rest(x, tmp_path):
    collect(x, tmp_path / "first")
    dehydrate(tmp_path / "first", tmp_path / "ids.jsonl")
    wanted = len(read_ids(tmp_path / "ids.jsonl"))
    x.reset()

    def run(budget):
        return ask(x, tmp_path / "second", lambda c: hydrate(tmp_path / "ids.jsonl", tmp_path / "second", c), budget)

    cut = run("20posts")
    assert cut.stopped and cut.found == x.charged.posts <= 20 and cut.unanswered == wanted - cut.found
    whole = run(None)
    assert (whole.found, whole.unanswered) == (wanted, 0) and x.charged.posts == wanted
    assert set(x.charged_posts.values()) == {1}
    again = run(None)
    assert again == whole and x.charged.posts == wanted


def test_faults_of_x_cost_nothing_that_the_next_run_does_not_bring(x, tmp_path):
    collect(x, tmp_path / "first")
    dehydrate(tmp_path / "first", tmp_path / "ids.jsonl")
    x.reset(faults=["500", "429", "malformed", "partial errors", "cut", "503"])
    outcome = ask(x, tmp_path / "second", lambda c: hydrate(tmp_path / "ids.jsonl", tmp_path / "second", c))
    assert outcome.found == outcome.wanted and not outcome.gone
    x.reset(faults=["500"] * 200)
    stopped = ask(x, tmp_path / "third", lambda c: hydrate(tmp_path / "ids.jsonl", tmp_path / "third", c))
    assert stopped.found == 0 and stopped.unanswered == stopped.wanted


def test_what_was_forgotten_is_not_asked_for_again(x, tmp_path):
    collect(x, tmp_path / "first")
    dehydrate(tmp_path / "first", tmp_path / "ids.jsonl")
    ids = read_ids(tmp_path / "ids.jsonl")

    def run():
        return ask(x, tmp_path / "second", lambda c: hydrate(tmp_path / "ids.jsonl", tmp_path / "second", c))

    run()
    forget(tmp_path / "second", post_ids=[ids[0]["post_id"]])
    x.reset()
    assert run().wanted == len({row["post_id"] for row in ids}) - 1
    assert x.charged.posts == 0
    assert ids[0]["media_key"] not in read_photos(tmp_path / "second")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2 is no JSON"),
        ("[" * 100_000, "line 2 is no JSON"),
        ("[1]", "line 2 is no object"),
        (
            '{"post_id": "1", "media_key": "3_1", "split": "test", "weight": 1, "boilerplate": [[]]}',
            "line 2 has a boilerplate",
        ),
        ('{"post_id": 12, "media_key": "3_1", "split": "train", "weight": 1}', "line 2 needs a post_id of digits"),
        ('{"post_id": "1", "media_key": "3_1", "split": "dev", "weight": 1}', "line 2 has the split 'dev'"),
        ('{"post_id": "1", "media_key": "3_1", "split": "test", "weight": null}', "line 2 has the weight None"),
    ],
)
def test_a_line_of_ids_that_is_wrong_is_named(tmp_path, line, message):
    good = '{"post_id": "1", "media_key": "3_1", "split": "test", "weight": 1}'
    (tmp_path / "ids.jsonl").write_text(f"{good}\n{line}\n")
    with pytest.raises(ValueError, match=message):
        read_ids(tmp_path / "ids.jsonl")


def test_sources_and_folders_of_something_else_are_refused(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    for source, message in (
        (tmp_path / "none", "is no collection, no corpus"),
        (tmp_path / "x.parquet", "no whole Parquet"),
    ):
        with pytest.raises(ValueError, match=message):
            dehydrate(source, tmp_path / "ids.jsonl")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(ValueError, match="names no post"):
        read_ids(tmp_path / "empty.jsonl")
    make_collection(tmp_path / "c", some_posts(3, 3))
    with pytest.raises(ValueError, match="needs a card"):
        dehydrate(tmp_path / "c", tmp_path / "folder")
    dehydrate(tmp_path / "c", tmp_path / "ids.jsonl")
    with pytest.raises(ValueError, match="a collection of its own"):
        hydrate(tmp_path / "ids.jsonl", tmp_path / "c", None)
