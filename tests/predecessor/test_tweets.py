"""The project's tweets become a collection: whole, resumable, forgettable, and never published."""

import io
import pickle
from importlib.resources import files
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from tweetcap import cli
from tweetcap.collect.hydration import dehydrate
from tweetcap.collect.posts import read_photos, read_posts
from tweetcap.data.publish import PublishError, check_folder

MEDIA = 1_340_123_456_789_012_480  # of 2020-12-19


def photo(number: int) -> bytes:
    """Return a JPEG like no other."""
    with Image.open(str(files("gradio") / "media_assets" / "images" / "lion.jpg")) as image:
        cut = image.rotate(37 * number).crop((11 * number % 60, 7 * number % 60, 190, 200))
    buffer = io.BytesIO()
    cut.save(buffer, "JPEG")
    return buffer.getvalue()


def row(account: str, number: int, **more) -> dict:
    media_id = MEDIA + (number << 22) * 1000
    joke = "うちの柴犬が玄関で固まった" if number % 2 else "三毛猫に席を取られた &amp; 負けた"
    return {
        "screen_name": account,
        "text": f"{account}の第{number}話、{joke}{number * 31}回目",
        "media_url": f"http://pbs.twimg.com/media/{account}{number}.jpg",
        "media_id": media_id,
        "filename": f"{account}_{media_id}.png",
    } | more


@pytest.fixture
def project(tmp_path) -> Path:
    folder = tmp_path / "project"
    (folder / "data" / "annos").mkdir(parents=True)
    (folder / "data" / "images").mkdir()
    number = 0
    for account in ("mofu_neko", "kotsume", "shiba_inu_dayo", "yagi"):
        rows = []
        for _ in range(3):
            number += 1
            rows.append(row(account, number))
            (folder / "data" / "images" / rows[-1]["filename"]).write_bytes(photo(number))
        (folder / "data" / "annos" / f"{account}.pickle").write_bytes(pickle.dumps(rows, protocol=3))
    return folder


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def test_every_tweet_and_photo_is_there_and_a_second_run_adds_nothing(project, tmp_path):
    collection = tmp_path / "collection"
    done = run("import", "tweets", project, "--output", collection)
    assert done.exit_code == 0, done.output
    assert "12 tweets of 4 accounts, 12 of them new, 12 photos" in done.stderr
    posts = {post.post_id: post for post in read_posts(collection)}
    expected = row("kotsume", 4)
    post = posts[Path(expected["filename"]).stem]
    assert (post.username, post.origin) == ("kotsume", "predecessor")
    assert "三毛猫に席を取られた & 負けた" in post.text
    assert post.created_at.startswith("2020-12-")
    (shown,) = post.photos
    assert (shown.media_key, shown.url) == (
        f"3_{expected['media_id']}",
        "https://pbs.twimg.com/media/kotsume4.jpg",
    )
    assert (collection / read_photos(collection)[shown.media_key].path).read_bytes() == photo(4)
    raw = (collection / "raw" / "archive.jsonl").read_bytes()
    again = run("import", "tweets", project, "--output", collection)
    assert again.exit_code == 0
    assert "0 of them new" in again.stderr
    assert (collection / "raw" / "archive.jsonl").read_bytes() == raw


