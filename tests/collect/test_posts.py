"""Posts are made from the raw files alone: each once, as it was read last, and as its author wrote it."""

import json
from pathlib import Path

import pytest

from tweetcap.collect.posts import Photo, PhotoRecord, Post, derive_posts, read_posts, write_posts
from tweetcap.collect.raw import ARCHIVE, FORGOTTEN, PAGES, AppendOnly

AUTHOR = "100"


def api_post(post_id: str, text: str = "ねこ", **fields) -> dict:
    metrics = {"like_count": 5, "retweet_count": 4, "reply_count": 3, "quote_count": 2}
    return {
        "id": post_id,
        "author_id": AUTHOR,
        "created_at": "2025-01-01T00:00:00.000Z",
        "lang": "ja",
        "text": text,
        "public_metrics": metrics,
        "attachments": {"media_keys": [f"3_{post_id}"]},
        **fields,
    }


def media(*post_ids: str) -> list[dict]:
    url = "https://pbs.twimg.com/media/{}.jpg"
    return [
        {"media_key": f"3_{id}", "type": "photo", "url": url.format(id), "width": 9, "height": 8} for id in post_ids
    ]


def add_page(folder: Path, posts: list[dict], *, kind: str = "timeline", status: int = 200, **includes) -> None:
    includes.setdefault("media", media(*(post["id"] for post in posts)))
    request = {"number": 1, "kind": kind, "account": "cat", "params": {"id": AUTHOR}}
    body = {"data": posts, "includes": includes}
    with AppendOnly(folder / PAGES) as pages:
        pages.append({"request": request, "status": status, "reads": {}, "body": body})


def add_users(folder: Path, name: str) -> None:
    with AppendOnly(folder / PAGES) as pages:
        users = [{"id": AUTHOR, "username": name}]
        pages.append({"request": {"kind": "users", "params": {}}, "status": 200, "body": {"data": users}})


def add_archive(folder: Path, *posts: Post) -> None:
    with AppendOnly(folder / ARCHIVE) as archive:
        for post in posts:
            archive.append(post.to_row())


def archived(post_id: str, **fields) -> Post:
    values = {
        "post_id": post_id,
        "user_id": AUTHOR,
        "username": "cat",
        "created_at": "2025-01-01T00:00:00.000Z",
        "lang": "ja",
        "text": "保存した",
        "likes": 1,
        "reposts": 0,
        "replies": 0,
        "quotes": 0,
        "photos": (Photo(f"3_{post_id}"),),
        "origin": "archive",
    }
    return Post(**{**values, **fields})


def test_a_post_has_what_the_api_says_of_it(tmp_path):
    add_users(tmp_path, "cat")
    entities = {
        "urls": [
            {"url": "https://t.co/aaaaaaaaaa", "expanded_url": "https://example.com/?a=1&b=2"},
            {"url": "https://t.co/bbbbbbbbbb", "expanded_url": "https://x.com/c/photo/1", "media_key": "3_7"},
        ],
        "hashtags": [{"tag": "猫"}],
        "mentions": [{"username": "dog", "id": "5"}],
    }
    text = "A &amp; B &lt;3 @dog https://t.co/aaaaaaaaaa #猫\nhttps://t.co/bbbbbbbbbb"
    add_page(tmp_path, [api_post("7", text, entities=entities)])
    (post,) = derive_posts(tmp_path)
    assert post == Post(
        post_id="7",
        user_id=AUTHOR,
        username="cat",
        created_at="2025-01-01T00:00:00.000Z",
        lang="ja",
        text="A & B <3 @dog https://example.com/?a=1&b=2 #猫",
        likes=5,
        reposts=4,
        replies=3,
        quotes=2,
        photos=(Photo("3_7", "https://pbs.twimg.com/media/7.jpg", 9, 8, None),),
        origin="api",
        urls=("https://example.com/?a=1&b=2",),
        hashtags=("猫",),
        mentions=("dog",),
    )


def test_a_long_post_is_whole(tmp_path):
    urls = [{"url": "https://t.co/cccccccccc", "expanded_url": "https://example.com/"}]
    note = {"text": "長い話 https://t.co/cccccccccc", "entities": {"urls": urls}}
    add_page(tmp_path, [api_post("7", "長い… https://t.co/dddddddddd", note_tweet=note)])
    assert derive_posts(tmp_path)[0].text == "長い話 https://example.com/"


def test_the_link_to_its_own_photo_is_taken_out_of_an_older_post_too(tmp_path):
    link = {"url": "https://t.co/eeeeeeeeee", "expanded_url": "https://x.com/c/status/7/photo/1"}
    entities = {"urls": [{**link, "display_url": "pic.twitter.com/eeeeeeeeee"}]}
    add_page(tmp_path, [api_post("7", "ねこ https://t.co/eeeeeeeeee", entities=entities)])
    (post,) = derive_posts(tmp_path)
    assert (post.text, post.urls) == ("ねこ", ())


def test_an_entity_in_the_text_is_decoded_once(tmp_path):
    add_page(tmp_path, [api_post("7", "&amp;lt; と https://t.co/unknown123")])
    assert derive_posts(tmp_path)[0].text == "&lt; と https://t.co/unknown123"


