"""A made collection: accounts with posts and photos, as pages of the API hold them."""

import random
from pathlib import Path

from tests.collect.archives import jpeg
from tweetcap.collect.photos import store_photo
from tweetcap.collect.posts import write_posts
from tweetcap.collect.raw import PAGES, AppendOnly, now

ANIMALS = [
    "柴犬",
    "三毛猫",
    "カワウソ",
    "ハシビロコウ",
    "カピバラ",
    "ヤギ",
    "フクロウ",
    "ペンギン",
    "アルパカ",
    "コツメ",
    "ラッコ",
    "シマウマ",
]
PLACES = [
    "窓際",
    "箱の中",
    "布団の上",
    "玄関",
    "階段の途中",
    "台所",
    "庭",
    "水辺",
    "机の下",
    "屋根",
    "毛布の下",
    "椅子の背",
]
DEEDS = [
    "溶けてる",
    "動かない",
    "会議をしている",
    "固まった",
    "悟りを開いた",
    "出てこない",
    "二度寝した",
    "考えごと中",
    "通せんぼ",
    "歌っている",
]


def user_id(account: int) -> str:
    return str(5_000_000 + account)


def post_id(account: int, number: int) -> str:
    return str(1_700_000_000_000_000_000 + number * 100_000 + account)


def media_key(account: int, number: int, index: int = 0) -> str:
    return f"3_{post_id(account, number)}{index}"


def sentence(account: int, number: int) -> str:
    """Return a text that no other post has, and that shares no long run with others."""
    rng = random.Random(account * 1000 + number)
    mark = f"{rng.randrange(10**6)}番目の{rng.choice(ANIMALS)}"
    return (
        f"{mark}、{rng.choice(PLACES)}で{rng.choice(DEEDS)}と{rng.choice(ANIMALS)}に言われた{rng.randrange(10**6)}回目"
    )


def post(account: int, number: int, text: str | None = None, photos: int = 1, **more) -> dict:
    keys = [media_key(account, number, index) for index in range(photos)]
    return {
        "id": post_id(account, number),
        "author_id": user_id(account),
        "created_at": f"2024-{1 + number // 28 % 12:02d}-{1 + number % 28:02d}T{account % 24:02d}:00:00.000Z",
        "lang": "ja",
        "text": sentence(account, number) if text is None else text,
        "public_metrics": {"like_count": (number * 37 + account) % 1000},
        "attachments": {"media_keys": keys},
    } | more


def page(account: int, posts: list[dict], kind: str = "timeline") -> dict:
    media = [
        {"media_key": key, "type": "photo", "url": f"https://pbs.twimg.com/media/{key}.jpg", "width": 64, "height": 48,
         "alt_text": f"写真 {key}"}
        for row in posts
        for key in row["attachments"]["media_keys"]
    ]  # fmt: skip
    name = f"animal_{account:02d}"
    return {
        "request": {"number": account, "kind": kind, "account": name, "params": {"id": user_id(account)}},
        "received_at": now(),
        "status": 200,
        "rate_limit": {},
        "reads": {"posts": len(posts), "users": 0, "media": len(media)},
        "body": {
            "data": posts,
            "includes": {
                "media": media,
                "users": [{"id": user_id(account), "username": name, "name": f"名前{account}"}],
            },
            "meta": {"result_count": len(posts)},
        },
    }


def make_collection(
    folder: Path, posts: dict[int, list[dict]], photos: dict[str, bytes] | None = None, page_size: int = 10
) -> Path:
    """Write a collection.

    Args:
        posts: account → its posts.
        photos: media key → file, for those that aren't to be a picture of their own.
    """
    with AppendOnly(folder / PAGES) as pages:
        for account, rows in posts.items():
            for start in range(0, len(rows), page_size):
                pages.append(page(account, rows[start : start + page_size]))
    for rows in posts.values():
        for row in rows:
            for key in row["attachments"]["media_keys"]:
                store_photo(folder, key, (photos or {}).get(key) or jpeg(int(key[2:]) % 2**32), f"https://x/{key}")
    write_posts(folder)
    return folder


def some_posts(accounts: int = 6, each: int = 10, **more) -> dict[int, list[dict]]:
    return {account: [post(account, number, **more) for number in range(each)] for account in range(accounts)}
