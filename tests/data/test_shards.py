"""A folder that was cut and gone on with is the folder that was never cut, and `load_dataset` reads it."""

import functools
import json
import os
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
from datasets import Features, Image, List, Value, load_dataset
from filelock import FileLock
from huggingface_hub import DatasetCard

from tests.data.coco_tree import make_photo
from tweetcap.data import shards
from tweetcap.data.shards import LeftOut, write_shards

FEATURES = Features({"image": Image(), "number": Value("int64"), "texts": List(Value("string"))})
CARD = "---\nlicense: cc0-1.0\nlanguage:\n- ja\ntweetcap:\n  content: made\n---\n# Made\n\nMade for a test.\n"
PHOTO = make_photo(64, 48)


def read_rows(numbers, *, missing=(), slow=0.0, calls=None, broken_at=None):
    if calls is not None:
        calls.append(list(numbers))
    for number in numbers:
        time.sleep(slow)
        if number == broken_at:
            raise RuntimeError("the disk is gone")
        if number in missing:
            yield LeftOut(f"photo {number}", "the photo is missing")
        else:
            photo = {"bytes": PHOTO + bytes([number % 256]), "path": None}
            yield {"image": photo, "number": number, "texts": [f"{number}匹", "鳴いた😂"]}


def build(folder, *, train=50, read=read_rows, **options):
    options = {"settings": {"side": 360}, "card": CARD, "rows_per_shard": 12} | options
    return write_shards(folder, {"train": range(train), "test": list(range(100, 107))}, read, FEATURES, **options)


def contents(folder):
    names = ("README.md", "left_out.jsonl", "data/*")
    return {path.name: path.read_bytes() for name in names for path in folder.glob(name)}


def test_what_was_written_loads_whole_and_streamed(tmp_path):
    built = build(tmp_path / "out")
    assert (built.rows, built.shards, built.left_out) == ({"train": 50, "test": 7}, 6, {})
    assert sorted(path.name for path in (tmp_path / "out" / "data").iterdir()) == [
        "test-00000-of-00001.parquet",
        *(f"train-{number:05d}-of-00005.parquet" for number in range(5)),
    ]
    whole = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    streamed = load_dataset(str(tmp_path / "out"), streaming=True)
    assert whole["train"].features == FEATURES == streamed["train"].features
    for split, numbers in (("train", range(50)), ("test", range(100, 107))):
        assert whole[split]["number"][:] == list(numbers) == [row["number"] for row in streamed[split]]
    row = next(iter(streamed["train"]))
    assert row["texts"] == ["0匹", "鳴いた😂"] and row["image"].size == whole["train"][0]["image"].size == (64, 48)


def test_the_card_keeps_its_fields_and_tells_what_is_there(tmp_path):
    build(tmp_path)
    card = DatasetCard.load(tmp_path / "README.md")
    assert card.data.license == "cc0-1.0" and card.data["tweetcap"] == {"content": "made"}
    sizes = {split["name"]: split["num_examples"] for split in card.data["dataset_info"]["splits"]}
    assert sizes == {"train": 50, "test": 7}
    assert "Made for a test." in card.text


@pytest.mark.parametrize("cut_at", [0, 13, 25, 49, 103])
def test_cut_and_resumed_equals_uncut(tmp_path, cut_at):
    def cut(numbers):
        for row in read_rows(numbers, missing={3, 101}):
            if row[0] == f"photo {cut_at}" if isinstance(row, LeftOut) else row["number"] == cut_at:
                raise KeyboardInterrupt
            yield row

    whole = functools.partial(read_rows, missing={3, 101})
    uncut = build(tmp_path / "uncut", read=whole)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "cut", read=cut)
    assert not (tmp_path / "cut" / "README.md").exists()
    assert not list((tmp_path / "cut").rglob("*.partial"))
    resumed = build(tmp_path / "cut", read=whole)
    assert contents(tmp_path / "cut") == contents(tmp_path / "uncut")
    assert resumed.left_out == uncut.left_out == {"the photo is missing": 2}
    assert resumed.shards + resumed.done_before == uncut.shards


def test_kill_9_costs_only_the_shard_at_work(tmp_path):
    program = (
        "import sys, functools; from pathlib import Path; from tests.data.test_shards import build, read_rows;"
        "build(Path(sys.argv[1]), read=functools.partial(read_rows, slow=0.02))"
    )
    child = subprocess.Popen([sys.executable, "-c", program, tmp_path / "cut"])
    while len(list(tmp_path.glob("cut/.build/train-*.json"))) < 2 and child.poll() is None:
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    build(tmp_path / "uncut")
    resumed = build(tmp_path / "cut")
    assert resumed.done_before >= 2
    assert contents(tmp_path / "cut") == contents(tmp_path / "uncut")


