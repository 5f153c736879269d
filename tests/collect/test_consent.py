"""What is forgotten is nowhere any more and stays away; a killed forget is completed by the next."""

import json
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from huggingface_hub import DatasetCard

from tests.collect.archives import archive_files, jpeg, tweet, write_zip
from tests.collect.collections import make_collection, media_key, page, post, post_id, sentence, some_posts, user_id
from tweetcap.collect.archive import read_archive
from tweetcap.collect.consent import forget
from tweetcap.collect.corpus import build_corpus
from tweetcap.collect.posts import derive_posts, read_forgotten, read_photos, read_posts, write_posts
from tweetcap.collect.raw import FORGOTTEN, PAGES, AppendOnly, read_rows

ACCOUNTS, EACH = 4, 6
SHARED = media_key(1, 2)  # account 1 shows the very file of account 0's post 3


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A collection with an archive, quoted posts and a corpus; tests work on copies of it."""
    root = tmp_path_factory.mktemp("made")
    posts = some_posts(ACCOUNTS, EACH)
    posts[0][1] = post(0, 1, photos=3)
    make_collection(root / "collection", posts, {SHARED: jpeg(int(media_key(0, 3)[2:]) % 2**32)})
    folder = root / "collection"
    quoting = page(2, [post(2, 90)], kind="posts")
    quoting["body"]["includes"]["tweets"] = [post(0, 2)]
    with AppendOnly(folder / PAGES) as pages:
        pages.append(quoting)
        pages.append(
            {
                "request": {
                    "number": 900,
                    "kind": "users",
                    "account": None,
                    "params": {"usernames": ["animal_00", "x"]},
                },
                "status": 200,
                "reads": {"posts": 0, "users": 1, "media": 0},
                "body": {
                    "data": [{"id": user_id(0), "username": "animal_00", "name": "名前0"}],
                    "errors": [{"value": "animal_00", "detail": "animal_00 is odd"}],
                },
            }
        )
        pages.append(
            {"request": {"kind": "timeline"}, "status": 200, "body": {"not_json": f"{post_id(0, 1)} {sentence(0, 1)}"}}
        )
    with AppendOnly(folder / "raw/requests.jsonl") as rows:
        rows.append({"number": 0, "kind": "timeline", "account": "animal_00", "key": "x"})
    archive = write_zip(root / "a.zip", archive_files([tweet(1, "アーカイブの犬"), tweet(2, "アーカイブの猫")]))
    read_archive(archive, folder)
    write_posts(folder)
    build_corpus(folder, root / "corpus")
    return root


@pytest.fixture
def world(made, tmp_path):
    """Copies of the collection and the corpus that belong together."""
    shutil.copytree(made / "collection", tmp_path / "collection")
    shutil.copytree(made / "corpus", tmp_path / "corpus")
    (tmp_path / "collection/corpora.jsonl").write_text(json.dumps({"path": str(tmp_path / "corpus")}) + "\n")
    return tmp_path


def holds(root: Path, text: str | bytes) -> list[str]:
    """Return the files under a folder that hold the text; Parquet, whose columns are compressed, is unpacked."""
    wanted = text if isinstance(text, bytes) else text.encode()
    found = []
    for path in root.rglob("*"):
        if not path.is_file():
            continue
        content = path.read_bytes()
        escaped = json.dumps(wanted.decode("utf-8", "replace"))[1:-1].encode()
        if path.suffix == ".parquet":
            content += repr(pq.read_table(path).to_pylist()).encode()
            content += b"".join(row["image"]["bytes"] for row in pq.read_table(path).to_pylist())
        if wanted in content or escaped in content:
            found.append(str(path.relative_to(root)))
    return found


def contents(root: Path) -> dict[str, bytes]:
    """Return all files but for the moments of tombstones."""
    files = {}
    for path in root.rglob("*"):
        if path.is_file() and path.name not in (".lock", "lock"):
            files[path.relative_to(root).as_posix()] = (
                b"".join(
                    sorted(json.dumps({k: v for k, v in row.items() if k != "at"}).encode() for row in read_rows(path))
                )
                if path.name == FORGOTTEN.name
                else path.read_bytes()
            )
    return files


def test_of_a_forgotten_post_no_byte_of_text_or_photo_is_left(world):
    folder = world / "collection"
    photos = [folder / read_photos(folder)[media_key(0, 1, n)].path for n in range(3)]
    bytes_of_photos = [path.read_bytes() for path in photos]
    assert len(holds(world, sentence(0, 1))) >= 3 and holds(world, bytes_of_photos[0])
    forgotten = forget(folder, post_ids=[post_id(0, 1)])
    assert (forgotten.posts, forgotten.users, forgotten.photos) == (1, 0, 3)
    assert sum(forgotten.rows.values()) == 1
    assert not holds(world, sentence(0, 1))
    assert not any(
        path.exists() or holds(world, content) for path, content in zip(photos, bytes_of_photos, strict=True)
    )
    assert not holds(world, media_key(0, 1))
    assert set(holds(world, post_id(0, 1))) == {"collection/forgotten.jsonl"}


def test_everything_else_stays_as_it_was(world):
    folder = world / "collection"
    before = {row.post_id: row for row in derive_posts(folder)}
    photos = read_photos(folder)
    lines = (folder / PAGES).read_bytes().splitlines()
    forget(folder, post_ids=[post_id(0, 1)])
    gone = before.pop(post_id(0, 1))
    assert {row.post_id: row for row in derive_posts(folder)} == before
    assert read_posts(folder) == derive_posts(folder)
    assert read_photos(folder) == {k: v for k, v in photos.items() if k not in {p.media_key for p in gone.photos}}
    assert all((folder / record.path).is_file() for record in read_photos(folder).values())
    after = (folder / PAGES).read_bytes().splitlines()
    assert len(after) == len(lines) and sum(a != b for a, b in zip(lines, after, strict=True)) == 2
    first = json.loads(after[0])
    assert (
        first["reads"] == json.loads(lines[0])["reads"]
        and first["body"]["meta"] == json.loads(lines[0])["body"]["meta"]
    )


def test_the_corpus_still_loads_and_its_card_and_report_count_right(world, tmp_path):
    before = load_dataset(str(world / "corpus"), cache_dir=str(tmp_path / "one"))
    forget(world / "collection", post_ids=[post_id(0, 1), post_id(2, 4)])
    after = load_dataset(str(world / "corpus"), cache_dir=str(tmp_path / "two"))
    expected = {
        split: [row for row in rows["post_id"] if row not in (post_id(0, 1), post_id(2, 4))]
        for split, rows in before.items()
    }
    assert {split: rows["post_id"] for split, rows in after.items()} == expected
    assert after["train"].features == before["train"].features
    card = DatasetCard.load(world / "corpus/README.md").data.to_dict()
    sizes = {split["name"]: split["num_examples"] for split in card["dataset_info"]["splits"]}
    assert sizes == {split: len(rows) for split, rows in expected.items()}
    report = json.loads((world / "corpus/report.json").read_text())
    assert report["rows"] == sizes and report["forgotten_rows"] == 2


def test_a_photo_that_another_post_shows_stays(world):
    folder = world / "collection"
    path = folder / read_photos(folder)[media_key(0, 3)].path
    assert path == folder / read_photos(folder)[SHARED].path
    assert forget(folder, post_ids=[post_id(0, 3)]).photos == 0
    assert path.is_file() and media_key(0, 3) not in read_photos(folder)
    assert forget(folder, post_ids=[post_id(1, 2)]).photos == 1
    assert not path.exists()


@pytest.mark.parametrize("named", ["animal_00", "@Animal_00", user_id(0)])
def test_a_user_goes_with_all_posts_names_and_rows(world, tmp_path, named):
    folder = world / "collection"
    forgotten = forget(folder, users=[named])
    assert (forgotten.users, forgotten.posts) == (1, EACH)
    for number in range(EACH):
        assert not holds(world, sentence(0, number))
    assert not holds(world, "animal_00") and not holds(world, "名前0")
    assert user_id(0) not in {row.user_id for row in derive_posts(folder)}
    loaded = load_dataset(str(world / "corpus"), cache_dir=str(tmp_path / "cache"))
    assert user_id(0) not in {row for rows in loaded.values() for row in rows["user_id"]}
    assert len(derive_posts(folder)) == (ACCOUNTS - 1) * EACH + 3


def test_a_post_of_an_archive_is_forgotten_too_and_does_not_come_back(world, made):
    folder = world / "collection"
    forget(folder, post_ids=[str(10**15 + 1)])
    assert not holds(world, "アーカイブの犬") and holds(world, "アーカイブの猫")
    read_archive(made / "a.zip", folder)
    assert not holds(world, "アーカイブの犬")


def test_what_is_collected_again_is_not_derived_again(world):
    folder = world / "collection"
    forget(folder, post_ids=[post_id(0, 1)], users=[user_id(3)])
    make_collection(folder, {0: [post(0, 1), post(0, 50)], 3: [post(3, 60)]})
    assert {post_id(0, 1), post_id(3, 60)} & {row.post_id for row in derive_posts(folder)} == set()
    assert post_id(0, 50) in {row.post_id for row in derive_posts(folder)}
    # The next forget, of whatever, takes out what came back to the raw files.
    forget(folder, post_ids=["1"])
    assert not holds(world, sentence(0, 1)) and not holds(world, sentence(3, 60))


def test_files_made_elsewhere_are_swept_when_they_are_named(world, tmp_path):
    ids = tmp_path / "elsewhere/ids.jsonl"
    ids.parent.mkdir()
    rows = [{"post_id": post_id(0, n), "split": "train"} for n in range(3)]
    ids.write_text("\n".join(json.dumps(row) for row in rows))  # no line end after the last
    shutil.copytree(world / "corpus", tmp_path / "copy")
    forgotten = forget(world / "collection", users=["animal_00"], derived=[ids, tmp_path / "copy"])
    assert ids.read_text() == "" and not holds(tmp_path / "copy", sentence(0, 1))
    assert forgotten.rows[str(ids)] == 3 and len(forgotten.rows) >= 3


def test_tombstones_stay_where_a_folder_that_holds_the_collection_is_named(world):
    for _ in range(2):
        forget(world / "collection", post_ids=[post_id(0, 1)], derived=[world])
        forget(world / "collection", derived=[world / "collection/forgotten.jsonl"])
    assert read_forgotten(world / "collection")[0] == {post_id(0, 1)}
    assert not holds(world, sentence(0, 1))


def test_a_split_of_which_nothing_is_left_goes_from_the_card(world, tmp_path):
    before = load_dataset(str(world / "corpus"), cache_dir=str(tmp_path / "one"))
    forget(world / "collection", post_ids=before["test"]["post_id"])
    after = load_dataset(str(world / "corpus"), cache_dir=str(tmp_path / "two"))
    assert set(after) == {"train", "validation"} and len(after["train"]) == len(before["train"])
    everything = [*before["train"]["post_id"], *before["validation"]["post_id"]]
    forget(world / "collection", post_ids=everything)
    assert not list((world / "corpus").rglob("*.parquet")) and not (world / "corpus/README.md").exists()


def test_leftovers_of_cut_writes_go_and_files_of_others_stay(world):
    folder = world / "collection"
    secret = sentence(0, 1).encode()
    (folder / "raw/.pages.jsonl.123.unfinished").write_bytes(secret)
    (world / "corpus/data/train-0.parquet.77.partial").write_bytes(secret)
    (world / "download.partial").write_bytes(b"not ours")
    with (folder / PAGES).open("ab") as file:
        file.write(b'{"body": "' + secret)  # torn
    forget(folder, post_ids=[post_id(0, 1)])
    assert not holds(world, secret) and (world / "download.partial").exists()


def test_forgetting_twice_changes_nothing(world):
    forget(world / "collection", post_ids=[post_id(0, 1)], users=["animal_01"])
    before = contents(world)
    again = forget(world / "collection", post_ids=[post_id(0, 1)], users=[user_id(1)])
    assert contents(world) == before and (again.posts, again.users, again.photos, again.rows) == (0, 0, 0, {})


class Killed(BaseException):
    pass


def test_a_forget_that_is_killed_at_any_step_is_completed_by_the_next(made, tmp_path, monkeypatch):
    def copy(name):
        root = tmp_path / name / "w"
        shutil.copytree(made / "collection", root / "collection")
        shutil.copytree(made / "corpus", root / "corpus")
        (root / "collection/corpora.jsonl").write_text(json.dumps({"path": str(root / "corpus")}) + "\n")
        return root

    def run(root, users=("animal_00",)):
        return forget(root / "collection", post_ids=[post_id(2, 4)], users=users)

    uncut = copy("uncut")
    run(uncut)
    (uncut / "collection/corpora.jsonl").unlink()
    steps = []
    for step in range(200):
        root = copy(f"cut{step}")
        with monkeypatch.context() as patch:
            done = []
            for name in ("replace", "unlink"):
                real = getattr(Path, name)

                def patched(path, *args, _real=real, _done=done, _step=step, **more):
                    if len(_done) == _step:
                        raise Killed
                    _done += [path] if path.exists() else []
                    return _real(path, *args, **more)

                patch.setattr(Path, name, patched)
            try:
                run(root)
            except Killed:
                steps.append(step)
        # By then nobody may know the name any more: the tombstone does.
        again = run(root)
        assert not again.unknown or again.unknown == ["animal_00"]
        (root / "collection/corpora.jsonl").unlink()
        assert {k: v for k, v in contents(root).items() if "report" not in k} == {
            k: v for k, v in contents(uncut).items() if "report" not in k
        }
        assert not holds(root, "animal_00")
        shutil.rmtree(root)
        if steps != list(range(step + 1)):
            break
    assert len(steps) > 15


def test_what_is_unknown_or_no_id_is_named(world, tmp_path):
    folder = world / "collection"
    before = contents(world)
    with pytest.raises(ValueError, match="'abc' is no id of a post"):
        forget(folder, post_ids=["abc"])
    with pytest.raises(ValueError, match=r"none\.parquet is no Parquet file"):
        forget(folder, post_ids=[post_id(0, 1)], derived=[tmp_path / "none.parquet"])
    with pytest.raises(ValueError, match="is no collection"):
        forget(tmp_path / "nowhere", post_ids=[post_id(0, 1)])
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"broken\.parquet has no column post_id"):
        forget(folder, post_ids=[post_id(0, 1)], derived=[tmp_path / "broken.parquet"])
    assert contents(world) == {**before, "broken.parquet": b"PAR1"}
    assert forget(folder, users=["who_is_this"]).unknown == ["who_is_this"]
    assert read_forgotten(folder) == (set(), set())


def test_a_corpus_that_was_moved_is_spoken_of(world):
    (world / "corpus").rename(world / "moved")
    (note,) = forget(world / "collection", post_ids=[post_id(0, 1)]).notes
    assert "is gone; if it was moved, name its new place" in note
    assert holds(world / "moved", sentence(0, 1))
    forget(world / "collection", derived=[world / "moved"])
    assert not holds(world / "moved", sentence(0, 1))
