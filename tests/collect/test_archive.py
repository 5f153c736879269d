"""An own archive becomes posts and photos, once and whole; a hostile one becomes nothing but a sentence."""

import json
import os
import stat
import struct
import zipfile
import zlib

import pytest

from tests.collect.archives import (
    USER_ID,
    USERNAME,
    archive_files,
    jpeg,
    media,
    script,
    tweet,
    write_folder,
    write_zip,
)
from tweetcap.collect import archive as archive_module
from tweetcap.collect.archive import read_archive
from tweetcap.collect.posts import read_photos, write_posts
from tweetcap.collect.raw import FORGOTTEN, AppendOnly


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def everything(folder):
    """Return every file of a collection with its content."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def collection(tmp_path):
    return tmp_path / "collection"


def test_posts_and_photos_of_an_archive_become_a_collection(tmp_path, collection):
    path = write_zip(tmp_path / "a.zip", archive_files([tweet(1, "猫&amp;犬"), tweet(2, photos=3)]))
    summary = read_archive(path, collection)
    assert (summary.username, summary.posts, summary.new, summary.photos) == (USERNAME, 2, 2, 4)
    assert not summary.failed and not summary.left_out and not summary.notes
    posts = write_posts(collection)
    assert [post.text for post in posts] == ["猫&犬", "窓際で溶けてる"]
    assert [post.likes for post in posts] == [3, 6]
    assert posts[0].user_id == USER_ID and posts[0].origin == "archive"
    assert posts[0].created_at == "2015-04-02T14:56:01.000Z"
    assert (posts[0].photos[0].width, posts[0].photos[0].media_key) == (1200, "3_900010")
    record = read_photos(collection)["3_900010"]
    assert (collection / record.path).read_bytes() == jpeg(900010)


def test_an_unpacked_archive_gives_the_same_as_its_zip(tmp_path, collection):
    files = archive_files([tweet(1), tweet(2, photos=2)])
    read_archive(write_zip(tmp_path / "a.zip", files), collection)
    read_archive(write_folder(tmp_path / "unpacked", files), tmp_path / "other")
    assert everything(tmp_path / "other") == everything(collection)


def test_an_archive_inside_one_more_folder_and_in_parts_is_found(tmp_path, collection):
    files = archive_files([tweet(1)])
    files["data/tweets-part1.js"] = script([tweet(2, photos=0), tweet(3, photos=0)], part=1)
    files["data/tweets-part1.js"] = script([tweet(2)], part=1)
    files[f"data/tweets_media/{10**15 + 2}-F20abc.jpg"] = jpeg(5)
    nested = {f"twitter-2026-01-05-abc/{name}": content for name, content in files.items()}
    assert read_archive(write_zip(tmp_path / "a.zip", nested), collection).posts == 2


def test_the_layout_before_2022_is_read(tmp_path, collection):
    files = archive_files([tweet(1)])
    old = {
        name.removeprefix("data/").replace("tweets.js", "tweet.js").replace("tweets_media", "tweet_media"): content
        for name, content in files.items()
    }
    old["tweet.js"] = old["tweet.js"].replace(b"YTD.tweets.", b"YTD.tweet.")
    summary = read_archive(write_zip(tmp_path / "a.zip", old), collection)
    assert (summary.posts, summary.photos) == (1, 1)


def test_an_element_without_the_outer_object_and_numbers_as_numbers_are_read(tmp_path, collection):
    row = tweet(1)["tweet"] | {"id_str": None, "id": 10**15 + 1, "favorite_count": 7}
    files = archive_files([tweet(1)]) | {"data/tweets.js": script([row])}
    assert read_archive(write_zip(tmp_path / "a.zip", files), collection).posts == 1
    assert write_posts(collection)[0].likes == 7


def test_what_is_no_photo_post_of_ones_own_is_left_out_and_counted(tmp_path, collection):
    rows = [
        tweet(1),
        tweet(2, "RT @someone: 犬"),
        tweet(3, "@someone はい", in_reply_to_status_id_str="5"),
        tweet(4, photos=0),
        tweet(5, kind="video"),
        tweet(6, kind="animated_gif"),
        tweet(7, edit_info={"initial": {"editTweetIds": [str(10**15 + 7), str(10**15 + 8)]}}),
        tweet(8, edit_info={"initial": {"editTweetIds": [str(10**15 + 7), str(10**15 + 8)]}}),
        {"tweet": {"id_str": "9"}},
        {"note": 1},
        {"tweet": tweet(1)["tweet"] | {"id_str": "../../etc/passwd"}},
    ]
    files = archive_files(rows[:8]) | {"data/tweets.js": script(rows)}
    summary = read_archive(write_zip(tmp_path / "a.zip", files), collection)
    assert summary.posts == 2
    assert summary.left_out == {"repost": 1, "reply": 1, "no photo": 1, "video": 2, "edited later": 1, "broken": 3}


def test_links_are_unwound_and_those_of_the_own_photos_go(tmp_path, collection):
    row = tweet(1, "見て https://t.co/blog #猫 @tomo")
    row["tweet"]["entities"] |= {
        "urls": [{"url": "https://t.co/blog", "expanded_url": "https://example.com/blog?a=1"}],
        "hashtags": [{"text": "猫"}],
        "user_mentions": [{"screen_name": "tomo"}],
    }
    read_archive(write_zip(tmp_path / "a.zip", archive_files([row])), collection)
    (post,) = write_posts(collection)
    assert post.text == "見て https://example.com/blog?a=1 #猫 @tomo"
    assert (post.urls, post.hashtags, post.mentions) == (("https://example.com/blog?a=1",), ("猫",), ("tomo",))


def test_nothing_but_posts_and_photos_of_an_archive_is_kept(tmp_path, collection):
    files = archive_files([tweet(1)]) | {"data/direct-messages.js": script([{"dm": "ひみつ"}], "direct_messages")}
    read_archive(write_zip(tmp_path / "a.zip", files), collection)
    kept = b"".join(everything(collection).values())
    assert b"me@example.com" not in kept and "ひみつ".encode() not in kept


# --- Again, and after a cut -----------------------------------------------------------------------


def test_reading_the_same_archive_twice_doubles_nothing(tmp_path, collection):
    files = archive_files([tweet(1), tweet(2, photos=2), tweet(3)])
    files[f"data/tweets_media/{10**15 + 3}-F30abc.jpg"] = b"no photo"
    path = write_zip(tmp_path / "a.zip", files)
    assert len(read_archive(path, collection).failed) == 1
    before = everything(collection)
    summary = read_archive(path, collection)
    assert (summary.posts, summary.new, len(summary.failed)) == (3, 0, 1)
    assert everything(collection) == before


def test_a_newer_archive_adds_new_posts_and_new_likes(tmp_path, collection):
    read_archive(write_zip(tmp_path / "a.zip", archive_files([tweet(1), tweet(2)])), collection)
    newer = [tweet(1, favorite_count="99"), tweet(2), tweet(3)]
    assert read_archive(write_zip(tmp_path / "b.zip", archive_files(newer)), collection).new == 2
    assert [post.likes for post in write_posts(collection)] == [99, 6, 9]


@pytest.mark.parametrize("stop_at", [0, 1, 4, 7])
def test_a_cut_reading_goes_on_and_ends_like_an_uncut_one(tmp_path, collection, monkeypatch, stop_at):
    path = write_zip(tmp_path / "a.zip", archive_files([tweet(n, photos=2) for n in range(1, 6)]))
    read_archive(path, tmp_path / "uncut")
    store, calls = archive_module.store_photo, []

    def stored(*args):
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        calls.append(args)
        return store(*args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(archive_module, "store_photo", stored)
        read_archive(path, collection)
    for name in ("raw/archive.jsonl", "photos.jsonl"):  # a kill may tear the last line
        if (collection / name).exists():
            with (collection / name).open("ab") as file:
                file.write(b'{"media_key": "3_9')
    read_archive(path, collection)
    assert everything(collection) == everything(tmp_path / "uncut")


def test_what_was_forgotten_does_not_come_back(tmp_path, collection):
    path = write_zip(tmp_path / "a.zip", archive_files([tweet(1), tweet(2)]))
    with AppendOnly(collection / FORGOTTEN) as rows:
        rows.append({"post_id": str(10**15 + 1)})
    summary = read_archive(path, collection)
    assert (summary.posts, summary.left_out) == (1, {"forgotten": 1})
    assert list(read_photos(collection)) == ["3_900020"]
    with AppendOnly(collection / FORGOTTEN) as rows:
        rows.append({"user_id": USER_ID})
    with pytest.raises(ValueError, match="was forgotten"):
        read_archive(path, collection)


# --- Damaged and hostile archives -----------------------------------------------------------------


def refused(path, collection, message):
    with pytest.raises(ValueError, match=message) as error:
        read_archive(path, collection)
    assert "\n" not in str(error.value) and not collection.exists()


@pytest.mark.parametrize(
    "name", ["../../evil.js", "/etc/evil.js", "data/../../evil.jpg", "..\\evil.js", "C:/evil.js", "data/..\\..\\x"]
)
def test_a_path_that_leads_out_of_the_archive_is_refused(tmp_path, collection, name):
    refused(write_zip(tmp_path / "a.zip", archive_files([tweet(1)]) | {name: b"x"}), collection, "leads out of it")
    assert not list(tmp_path.rglob("evil*"))


def test_a_link_in_a_zip_is_refused_and_in_a_folder_passed_over(tmp_path, collection):
    path = write_zip(tmp_path / "a.zip", archive_files([tweet(1)], photos=False))
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo(f"data/tweets_media/{10**15 + 1}-F10abc.jpg")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    refused(path, collection, "a link to another file")

    secret = tmp_path / "secret.jpg"
    secret.write_bytes(jpeg(1))
    folder = write_folder(tmp_path / "unpacked", archive_files([tweet(1), tweet(2)], photos=False))
    (folder / "data/tweets_media").mkdir()
    (folder / f"data/tweets_media/{10**15 + 1}-F10abc.jpg").symlink_to(secret)
    summary = read_archive(folder, collection)
    assert (summary.photos, len(summary.failed)) == (0, 2)
    (folder / "data/tweets_media").rename(tmp_path / "elsewhere")
    (tmp_path / f"elsewhere/{10**15 + 2}-F20abc.jpg").write_bytes(jpeg(2))
    (folder / "data/tweets_media").symlink_to(tmp_path / "elsewhere")
    assert read_archive(folder, collection).photos == 0


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_zip_that_is_cut_short_is_refused(tmp_path, collection, keep):
    path = write_zip(tmp_path / "a.zip", archive_files([tweet(1), tweet(2)]))
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    refused(path, collection, "no whole zip")


def test_other_files_and_folders_are_refused(tmp_path, collection):
    refused(tmp_path / "nothing.zip", collection, "does not exist")
    refused(write_zip(tmp_path / "a.zip", {"photo.jpg": jpeg(1)}), collection, r"holds no data/tweets\.js")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", collection, r"holds no data/tweets\.js")
    inner = write_zip(tmp_path / "inner.zip", archive_files([tweet(1)])).read_bytes()
    refused(write_zip(tmp_path / "outer.zip", {"inner.zip": inner}), collection, r"holds no data/tweets\.js")


@pytest.mark.parametrize(
    "account", [None, b"window.YTD.account.part0 = [", b"{}", script([{"account": {"accountId": "x"}}])]
)
def test_an_archive_that_names_no_owner_is_refused(tmp_path, collection, account):
    files = archive_files([tweet(1)])
    files |= {"data/account.js": account} if account else {}
    if account is None:
        del files["data/account.js"]
    refused(write_zip(tmp_path / "a.zip", files), collection, "does not say whose it is")


def test_the_manifest_names_the_owner_where_the_account_is_missing(tmp_path, collection):
    files = archive_files([tweet(1)])
    del files["data/account.js"]
    manifest = {
        "userInfo": {"accountId": USER_ID, "userName": USERNAME, "displayName": "まる"},
        "archiveInfo": {"isPartialArchive": True},
    }
    files["data/manifest.js"] = f"window.__THAR_CONFIG = {json.dumps(manifest)}".encode()
    summary = read_archive(write_zip(tmp_path / "a.zip", files), collection)
    assert summary.username == USERNAME and "one of several parts" in summary.notes[0]


def test_an_encrypted_script_is_refused(tmp_path, collection):
    path = write_zip(tmp_path / "a.zip", archive_files([tweet(1)]))
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(signature)
        while at >= 0:
            data[at + offset] |= 1
            at = data.find(signature, at + 4)
    path.write_bytes(data)
    refused(path, collection, "is encrypted")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, collection, monkeypatch):
    monkeypatch.setattr(archive_module, "RATIO_FREE", 2**20)
    bomb = archive_files([tweet(1)]) | {"data/tweets.js": script([]) + b" " * 20 * 2**20}
    refused(write_zip(tmp_path / "a.zip", bomb), collection, "would unpack to")
    hidden = archive_files([tweet(1)]) | {f"data/{n}.js": b"0" * 2**21 for n in range(20)}
    refused(write_zip(tmp_path / "b.zip", hidden), collection, "would unpack to")
    monkeypatch.setattr(archive_module, "MAX_MEMBERS", 3)
    refused(write_zip(tmp_path / "c.zip", archive_files([tweet(1), tweet(2)])), collection, "lists 4 files")


def test_a_member_that_lies_about_its_size_costs_only_itself(tmp_path, collection):
    path = write_zip(tmp_path / "a.zip", archive_files([tweet(1), tweet(2)]))
    data = bytearray(path.read_bytes())
    name = f"data/tweets_media/{10**15 + 1}-F10abc.jpg".encode()
    for signature, size_at, name_at in ((b"PK\x03\x04", 22, 30), (b"PK\x01\x02", 24, 46)):
        at = data.find(signature)
        while data[at + name_at : at + name_at + len(name)] != name:
            at = data.find(signature, at + 4)
        struct.pack_into("<I", data, at + size_at, 100)
    path.write_bytes(data)
    summary = read_archive(path, collection)
    assert (summary.posts, summary.photos) == (2, 1)
    assert "is damaged in the archive" in summary.failed[0]


def test_photos_that_are_missing_too_large_or_none_cost_only_themselves(tmp_path, collection, monkeypatch):
    files = archive_files([tweet(n) for n in range(1, 5)])
    del files[f"data/tweets_media/{10**15 + 1}-F10abc.jpg"]
    files[f"data/tweets_media/{10**15 + 2}-F20abc.jpg"] = b"GIF89a" + b"\0" * 50
    files[f"data/tweets_media/{10**15 + 3}-F30abc.jpg"] = b"\xff\xd8\xff" + b"\0" * 200_000
    monkeypatch.setattr(archive_module, "MAX_BYTES", 100_000)
    summary = read_archive(write_zip(tmp_path / "a.zip", files), collection)
    assert (summary.posts, summary.photos, len(summary.failed)) == (4, 1, 3)
    assert all(sentence.endswith((".", "GIF.")) for sentence in summary.failed)


def test_a_broken_post_of_many_is_counted_and_the_others_are_read(tmp_path, collection, monkeypatch):
    monkeypatch.setattr(archive_module, "CHUNK", 700)  # many small reads
    monkeypatch.setattr(archive_module, "MAX_ELEMENT", 8000)
    rows = [tweet(n) for n in range(1, 30)]
    files = archive_files(rows)
    text = files["data/tweets.js"].decode()
    broken = text.replace(f'"id_str": "{10**15 + 7}"', f'"id_str": "{10**15 + 7}', 1)
    summary = read_archive(write_zip(tmp_path / "a.zip", files | {"data/tweets.js": broken.encode()}), collection)
    assert summary.posts == 28 and summary.left_out == {"broken": 1}


def test_white_space_behind_a_broken_post_is_passed_over_at_once(tmp_path, collection):
    files = archive_files([tweet(1), tweet(2)])
    begun = b"window.YTD.tweets.part0 = ["
    files["data/tweets.js"] = files["data/tweets.js"].replace(begun, begun + b"{x" + b" " * 3_000_000 + b",", 1)
    summary = read_archive(write_zip(tmp_path / "a.zip", files), collection)
    assert summary.posts == 2 and summary.left_out == {"broken": 1}


def test_of_a_script_that_is_cut_short_the_beginning_is_read(tmp_path, collection):
    files = archive_files([tweet(n) for n in range(1, 30)])
    files["data/tweets.js"] = files["data/tweets.js"][: len(files["data/tweets.js"]) // 2]
    summary = read_archive(write_zip(tmp_path / "a.zip", files), collection)
    assert 10 < summary.posts < 20 and "is cut short" in summary.notes[0]


@pytest.mark.parametrize("content", [b"", b"<html>", b"window.YTD.tweets.part0 = {}", b"\xff\xfe\x00"])
def test_a_script_of_something_else_is_named(tmp_path, collection, content):
    files = archive_files([tweet(1)]) | {"data/tweets.js": content}
    summary = read_archive(write_zip(tmp_path / "a.zip", files), collection)
    assert summary.posts == 0 and "data/tweets.js" in summary.notes[0]


def test_a_script_whose_bytes_are_damaged_is_read_up_to_there(tmp_path, collection):
    files = archive_files([tweet(n) for n in range(1, 4)])
    path = write_zip(tmp_path / "a.zip", files)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("data/tweets.js")
    # A CRC that doesn't fit shows only at the end.
    packed = struct.pack("<I", info.CRC)
    path.write_bytes(bytes(data).replace(packed, struct.pack("<I", info.CRC ^ 1)))
    summary = read_archive(path, collection)
    assert summary.posts == 3 or "is damaged" in summary.notes[0]
    assert zlib.crc32(files["data/tweets.js"]) == info.CRC


def test_deeply_nested_json_is_no_crash(tmp_path, collection):
    files = archive_files([tweet(1)])
    files["data/tweets.js"] = b"window.YTD.tweets.part0 = [" + b"[" * 100_000
    files["data/manifest.js"] = b"x = " + b"[" * 100_000
    assert read_archive(write_zip(tmp_path / "a.zip", files), collection).left_out["broken"] >= 1
    assert media(1)["type"] == "photo"