def test_a_cut_run_goes_on(project, tmp_path):
    collection = tmp_path / "collection"
    assert run("import", "tweets", project, "--output", collection).exit_code == 0
    raw = collection / "raw" / "archive.jsonl"
    whole = raw.read_bytes()
    raw.write_bytes(whole[: len(whole) // 2])
    photos = (collection / "photos.jsonl").read_bytes()
    (collection / "photos.jsonl").write_bytes(photos[: len(photos) // 3])
    assert run("import", "tweets", project, "--output", collection).exit_code == 0
    assert raw.read_bytes() == whole
    assert len(read_photos(collection)) == 12


def test_the_first_files_without_numbers_and_broken_rows_are_taken_as_they_are(project, tmp_path):
    images = project / "data" / "images"
    (images / "old_0.png").write_bytes(photo(20))
    (images / "old_2.png").write_bytes(b"no photo")
    (tmp_path / "secret.png").write_bytes(photo(21))
    rows = [
        {"screen_name": "old", "text": "むかしの犬", "media_url": "http://example.com/a.jpg", "filename": "old_0.png"},
        {"screen_name": "old", "text": "写真がない", "filename": "old_1.png"},
        {"screen_name": "old", "text": "写真ではない", "filename": "old_2.png"},
        {"screen_name": "old", "text": "よその写真", "filename": "../../../secret.png"},
        {"screen_name": "old", "text": "名前がない", "filename": ".."},
        {"screen_name": "old", "text": "番号だけ", "filename": "1340123456789012480.png"},
        {"screen_name": "old", "text": None, "filename": "old_3.png"},
        {"screen_name": "old", "text": "番号", "filename": "old_4.png", "media_id": "12"},
        {"screen_name": "old", "text": "長い名前", "filename": f"old_{'5' * 300}.png"},
        {"screen_name": "old", "text": "端末", "filename": "old_\x1b[31m.png"},
        {"screen_name": "old", "text": "半分\ud83d", "filename": "old_6.png"},
        "no row",
    ]
    (project / "data" / "annos" / "old.pickle").write_bytes(pickle.dumps(rows))
    done = run("import", "tweets", project, "--output", tmp_path / "collection")
    assert done.exit_code == 1
    assert "15 tweets of 5 accounts, 15 of them new, 13 photos" in done.stderr
    assert "left out, broken: 9" in done.stderr
    assert "old_1.png is missing" in done.stderr
    assert "old_2.png: The photo" in done.stderr
    old = next(post for post in read_posts(tmp_path / "collection") if post.post_id == "old_0")
    assert (old.created_at, old.photos[0].media_key, old.photos[0].url) == ("", "old_0", None)
    assert not any(path.read_bytes() == photo(21) for path in (tmp_path / "collection").rglob("*.jpg"))


def test_it_becomes_a_corpus_that_loads_and_is_never_published(project, tmp_path):
    datasets = pytest.importorskip("datasets")
    collection, corpus = tmp_path / "collection", tmp_path / "corpus"
    assert run("import", "tweets", project, "--output", collection).exit_code == 0
    done = run("dataset", "build", "tweets", "--collection", collection, "--output", corpus)
    assert done.exit_code == 0, done.output
    loaded = datasets.load_dataset(str(corpus), cache_dir=str(tmp_path / "cache"))
    rows = [row for split in loaded.values() for row in split.remove_columns("image")]
    assert {row["user_id"] for row in rows} == {"mofu_neko", "kotsume", "shiba_inu_dayo", "yagi"}
    assert len(rows) == 12
    assert len({(row["user_id"], row["split"]) for row in rows}) == 4
    for folder in (collection, corpus):
        with pytest.raises(PublishError):
            check_folder(folder)
    for source in (collection, corpus):
        with pytest.raises(ValueError, match="nothing of them can be published"):
            dehydrate(source, tmp_path / "ids.jsonl")


def test_an_account_and_a_tweet_are_forgotten_and_stay_so(project, tmp_path):
    collection = tmp_path / "collection"
    assert run("import", "tweets", project, "--output", collection).exit_code == 0
    one = Path(row("yagi", 10)["filename"]).stem
    done = run("dataset", "forget", collection, "--user", "Kotsume", "--post-id", one)
    assert done.exit_code == 0, done.output
    assert run("import", "tweets", project, "--output", collection).exit_code == 0
    posts = read_posts(collection)
    assert len(posts) == 8
    assert "kotsume" not in {post.user_id for post in posts}
    assert one not in {post.post_id for post in posts}
    assert "kotsume" not in (collection / "raw" / "archive.jsonl").read_text("utf-8")
    assert len([path for path in (collection / "photos").rglob("*.*") if path.is_file()]) == 8


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (pickle.dumps({"a": 1}), "no list of tweets"),
        (pickle.dumps([1])[:-2], "damaged"),
        (b"cos\nsystem\n(S'true'\ntR.", "nothing of it was run"),
    ],
)
def test_a_file_that_is_none_is_named_and_nothing_is_written(project, tmp_path, content, sentence):
    (project / "data" / "annos" / "zzz.pickle").write_bytes(content)
    done = run("import", "tweets", project, "--output", tmp_path / "collection")
    assert done.exit_code == 2
    assert sentence in done.stderr and "zzz.pickle" in done.stderr
    assert not (tmp_path / "collection" / "posts.jsonl").exists()


def test_a_folder_without_tweets_is_refused(tmp_path):
    done = run("import", "tweets", tmp_path, "--output", tmp_path / "collection")
    assert done.exit_code == 2
    assert "data/annos" in done.stderr
