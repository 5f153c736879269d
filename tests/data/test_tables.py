"""A corpus in Parquet reads alike from a folder, from the Hub and as a stream, and what is bad in it is named."""

import json
import multiprocessing
import subprocess
import sys

import datasets
import pytest
import torch

from tests.data.file_server import running
from tests.data.made_corpora import POSTS, STAIR, draw, post_rows, stair_rows, write_corpus
from tests.hub import Hub
from tweetcap.data.photo import PhotoError, load_photo
from tweetcap.data.shards import LeftOut
from tweetcap.data.tables import BadRows, PhotoBytes, load_stored, open_table


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def stair(tmp_path):
    return write_corpus(tmp_path / "stair", STAIR, train=stair_rows(20), validation=stair_rows(6, first=100))


@pytest.fixture
def posts(tmp_path):
    return write_corpus(tmp_path / "posts", POSTS, train=post_rows(200))


def texts_of(table, limit=None, bad_rows=None) -> list[tuple]:
    return [
        (str(photo), *text)
        for row, photo in table.read(limit)
        for text in table.texts(row, list(table.kind.sources), bad_rows or BadRows())
    ]


def test_a_folder_and_its_stream_give_the_same_texts_and_photos(stair):
    local, stream = (open_table(stair, "train", streaming=streaming) for streaming in (False, True))
    assert (local.rows, stream.rows) == (20, 20)
    assert texts_of(local) == texts_of(stream)
    assert len(texts_of(local)) == 100
    for (_, mine), (_, other), number in zip(local.read(None), stream.read(None), range(20), strict=True):
        expected = load_photo(draw(number))
        assert torch.equal(load_stored(mine), expected) and torch.equal(load_stored(other), expected)


def test_tones_and_weights_of_posts_are_theirs_and_what_nobody_labelled_is_a_murmur(posts):
    rows = texts_of(open_table(posts, "train"))
    tones = {text: tone for _, _, text, tone, _, _ in rows}
    weights = {text: weight for _, _, text, _, _, weight in rows}
    written = {row["text"]: row for row in post_rows(200)}
    assert all(tones[text] == (written[text]["tone"] or "つぶやき") for text in tones)
    assert all(weights[text] == pytest.approx(written[text]["weight"]) for text in weights)
    assert all(register is None for _, _, _, _, register, _ in rows)


def test_a_corpus_without_validation_gives_up_the_same_photos_however_it_is_opened(posts):
    found = {
        (split, streaming): {
            name.split(", ", 2)[2] for name, *_ in texts_of(open_table(posts, split, streaming=streaming))
        }
        for split in ("train", "validation")
        for streaming in (False, True)
    }
    assert found["train", False] == found["train", True] and found["validation", False] == found["validation", True]
    assert not found["train", False] & found["validation", False]
    assert len(found["train", False] | found["validation", False]) == 200
    assert 2 <= len(found["validation", False]) <= 25
    assert open_table(posts, "test") is None


def test_an_own_validation_split_is_left_as_it_is(stair):
    assert len(texts_of(open_table(stair, "validation"))) == 30
    assert open_table(stair, "train").held_out is None


def test_a_stream_of_texts_alone_reads_no_photo_column(stair):
    table = open_table(stair, "train", streaming=True)
    rows = list(table.stream(None, 0, with_photos=False))
    assert "image" not in table._stream_of_texts.column_names
    assert [row["captions"] for row, _ in rows] == [row["captions"] for row in stair_rows(20)]
    assert all(photo is None for _, photo in rows)