def test_two_processes_write_what_one_writes_and_their_faults_arrive_here(tmp_path):
    read = functools.partial(read_rows, missing={3})
    with pytest.raises(RuntimeError, match="the disk is gone"):
        build(tmp_path / "two", read=functools.partial(read, broken_at=30), num_proc=2)
    build(tmp_path / "two", read=read, num_proc=2)
    build(tmp_path / "one", read=read)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_whole_folder_is_left_as_it_is(tmp_path):
    build(tmp_path)
    before = contents(tmp_path)
    again = build(tmp_path, read=functools.partial(read_rows, calls=(calls := [])))
    assert (again.shards, again.done_before, calls) == (0, 6, [])
    assert contents(tmp_path) == before


def test_what_was_left_out_is_tried_again_once_the_folder_is_whole(tmp_path):
    first = build(tmp_path / "out", read=functools.partial(read_rows, missing={3, 4, 40}))
    assert [entry.name for entry in first.first_left_out] == ["photo 3", "photo 4", "photo 40"]
    calls = []
    again = build(tmp_path / "out", read=functools.partial(read_rows, calls=calls))
    assert len(calls) == 2 and again.left_out == {}
    build(tmp_path / "uncut")
    assert contents(tmp_path / "out") == contents(tmp_path / "uncut")


def test_everything_left_out_is_named_in_a_file(tmp_path):
    before = [("train", LeftOut("line 7", "not JSON"))]
    built = build(tmp_path, read=functools.partial(read_rows, missing=range(0, 50, 2)), left_out=before)
    lines = [json.loads(line) for line in (tmp_path / "left_out.jsonl").read_text().splitlines()]
    assert built.left_out == {"not JSON": 1, "the photo is missing": 25}
    assert lines[:2] == [
        {"split": "train", "name": "line 7", "reason": "not JSON"},
        {"split": "train", "name": "photo 0", "reason": "the photo is missing"},
    ]
    assert len(lines) == 26 and len(built.first_left_out) == 5


def test_a_split_of_which_nothing_is_left_is_not_in_the_card(tmp_path):
    built = build(tmp_path / "out", read=functools.partial(read_rows, missing=range(100, 200)))
    assert built.rows == {"train": 50, "test": 0}
    assert list(load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))) == ["train"]


def test_nothing_at_all_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"nothing was left to write .*photo 0: the photo is missing"):
        build(tmp_path, read=functools.partial(read_rows, missing=range(200)))
    assert build(tmp_path).rows == {"train": 50, "test": 7}  # the photos have come


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"settings": {"side": 100}}, "was built with side 360 and not 100"),
        ({"train": 51}, "was built with other inputs for the split train"),
        ({"rows_per_shard": 13}, "was built with other settings"),
    ],
)
def test_a_folder_of_other_inputs_is_refused_until_it_may_be_overwritten(tmp_path, options, sentence):
    build(tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(ValueError, match=sentence):
        build(tmp_path / "out", **options)
    assert contents(tmp_path / "out") == before
    build(tmp_path / "out", overwrite=True, **options)
    build(tmp_path / "new", **options)
    assert contents(tmp_path / "out") == contents(tmp_path / "new")


def test_a_folder_of_something_else_is_not_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("ten years of work")
    with pytest.raises(ValueError, match="no build of tweetcap's"):
        build(tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(ValueError, match="is a file"):
        build(tmp_path / "thesis.txt")


def test_two_builds_do_not_share_a_folder(tmp_path):
    build(tmp_path)
    with FileLock(tmp_path / ".build" / "lock"), pytest.raises(ValueError, match="another build is at work"):
        build(tmp_path)


def test_a_damaged_shard_is_written_again(tmp_path):
    build(tmp_path)
    before = contents(tmp_path)
    os.truncate(tmp_path / "data" / "train-00002-of-00005.parquet", 100)
    assert build(tmp_path).shards == 1
    assert contents(tmp_path) == before


def test_a_file_in_the_working_folder_does_not_stand_in_for_a_photo(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "cat.jpg").write_bytes(b"something else")
    monkeypatch.chdir(tmp_path / "here")

    def read(numbers):
        for row in read_rows(numbers):
            yield row | {"image": {"bytes": PHOTO, "path": "cat.jpg"}}

    build(tmp_path / "out", read=read)
    table = pq.read_table(tmp_path / "out" / "data" / "test-00000-of-00001.parquet")
    assert table["image"][0].as_py()["bytes"] == PHOTO


def test_a_row_that_does_not_fit_is_named(tmp_path):
    def read(numbers):
        yield {"image": None, "number": "three", "texts": []}

    with pytest.raises(ValueError, match=r"train-00000-of-00005\.parquet: a row doesn't fit"):
        build(tmp_path, read=read)


def test_row_groups_stay_small(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", 30 * len(PHOTO))
    build(tmp_path, train=400, rows_per_shard=400)
    file = pq.ParquetFile(tmp_path / "data" / "train-00000-of-00001.parquet")
    assert file.num_row_groups == 8
    assert file.read()["number"].to_pylist() == list(range(400))
