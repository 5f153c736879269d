"""What was collected, read from the raw files: posts with their photos, and what became of each photo.

Raw pages and archive rows are never edited; `posts.jsonl` is made from them again whenever it is wanted.
"""

import html
import logging
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from tweetcap.collect.raw import ARCHIVE, FORGOTTEN, read_pages, read_rows, write_rows

log = logging.getLogger(__name__)

POSTS = Path("posts.jsonl")
PHOTOS = Path("photos.jsonl")

SHORT_LINK = re.compile(r"https?://t\.co/\w+")


@dataclass(frozen=True)
class Photo:
    """One photo of a post, as the API or the archive describes it; `PhotoRecord` tells what became of it.

    Attributes:
        media_key: the API's key, "3_" and the number that an archive gives the same photo.
        url: None where X doesn't say, and for photos of an archive.
        width, height: in pixels of the original.
        alt_text: the description that the author wrote, if any.
    """

    media_key: str
    url: str | None = None
    width: int | None = None
    height: int | None = None
    alt_text: str | None = None

    def to_row(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        return cls(**{name: row.get(name) for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Post:
    """One post with at least one photo.

    Attributes:
        username: the newest name that is known of the account, without @; the user's id where none is known.
        created_at: as the API gives it, ISO 8601 in UTC.
        lang: BCP 47 code that X found, "ja" for Japanese, None where X doesn't say.
        text: as posted: the long text where there is one, short links replaced by what they stand for, the
            links to the post's own photos removed, &amp; and the like decoded.
        origin: "api", "archive" or "predecessor".
        urls: what the links of the text stand for, the post's own photos left out.
        hashtags, mentions: without # and @.
    """

    post_id: str
    user_id: str
    username: str
    created_at: str
    lang: str | None
    text: str
    likes: int
    reposts: int
    replies: int
    quotes: int
    photos: tuple[Photo, ...]
    origin: str
    urls: tuple[str, ...] = ()
    hashtags: tuple[str, ...] = ()
    mentions: tuple[str, ...] = ()

    def to_row(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Read a row of `posts.jsonl` or `raw/archive.jsonl`.

        Raises:
            KeyError, TypeError: if it isn't one.
        """
        lists = {name: tuple(row.get(name, ())) for name in ("urls", "hashtags", "mentions")}
        photos = tuple(Photo.from_row(photo) for photo in row["photos"])
        names = [name for name in cls.__dataclass_fields__ if name != "photos" and name not in lists]
        return cls(**{name: row[name] for name in names}, photos=photos, **lists)


@dataclass(frozen=True)
class PhotoRecord:
    """What became of one photo: either a file, or the reason why there is none.

    Attributes:
        path: relative to the collection, "photos/ab/<sha256>.jpg".
        bytes: size of the file.
        width, height: in pixels, upright.
        perceptual_hash: 16 hexadecimal digits; few differing bits mean nearly the same photo.
        error: one sentence, None where the photo is there.
        gone: the photo was deleted; asking again is of no use.
    """

    media_key: str
    url: str | None
    path: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    width: int | None = None
    height: int | None = None
    perceptual_hash: str | None = None
    error: str | None = None
    gone: bool = False

    def to_row(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        known = {name: row[name] for name in cls.__dataclass_fields__ if name in row}
        return cls(**known)


def derive_posts(folder: Path) -> list[Post]:
    """Make the posts from the raw files, in the order in which they were posted.

    A post that was read more than once appears as it was read last; the API's version goes before an
    archive's. Replies, reposts, posts without a photo and what `forgotten.jsonl` names are left out.

    Args:
        folder: a collection. Nothing is written; see `write_posts`.
    """
    posts: dict[str, Post] = {}
    for row in read_rows(folder / ARCHIVE):
        try:
            post = Post.from_row(row)
        except (KeyError, TypeError):
            log.warning("%s: a row is no post and is left out.", folder / ARCHIVE)
        else:
            posts[post.post_id] = post
    usernames: dict[str, str] = {}
    for page in read_pages(folder):
        usernames.update(_usernames(page))
        for post in _page_posts(page):
            posts[post.post_id] = post
    forgotten_posts, forgotten_users = read_forgotten(folder)
    kept = [
        _renamed(post, usernames)
        for post in posts.values()
        if post.post_id not in forgotten_posts and post.user_id not in forgotten_users and post.photos
    ]
    return sorted(kept, key=lambda post: (len(post.post_id), post.post_id))  # ids are numbers without zeros before


def write_posts(folder: Path) -> list[Post]:
    """Derive the posts and write them to `posts.jsonl`, all at once; return them."""
    posts = derive_posts(folder)
    write_rows(folder / POSTS, (post.to_row() for post in posts))
    return posts


def read_posts(folder: Path) -> list[Post]:
    """Read `posts.jsonl` as `write_posts` left it."""
    return [Post.from_row(row) for row in read_rows(folder / POSTS)]


def read_photos(folder: Path) -> dict[str, PhotoRecord]:
    """Return what became of each photo, by its media key; the last word on each counts."""
    records = (PhotoRecord.from_row(row) for row in read_rows(folder / PHOTOS))
    return {record.media_key: record for record in records}


def read_forgotten(folder: Path) -> tuple[set[str], set[str]]:
    """Return the ids of the posts and of the users that must not come back."""
    posts, users = set(), set()
    for row in read_rows(folder / FORGOTTEN):
        if row.get("post_id"):
            posts.add(str(row["post_id"]))
        if row.get("user_id"):
            users.add(str(row["user_id"]))
    return posts, users


# --- A page of the API ------------------------------------------------------------------------------


def _page_posts(page: dict[str, Any]) -> Iterator[Post]:
    """Yield all posts of a page that aren't replies or reposts, also those that have no photo.

    One without a photo replaces an earlier reading of the same post, and is left out by the caller.
    """
    if page["request"]["kind"] not in ("timeline", "posts") or page["status"] != 200:
        return
    body = page["body"]
    media = {str(item.get("media_key")): item for item in body.get("includes", {}).get("media", [])}
    for post in body.get("data", []):
        try:
            kinds = {reference["type"] for reference in post.get("referenced_tweets", [])}
            if not kinds & {"replied_to", "retweeted"}:
                yield _api_post(post, media)
        except (KeyError, TypeError, AttributeError) as error:
            log.warning("Post %s lacks %s and is left out.", post.get("id"), error)


def _api_post(post: dict[str, Any], media: dict[str, dict[str, Any]]) -> Post:
    if not (isinstance(post["author_id"], str) and isinstance(post["created_at"], str)):
        raise TypeError("an author or a time")
    # A long post comes twice: cut short with its entities, and whole with its own.
    note = post.get("note_tweet") or {}
    text, entities = (note["text"], note.get("entities")) if note.get("text") else (post["text"], post.get("entities"))
    entities = entities or {}
    metrics = post.get("public_metrics", {})
    keys = post.get("attachments", {}).get("media_keys", [])
    links = {url["url"]: url for url in entities.get("urls", []) if "url" in url}
    return Post(
        post_id=post["id"],
        user_id=post["author_id"],
        username=post["author_id"],
        created_at=post["created_at"],
        lang=post.get("lang"),
        text=_unwind(text, links),
        likes=metrics.get("like_count", 0),
        reposts=metrics.get("retweet_count", 0),
        replies=metrics.get("reply_count", 0),
        quotes=metrics.get("quote_count", 0),
        photos=tuple(Photo.from_row(media[key]) for key in keys if media.get(key, {}).get("type") == "photo"),
        origin="api",
        urls=tuple(url.get("expanded_url", url["url"]) for url in links.values() if not _is_own_photo(url)),
        hashtags=tuple(hashtag["tag"] for hashtag in entities.get("hashtags", [])),
        mentions=tuple(mention["username"] for mention in entities.get("mentions", [])),
    )


def _unwind(text: str, links: dict[str, dict[str, Any]]) -> str:
    """Put what short links stand for in their place and take out those that X added for the photos."""

    def unwound(match: re.Match) -> str:
        link = links.get(match[0])
        if link is None:
            return match[0]
        return "" if _is_own_photo(link) else link.get("expanded_url", match[0])

    return html.unescape(SHORT_LINK.sub(unwound, text)).strip()


def _is_own_photo(link: dict[str, Any]) -> bool:
    """Return whether X itself put the link at the end of the text, for what the post shows anyway."""
    return "media_key" in link or str(link.get("display_url", "")).startswith(("pic.x.com/", "pic.twitter.com/"))


def _usernames(page: dict[str, Any]) -> dict[str, str]:
    """Return the name of each user whom the page describes, by the user's id."""
    if page["status"] != 200:
        return {}
    body = page["body"]
    users = list(body.get("includes", {}).get("users", []))
    if page["request"]["kind"] == "users":
        users += body.get("data", [])
    names = [(user.get("id"), user.get("username")) for user in users]
    return {user_id: name for user_id, name in names if isinstance(user_id, str) and isinstance(name, str)}


def _renamed(post: Post, usernames: dict[str, str]) -> Post:
    name = usernames.get(post.user_id)
    return post if name is None else replace(post, username=name)