def test_empty_texts_and_weights_that_are_no_number_are_named_and_left_out(tmp_path):
    rows = post_rows(6)
    rows[1]["text"] = " \n"
    rows[2]["weight"] = float("nan")
    rows[3]["tone"] = "怒り"
    rows[4]["text"] = None
    folder = write_corpus(tmp_path / "bad", POSTS, train=rows, validation=post_rows(1, first=50))
    bad_rows = BadRows("skip", tmp_path / "left_out.jsonl")
    kept = texts_of(open_table(folder, "train"), bad_rows=bad_rows)
    assert [text for _, _, text, *_ in kept] == [rows[0]["text"], rows[5]["text"]]
    written = [json.loads(line) for line in (tmp_path / "left_out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["name"] for row in written] == [f"{folder}, train, media_key 3_{n}, text 0" for n in (1, 2, 3, 4)]
    assert "empty" in written[0]["reason"] and "nan" in written[1]["reason"] and "怒り" in written[2]["reason"]
    with pytest.raises(ValueError, match=r"media_key 3_1, text 0: The text is empty; mend it, or .* bad_rows: skip\."):
        texts_of(open_table(folder, "train"), bad_rows=BadRows("stop"))


def test_a_photo_that_is_broken_or_only_an_address_is_named(tmp_path):
    rows = stair_rows(3)
    rows[1]["image"]["bytes"] = rows[1]["image"]["bytes"][:200]
    rows[2]["image"] = {"bytes": None, "path": "http://example.com/2.jpg"}
    folder = write_corpus(tmp_path / "broken", STAIR, train=rows, validation=stair_rows(1, first=9))
    for streaming in (False, True):
        photos = [photo for _, photo in open_table(folder, "train", streaming=streaming).read(None)]
        load_stored(photos[0])
        with pytest.raises(PhotoError, match=r"broken, train, image_id 1: .* damaged or cut short"):
            load_stored(photos[1])
        with pytest.raises(PhotoError, match=r"broken, train, image_id 2 holds no photo, or only its address"):
            load_stored(photos[2])


def test_what_is_no_corpus_is_refused_in_one_sentence(tmp_path, posts):
    (tmp_path / "empty").mkdir()
    ids = write_corpus(
        tmp_path / "ids", datasets.Features({"post_id": datasets.Value("string")}), train=[{"post_id": "1"}]
    )
    other = write_corpus(tmp_path / "other", datasets.Features({"a": datasets.Value("int64")}), train=[{"a": 1}])
    cut = write_corpus(tmp_path / "cut", POSTS, train=post_rows(3))
    shard = next(cut.rglob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-100])
    for name, message in [
        (tmp_path / "nowhere", "neither a folder nor a dataset on the Hub"),
        (tmp_path / "empty", "neither starter.jsonl nor Parquet"),
        (ids, "hydrate posts"),
        (other, "has the columns a"),
        (cut, "can't be read"),
        ("someone/corpus", "is no folder here and can't be had from the Hub"),  # the tests' Hub is switched off
    ]:
        with pytest.raises(ValueError, match=message) as caught:
            open_table(name, "train")
        assert str(name) in str(caught.value) and "\n" not in str(caught.value)


def test_a_shard_that_is_cut_short_ends_a_stream_with_a_sentence(tmp_path):
    folder = write_corpus(
        tmp_path / "cut", POSTS, rows_per_shard=2, train=post_rows(4), validation=post_rows(1, first=9)
    )
    shard = sorted(folder.rglob("train*.parquet"))[1]
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"cut, train broke off \(.*\); run the same command again\."):
        list(open_table(folder, "train", streaming=True).stream(None, 0, with_photos=True))


def report_twenty(path, start: int) -> None:
    bad_rows = BadRows("skip", path)
    for number in range(start, start + 20):
        bad_rows.report(LeftOut(f"photo {number}", "It is broken."))


def test_processes_share_one_list_and_a_row_stands_in_it_once(tmp_path):
    path = tmp_path / "left_out.jsonl"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=report_twenty, args=(path, start)) for start in (0, 10)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    report_twenty(path, 5)  # after a resume
    names = [json.loads(line)["name"] for line in path.read_text(encoding="utf-8").splitlines()]
    assert sorted(names) == sorted(f"photo {number}" for number in range(30))


def test_an_unknown_policy_is_refused():
    with pytest.raises(ValueError, match="bad_rows 'ignore' is unknown; choose stop or skip"):
        BadRows("ignore")


def test_photos_of_a_stream_are_told_apart_by_their_bytes():
    assert PhotoBytes("a", draw(1)).version != PhotoBytes("a", draw(2)).version


# --- The Hub --------------------------------------------------------------------------------------

TOKEN = "hf_secret" + "0" * 20
# In a process of its own, since the client reads its environment when it is imported.
PROGRAM = """
import json, os, sys
from tweetcap.data.tables import BadRows, load_stored, open_table
for name, streaming, token in json.loads(sys.argv[1]):
    os.environ["HF_TOKEN"] = token
    try:
        table = open_table(name, "train", streaming=streaming)
        read = list(table.read(None))
        texts = [text.text for row, _ in read for text in table.texts(row, ["stair"], BadRows())]
        sums = [int(load_stored(photo).sum()) for _, photo in read]
        alone = [row["captions"] for row, _ in table.stream(None, 0, with_photos=False)] if streaming else None
        print(json.dumps([table.rows, texts, sums, alone]), flush=True)
    except ValueError as error:
        print(json.dumps(str(error)), flush=True)
"""


def read_from(hub, home, *calls) -> list:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(calls)],
        env=hub.environment(home),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert TOKEN not in done.stdout
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_corpus_on_the_hub_is_read_and_streamed_at_any_revision(stair, tmp_path):
    def files(folder):
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in (folder / "README.md", *sorted(folder.rglob("*.parquet")))
        }

    older = write_corpus(tmp_path / "older", STAIR, train=stair_rows(3), validation=stair_rows(1, first=100))
    with running(Hub(TOKEN)) as hub:
        first = hub.add("me/stair", files(older), kind="dataset", private=True)
        hub.add("me/stair", files(stair), kind="dataset", private=True)
        calls = [(name, streaming, TOKEN) for name in ("me/stair", f"me/stair@{first}") for streaming in (False, True)]
        found = read_from(hub, tmp_path, *calls, ("me/stair", True, "hf_strangers"))
    whole, streamed, before, streamed_before, refused = found
    texts = [caption for row in stair_rows(20) for caption in row["captions"]]
    sums = [int(load_photo(draw(number)).sum()) for number in range(20)]
    assert whole == [20, texts, sums, None]
    assert streamed == [20, texts, sums, [row["captions"] for row in stair_rows(20)]]
    assert before[:3] == streamed_before[:3] == [3, texts[:15], sums[:3]]
    assert refused.startswith("me/stair is no folder here and can't be had from the Hub (")