def test_what_is_no_post_of_its_own_or_has_no_photo_is_left_out(tmp_path):
    references = [[{"type": kind, "id": "1"}] for kind in ("replied_to", "retweeted", "quoted")]
    posts = [api_post(str(number), referenced_tweets=reference) for number, reference in enumerate(references)]
    posts += [api_post("7", attachments={}), api_post("8"), api_post("9")]
    video = [{"media_key": "7_8", "type": "video"}, {"media_key": "3_8", "type": "animated_gif"}]
    add_page(tmp_path, posts, media=[*media("0", "1", "2", "9"), *video])
    assert [post.post_id for post in derive_posts(tmp_path)] == ["2", "9"]


def test_all_photos_of_a_post_are_there_in_its_order_and_its_videos_are_not(tmp_path):
    keys = {"media_keys": ["3_2", "7_9", "3_1"]}
    add_page(
        tmp_path, [api_post("5", attachments=keys)], media=[*media("1", "2"), {"media_key": "7_9", "type": "video"}]
    )
    assert [photo.media_key for photo in derive_posts(tmp_path)[0].photos] == ["3_2", "3_1"]


def test_a_post_read_twice_is_there_once_with_its_newest_numbers(tmp_path):
    add_page(tmp_path, [api_post("7")])
    add_page(tmp_path, [api_post("7", public_metrics={"like_count": 99})], kind="posts")
    (post,) = derive_posts(tmp_path)
    assert (post.likes, post.reposts) == (99, 0)


def test_the_api_goes_before_the_archive(tmp_path):
    add_archive(tmp_path, archived("7"), archived("8"))
    add_page(tmp_path, [api_post("7")])
    assert [(post.post_id, post.origin) for post in derive_posts(tmp_path)] == [("7", "api"), ("8", "archive")]


def test_a_renamed_account_has_its_newest_name_on_all_posts(tmp_path):
    add_users(tmp_path, "cat")
    add_page(tmp_path, [api_post("7")])
    add_users(tmp_path, "kitty")
    add_archive(tmp_path, archived("6"))
    assert {post.username for post in derive_posts(tmp_path)} == {"kitty"}


def test_without_a_known_name_the_id_stands_for_it(tmp_path):
    add_page(tmp_path, [api_post("7")], kind="posts")
    assert derive_posts(tmp_path)[0].username == AUTHOR


def test_what_was_forgotten_does_not_come_back(tmp_path):
    add_page(tmp_path, [api_post("7"), api_post("8"), api_post("9", author_id="200")])
    add_archive(tmp_path, archived("6"))
    with AppendOnly(tmp_path / FORGOTTEN) as forgotten:
        forgotten.append({"post_id": "7", "at": "2025-01-01T00:00:00Z"})
        forgotten.append({"user_id": "200", "at": "2025-01-01T00:00:00Z"})
    assert [post.post_id for post in derive_posts(tmp_path)] == ["6", "8"]


def test_posts_are_in_the_order_of_time_whatever_the_pages_order(tmp_path):
    add_page(tmp_path, [api_post("30"), api_post("200")])
    add_page(tmp_path, [api_post("4")])
    assert [post.post_id for post in derive_posts(tmp_path)] == ["4", "30", "200"]


def test_an_error_page_or_a_damaged_answer_holds_no_posts(tmp_path):
    add_page(tmp_path, [api_post("7")], status=503)
    with AppendOnly(tmp_path / PAGES) as pages:
        request = {"kind": "timeline", "params": {}}
        pages.append({"request": request, "status": 200, "reads": None, "body": {"not_json": "<html>"}})
    assert derive_posts(tmp_path) == []


@pytest.mark.parametrize("missing", ["author_id", "text", "created_at"])
def test_a_broken_post_is_named_and_the_others_are_there(tmp_path, caplog, missing):
    broken = api_post("7")
    del broken[missing]
    add_page(tmp_path, [broken, api_post("8")])
    assert [post.post_id for post in derive_posts(tmp_path)] == ["8"]
    assert caplog.records[0].getMessage() == f"Post 7 lacks '{missing}' and is left out."


@pytest.mark.parametrize("field", ["author_id", "created_at", "text", "attachments", "public_metrics", "entities"])
@pytest.mark.parametrize("odd", [[1], 5])
def test_a_field_of_another_type_costs_at_most_its_own_post(tmp_path, field, odd):
    includes = {
        "media": [{"media_key": [1]}, *media("7", "8")],
        "users": [{"username": "a"}, {"id": [1], "username": 3}],
    }
    add_page(tmp_path, [api_post("7", **{field: odd}), api_post("8")], **includes)
    assert [post.post_id for post in derive_posts(tmp_path)] == ["8"]


def test_a_broken_archive_row_is_reported_and_the_others_are_there(tmp_path, caplog):
    with AppendOnly(tmp_path / ARCHIVE) as archive:
        archive.append({"post_id": "5"})
    add_archive(tmp_path, archived("6"))
    assert [post.post_id for post in derive_posts(tmp_path)] == ["6"]
    assert "a row is no post" in caplog.records[0].getMessage()


def test_what_is_written_is_read_back(tmp_path):
    add_page(tmp_path, [api_post("7"), api_post("8", "\ud83d 絵文字 🐈")])
    add_archive(tmp_path, archived("6"))
    written = write_posts(tmp_path)
    assert len(written) == 3 and read_posts(tmp_path) == written == derive_posts(tmp_path)
    row = json.loads((tmp_path / "posts.jsonl").read_text("utf-8").splitlines()[0])
    assert list(row) == list(Post.__dataclass_fields__)


def test_a_photo_record_is_read_back_and_its_unknown_fields_are_passed_over():
    record = PhotoRecord("3_1", None, error="gone.", gone=True)
    assert PhotoRecord.from_row({**record.to_row(), "later": 1}) == record
