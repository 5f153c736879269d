"""Photos come back from where the published texts say, and what is gone or changed is named and left out."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import load_dataset
from huggingface_hub import DatasetCard
from torchvision.io import encode_png

from tests.data.coco_tree import make_photo
from tests.data.file_server import Fault, FileServer, running
from tweetcap.data import download
from tweetcap.data.photo import load_photo
from tweetcap.data.starter import read_starter, read_training_texts
from tweetcap.data.starter_photos import build_starter, hydrate_starter, in_threads

CARD = "---\nlicense: cc0-1.0\nlanguage:\n- ja\n---\n# Starter\n"
COMMIT = "c" * 40
SPLITS = ["train"] * 6 + ["validation"] * 3 + ["test"] * 3


def make_files() -> list[bytes]:
    """Return twelve photos, each of its own bytes; number 1 is large, number 2 a PNG."""
    files = [make_photo(64, 48, seed=number) for number in range(12)]
    files[1] = make_photo(720, 480, detail=2.0, seed=1)
    files[2] = encode_png(torch.full((3, 30, 40), 200, dtype=torch.uint8)).numpy().tobytes()
    return files


FILES = make_files()
NAMES = [f"photos/犬 {number}#.jpg" for number in range(12)]


def write_texts(folder: Path, **changes) -> Path:
    folder.mkdir(parents=True)
    rows = [
        {
            "photo_id": f"p{number:04d}",
            "species": "犬",
            "caption": f"犬が{number}匹いる",
            "tweets": [{"tone": "つぶやき", "style": "plain", "text": f"犬が{number}匹😂"}],
            "source": {
                "repository": "some one/dogs",
                "commit": COMMIT,
                "path": name,
                "sha256": hashlib.sha256(data).hexdigest(),
            },
        }
        | changes
        for number, (name, data) in enumerate(zip(NAMES, FILES, strict=True))
    ]
    for split in dict.fromkeys(SPLITS):
        own = [row for row, its_split in zip(rows, SPLITS, strict=True) if its_split == split]
        pq.write_table(pa.Table.from_pylist(own), folder / f"{split}.parquet")
    return folder


def address(number: int) -> str:
    return quote(f"/raw/some one/dogs/{COMMIT}/{NAMES[number]}")


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    with running(FileServer()) as server:
        server.files = {address(number): data for number, data in enumerate(FILES)}
        yield server


@pytest.fixture
def hydrate(server, tmp_path):
    texts = write_texts(tmp_path / "texts")
    urls = {
        "source_url": f"{server.url}/raw/{{repository}}/{{commit}}/{{path}}",
        "lfs_url": f"{server.url}/lfs/{{repository}}/{{commit}}/{{path}}",
    }
    return lambda **options: hydrate_starter(texts, tmp_path / "corpus", **{**urls, **options})


def photos_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "photos").iterdir()}


def test_a_hydrated_folder_is_a_corpus(hydrate, tmp_path):
    hydrated = hydrate()
    corpus = tmp_path / "corpus"
    assert (hydrated.photos, hydrated.fetched, hydrated.missing) == (12, 12, {})
    train = read_starter(corpus, "train")
    assert [photo.photo_id for photo in train] == [f"p{number:04d}" for number in range(6)]
    assert train[3].tweets[0].text == "犬が3匹😂" and train[3].path.read_bytes() == FILES[3]
    assert len(read_starter(corpus, "validation")) == len(read_starter(corpus, "test")) == 3
    assert len(read_training_texts(corpus)) == 12
    assert sorted(path.name for path in corpus.iterdir()) == [".hydrate.json", "photos", "starter.jsonl"]


def test_large_photos_are_shrunk_and_others_are_as_they_were(hydrate, tmp_path):
    hydrate()
    photos = photos_in(tmp_path / "corpus")
    assert load_photo(photos["p0001.jpg"]).shape == (3, 240, 360)
    assert photos["p0002.jpg"].startswith(b"\xff\xd8") and load_photo(photos["p0002.jpg"]).shape == (3, 30, 40)
    assert photos["p0003.jpg"] == FILES[3]
    small, large = load_photo(photos["p0001.jpg"]).float(), load_photo(FILES[1]).float()
    means = torch.nn.functional.avg_pool2d(large, 2)
    assert (small - means).abs().mean() < 4  # the same picture


def test_files_are_kept_as_they_are_on_request(hydrate, tmp_path):
    hydrate(longest_side=0)
    photos = photos_in(tmp_path / "corpus")
    assert photos["p0001.jpg"] == FILES[1] and photos["p0002.png"] == FILES[2]
    assert read_starter(tmp_path / "corpus", "train")[2].path.name == "p0002.png"


def test_what_is_gone_changed_or_broken_is_named_and_the_rest_is_there(server, hydrate, tmp_path):
    del server.files[address(0)]
    server.files[address(4)] = FILES[5]
    server.faults_of = {
        address(6): [Fault(cut_after=300), Fault(cut_after=300)],
        address(7): [Fault(pause=0.05)],
        address(8): [Fault(status=500)] * 10,
        address(9): [Fault(status=429, headers={"Retry-After": "3"})],
    }
    hydrated = hydrate()
    assert hydrated.photos == 9
    assert hydrated.missing == {
        "gone (404)": 1,
        "changed: the file there has another SHA-256": 1,
        "answered 500 Internal Server Error, 3 times in a row": 1,
    }
    rows = [json.loads(line) for line in (tmp_path / "corpus" / "missing.jsonl").read_text().splitlines()]
    assert [row["photo_id"] for row in rows] == ["p0000", "p0004", "p0008"]
    assert rows[0]["tweets"] and rows[0]["split"] == "train"
    kept = [
        photo.photo_id
        for split in ("train", "validation", "test")
        for photo in read_starter(tmp_path / "corpus", split)
    ]
    assert kept == [f"p{number:04d}" for number in (1, 2, 3, 5, 6, 7, 9, 10, 11)]

    server.files[address(0)], server.files[address(4)] = FILES[0], FILES[4]
    server.faults_of = {}
    server.requests.clear()
    again = hydrate()
    assert (again.photos, again.fetched, again.missing) == (12, 3, {})
    assert len(server.requests) == 3
    assert not (tmp_path / "corpus" / "missing.jsonl").exists()


def test_a_file_in_git_lfs_is_fetched_from_there(server, hydrate, tmp_path):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
    server.files[address(3)] = pointer
    server.files[address(3).replace("/raw/", "/lfs/")] = FILES[3]
    assert hydrate().missing == {}
    assert photos_in(tmp_path / "corpus")["p0003.jpg"] == FILES[3]


def test_a_page_without_end_is_not_stored(server, hydrate, monkeypatch):
    monkeypatch.setattr("tweetcap.data.starter_photos.MAX_BYTES", 50_000)
    server.files[address(3)] = bytes(10**6)
    assert hydrate().missing == {"has more than the 50,000 bytes allowed": 1}


def test_kill_9_and_again_gives_what_an_uncut_run_gives(server, hydrate, tmp_path):
    texts = tmp_path / "texts"
    program = (
        "import sys; from tweetcap.data.starter_photos import hydrate_starter;"
        "hydrate_starter(sys.argv[1], sys.argv[2], source_url=sys.argv[3], at_once=2)"
    )
    server.always = Fault(pause=0.05)
    url = f"{server.url}/raw/{{repository}}/{{commit}}/{{path}}"
    child = subprocess.Popen([sys.executable, "-c", program, texts, tmp_path / "cut", url])
    while len(list(tmp_path.glob("cut/photos/*.jpg"))) < 3 and child.poll() is None:
        threading.Event().wait(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    server.always = Fault()
    hydrate()
    again = hydrate_starter(texts, tmp_path / "cut", source_url=url)
    assert again.fetched <= 9
    assert photos_in(tmp_path / "cut") == photos_in(tmp_path / "corpus")
    assert (tmp_path / "cut" / "starter.jsonl").read_bytes() == (tmp_path / "corpus" / "starter.jsonl").read_bytes()


def test_whoever_stops_listening_stops_the_work():
    begun = []
    results = in_threads(lambda item: begun.append(item), range(1000), 2)
    next(results)
    results.close()
    time.sleep(0.05)
    count = len(begun)
    time.sleep(0.05)
    assert len(begun) == count


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"longest_side": 100}, "hydrated with --longest-side 360 and not 100"),
        ({"source_url": "http://x/"}, "no {path} in it"),
    ],
)
def test_other_settings_are_refused(hydrate, options, sentence):
    hydrate()
    with pytest.raises(ValueError, match=sentence):
        hydrate(**options)


def test_a_folder_of_something_else_is_refused(hydrate, tmp_path):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "mine.txt").touch()
    with pytest.raises(ValueError, match="not hydrated here"):
        hydrate()


@pytest.mark.parametrize("photo_id", ["../../etc/passwd", "", "p0001"])
def test_an_id_that_names_no_file_of_its_own_is_refused(tmp_path, photo_id):
    texts = write_texts(tmp_path / "texts", photo_id=photo_id)
    with pytest.raises(ValueError, match="names no photo of its own"):
        hydrate_starter(texts, tmp_path / "corpus")


def test_texts_that_are_none_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has no train\.parquet"):
        hydrate_starter(tmp_path, tmp_path / "corpus")
    (tmp_path / "train.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(ValueError, match="is not the starter corpus's"):
        hydrate_starter(tmp_path, tmp_path / "corpus")


def test_a_built_corpus_loads_with_its_photos_and_is_marked(hydrate, tmp_path):
    hydrate()
    built = build_starter(tmp_path / "corpus", tmp_path / "out", card=CARD)
    assert built.rows == {"train": 6, "validation": 3, "test": 3}
    corpus = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    row = corpus["train"][1]
    assert row["image"].size == (360, 240) and row["caption"] == "犬が1匹いる"
    assert row["tweets"] == [{"tone": "つぶやき", "style": "plain", "text": "犬が1匹😂"}]
    assert row["source"]["path"] == NAMES[1]
    streamed = next(iter(load_dataset(str(tmp_path / "out"), streaming=True)["test"]))
    assert streamed["photo_id"] == "p0009"
    card = DatasetCard.load(tmp_path / "out" / "README.md")
    assert card.data["tweetcap"] == {"content": "photos"} and "## This copy" in card.text
