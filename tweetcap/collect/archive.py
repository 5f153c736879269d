"""Read the archive that X sends its users (a zip, or the folder it was unpacked to) into a collection, at no cost.

    with lock_folder(folder):
        summary = read_archive(Path("twitter-2026-01-05.zip"), folder)
        write_posts(folder)

What is read, and nothing else of it, messages and addresses included, is even opened:

    data/account.js                            window.YTD.account.part0 = [{"account": {"accountId", "username", …}}]
    data/manifest.js                           window.__THAR_CONFIG = {"userInfo": …, "archiveInfo": …}
    data/tweets.js, tweets-part1.js, …         window.YTD.tweets.part0 = [{"tweet": {…}}, …]; tweet.js before 2022
    data/tweets_media/<post id>-<file>         tweet_media before 2022

The zip is untrusted: nothing is extracted under a name of its own, sizes are bounded before and while reading, and a
photo is known by its content. Rows go to `raw/archive.jsonl`; reading the same archive again, or going on after a cut,
adds only what is missing.
"""

import codecs
import html
import json
import os
import re
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import urlsplit

from tqdm import tqdm

from tweetcap.collect.photos import store_photo
from tweetcap.collect.posts import SHORT_LINK, Photo, Post, read_forgotten, read_photos
from tweetcap.collect.raw import ARCHIVE, AppendOnly, read_rows
from tweetcap.data.photo import MAX_BYTES, PhotoError, load_photo

MAX_MEMBERS = 1_000_000
MAX_SCRIPT = 4 * 2**30  # bytes; X cuts its own long before
MAX_ELEMENT = 4 * 2**20  # characters; a post has a few thousand
# X's scripts shrink some 20 times, its photos not at all. Small files may well be nothing but spaces.
MAX_RATIO, RATIO_FREE = 150, 64 * 2**20
CHUNK = 2**20

SCRIPT = re.compile(r"tweets?(?:-part(\d+))?\.js")
MEDIA_FOLDERS = ("tweets_media", "tweet_media")
WHERE = "ask X for one under Settings, Your account, Download an archive of your data"

# What zipfile raises for members that are damaged, encrypted or packed in an unknown way.
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError, ValueError)


@dataclass
class ArchiveSummary:
    """What became of an archive.

    Attributes:
        posts: with photos, written by the owner.
        new: posts whose row was written now; the others were there.
        photos: photos that the collection now has of these posts.
        left_out: reason → posts.
        failed: a sentence for each photo that could not be had.
        notes: what else the user should know, a sentence each.
    """

    username: str
    posts: int = 0
    new: int = 0
    photos: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        left_out = ", ".join(f"{reason} {count}" for reason, count in self.left_out.most_common())
        first = " ".join(self.failed[:3])
        sentences = [
            f"{self.posts} posts with photos by @{self.username}, {self.new} of them new, {self.photos} photos.",
            f"Left out: {left_out}." if left_out else "",
            f"{len(self.failed)} photos could not be had: {first}" if self.failed else "",
            *self.notes,
        ]
        return " ".join(sentence for sentence in sentences if sentence)


def read_archive(archive: Path, folder: Path) -> ArchiveSummary:
    """Add the photo posts of an own archive to a collection.

    Args:
        archive: a zip or a folder.
        folder: the collection; the caller holds its lock and calls `write_posts` afterwards.

    Raises:
        ValueError: it is no such archive, or a hostile one; nothing was read of it.
        OSError: the collection can't be written.
    """
    with _open_source(Path(archive)) as source:
        account = _read_account(source)
        summary = ArchiveSummary(account.username, notes=list(account.notes))
        known = {row["post_id"]: row for row in read_rows(folder / ARCHIVE)}
        forgotten_posts, forgotten_users = read_forgotten(folder)
        if account.user_id in forgotten_users:
            raise ValueError(
                f"@{account.username} was forgotten in {folder}; take its line out of forgotten.jsonl to read it again."
            )
        photos = _Photos(source, folder, summary)
        with AppendOnly(folder / ARCHIVE) as rows:
            for tweet in tqdm(_read_tweets(source, summary), unit="post", disable=None):
                post = _to_post(tweet, account)
                if isinstance(post, Post) and post.post_id in forgotten_posts:
                    post = "forgotten"
                if not isinstance(post, Post):
                    summary.left_out[post] += 1
                    continue
                summary.posts += 1
                photos.store(post, tweet)
                row = json.loads(json.dumps(post.to_row()))
                if known.get(post.post_id) != row:
                    rows.append(row)
                    known[post.post_id] = row
                    summary.new += 1
    return summary


# --- Where it is read from ------------------------------------------------------------------------


class _Source(Protocol):
    """An archive's files by their path inside it; `data` is the folder that holds the scripts, "" or with a slash."""

    name: str
    data: str
    scripts: list[str]

    def has(self, path: str) -> bool: ...

    def size(self, path: str) -> int: ...

    def open(self, path: str) -> BinaryIO: ...

    def __enter__(self) -> "_Source": ...

    def __exit__(self, *_: object) -> None: ...


def _open_source(archive: Path) -> _Source:
    if archive.is_dir():
        return _Folder(archive)
    if not archive.is_file():
        raise ValueError(f"{archive} does not exist; name the zip or the folder of an archive by X.")
    return _Zip(archive)


def _scripts(paths: Iterator[str], name: str) -> tuple[str, list[str]]:
    """Return the folder of the scripts that hold posts, the one nearest the top, and their paths in order."""
    found: dict[str, list[tuple[int, str]]] = {}
    for path in paths:
        parent, _, file = path.rpartition("/")
        match = SCRIPT.fullmatch(file)
        if match:
            found.setdefault(parent, []).append((int(match[1] or 0), path))
    if not found:
        raise ValueError(f"{name} holds no data/tweets.js and is no archive by X; {WHERE}.")
    parent = min(found, key=lambda parent: (parent.count("/") + bool(parent), parent))
    return parent + "/" if parent else "", [path for _, path in sorted(found[parent])]


class _Zip:
    def __init__(self, path: Path) -> None:
        """Open the zip and look at its list of members, before anything is read.

        Raises:
            ValueError: it isn't whole, or no archive that X would make.
        """
        self.name = str(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError):
            raise ValueError(f"{path} is no whole zip; download the archive again.") from None
        try:
            self._members = {info.filename: info for info in self._checked(path)}
            self.data, self.scripts = _scripts(iter(self._members), self.name)
            for script in self.scripts:
                self._check_script(script)
        except ValueError:
            self._zip.close()
            raise

    def _checked(self, path: Path) -> Iterator[zipfile.ZipInfo]:
        members = self._zip.infolist()
        why = "X makes no such archive, and it was not read"
        if len(members) > MAX_MEMBERS:
            raise ValueError(f"{path} lists {len(members):,} files, over the limit of {MAX_MEMBERS:,}: {why}.")
        total = sum(info.file_size for info in members)
        if total > RATIO_FREE + MAX_RATIO * path.stat().st_size:
            raise ValueError(f"{path} would unpack to {total / 2**30:,.0f} GB: {why}.")
        for info in members:
            shown = info.filename[:80].encode("unicode_escape").decode()
            parts = re.split(r"[/\\]", info.orig_filename)
            if info.orig_filename.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in parts[-1]:
                raise ValueError(f"{path} holds {shown}, a path that leads out of it: {why}.")
            if stat.S_ISLNK(info.external_attr >> 16):
                raise ValueError(f"{path} holds {shown}, a link to another file: {why}.")
            if not info.is_dir():
                yield info

    def _check_script(self, script: str) -> None:
        info = self._members[script]
        if info.flag_bits & 0x1:
            raise ValueError(f"{self.name} is encrypted; unpack it with its password and name the folder.")
        if info.file_size > MAX_SCRIPT or info.file_size > RATIO_FREE + MAX_RATIO * info.compress_size:
            raise ValueError(f"{script} in {self.name} would unpack to {info.file_size:,} bytes; it was not read.")

    def has(self, path: str) -> bool:
        return path in self._members

    def size(self, path: str) -> int:
        return self._members[path].file_size

    def open(self, path: str) -> BinaryIO:
        return self._zip.open(self._members[path])

    def __enter__(self) -> "_Zip":
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()


class _Folder:
    """An archive that was unpacked. Links are passed over: they may lead anywhere."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._root = path
        self.data, self.scripts = _scripts(self._near_the_top(), self.name)

    def _near_the_top(self) -> Iterator[str]:
        for parent, folders, files in os.walk(self._root):
            relative = Path(parent).relative_to(self._root)
            if len(relative.parts) >= 2:
                folders.clear()
            yield from (path for path in ((relative / file).as_posix() for file in files) if self.has(path))

    def has(self, path: str) -> bool:
        full = self._root / path
        try:
            is_file = stat.S_ISREG(full.lstat().st_mode)
        except OSError:
            return False
        return is_file and full.parent.resolve() == self._root.resolve() / Path(path).parent

    def size(self, path: str) -> int:
        return (self._root / path).lstat().st_size

    def open(self, path: str) -> BinaryIO:
        return (self._root / path).open("rb")

    def __enter__(self) -> "_Folder":
        return self

    def __exit__(self, *_: object) -> None:
        pass


# --- Whose archive it is ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Account:
    user_id: str
    username: str
    notes: tuple[str, ...] = ()


def _read_account(source: _Source) -> _Account:
    """Return the owner, from `account.js` or else from `manifest.js`; the email address there is not kept."""
    manifest = _read_small(source, "manifest.js")
    manifest = manifest if isinstance(manifest, dict) else {}
    account = _read_small(source, "account.js")
    account = (
        account[0].get("account") if isinstance(account, list) and account and isinstance(account[0], dict) else {}
    )
    user = manifest.get("userInfo") if isinstance(manifest.get("userInfo"), dict) else {}
    user_id = str((account or {}).get("accountId") or user.get("accountId") or "")
    username = str((account or {}).get("username") or user.get("userName") or user_id)
    if not re.fullmatch(r"\d{1,20}", user_id):
        raise ValueError(f"{source.name} does not say whose it is: data/account.js is missing or broken; {WHERE}.")
    info = manifest.get("archiveInfo")
    partial = isinstance(info, dict) and info.get("isPartialArchive") in (True, "true")
    note = f"{source.name} is one of several parts; read the others too."
    return _Account(user_id, username, (note,) if partial else ())


def _read_small(source: _Source, file: str) -> Any:
    """Return what a short script assigns, None if it is missing or broken."""
    path = source.data + file
    if not source.has(path) or source.size(path) > CHUNK:
        return None
    try:
        with source.open(path) as stream:
            text = stream.read(CHUNK).decode("utf-8-sig")
        return json.loads(text.partition("=")[2].strip().rstrip(";"))
    except (*DAMAGED, RecursionError):
        return None


# --- The posts ------------------------------------------------------------------------------------

DECODER = json.JSONDecoder()
BEGINNING = re.compile(r"\s*window\.YTD\.\w+\.part\d+\s*=\s*\[|\s*\[")
BETWEEN = re.compile(r"[\s,]*")
NEXT_ELEMENT = re.compile(r'\{\s*"tweet"\s*:')  # begins with no white space, of which a hostile script has megabytes


def _read_tweets(source: _Source, summary: ArchiveSummary) -> Iterator[dict[str, Any]]:
    """Yield the posts of all scripts, one at a time, so that memory doesn't grow with them.

    A broken one is counted and the search goes on at the next; of a script that is cut short, what is there is read.
    """
    for script in source.scripts:
        try:
            with source.open(script) as stream:
                yield from _read_script(stream, script, summary)
        except DAMAGED:
            summary.notes.append(f"{script} in {source.name} is damaged; what came before the damage was read.")


def _read_script(stream: BinaryIO, script: str, summary: ArchiveSummary) -> Iterator[dict[str, Any]]:
    decode = codecs.getincrementaldecoder("utf-8-sig")("replace").decode
    text, position, ended = "", 0, False
    begun = False
    while True:
        if not ended and len(text) - position < CHUNK:
            chunk = stream.read(CHUNK)
            ended = not chunk
            text, position = text[position:] + decode(chunk, ended), 0
        if not begun:
            start = BEGINNING.match(text)
            if not start:
                summary.notes.append(f"{script} does not begin as X's scripts do and was left out.")
                return
            begun, position = True, start.end()
        position = BETWEEN.match(text, position).end()
        if text[position : position + 1] == "]":
            return
        if position == len(text):
            if ended:
                summary.notes.append(f"{script} is cut short; what is there was read.")
                return
            continue
        try:
            element, end = DECODER.raw_decode(text, position)
        except (ValueError, RecursionError):
            if not ended and len(text) - position < MAX_ELEMENT:
                text += decode(chunk := stream.read(CHUNK), not chunk)
                ended = not chunk
                continue
            summary.left_out["broken"] += 1
            after = NEXT_ELEMENT.search(text, position + 1)
            position = after.start() if after else len(text)
            continue
        position = end
        tweet = element.get("tweet", element) if isinstance(element, dict) else None
        if isinstance(tweet, dict):
            yield tweet
        else:
            summary.left_out["broken"] += 1


def _to_post(tweet: dict[str, Any], account: _Account) -> Post | str:
    """Return the post, or the reason why it is left out."""
    try:
        post_id = str(tweet.get("id_str") or tweet["id"])
        text = str(tweet.get("full_text") or tweet["text"])
        created_at = _iso(tweet["created_at"])
        if not re.fullmatch(r"[0-9]{1,20}", post_id):
            return "broken"
        if text.startswith("RT @"):
            return "repost"
        if any(
            tweet.get(name) for name in ("in_reply_to_status_id_str", "in_reply_to_status_id", "in_reply_to_user_id")
        ):
            return "reply"
        edits = tweet.get("edit_info", {}).get("initial", {}).get("editTweetIds") or [post_id]
        if post_id != str(edits[-1]):
            return "edited later"
        media = _media(tweet)
        photos = tuple(_photo(item) for item in media if item.get("type") == "photo")
        if not photos:
            return "video" if media else "no photo"
        entities = tweet.get("entities", {})
        own = {item.get("url") for item in media}
        links = {item["url"]: item.get("expanded_url") or item["url"] for item in entities.get("urls", [])}
        return Post(
            post_id=post_id,
            user_id=account.user_id,
            username=account.username,
            created_at=created_at,
            lang=tweet.get("lang"),
            text=_unwind(text, links, own),
            likes=_count(tweet, "favorite_count"),
            reposts=_count(tweet, "retweet_count"),
            replies=0,
            quotes=0,
            photos=photos,
            origin="archive",
            urls=tuple(links.values()),
            hashtags=tuple(str(item["text"]) for item in entities.get("hashtags", [])),
            mentions=tuple(str(item["screen_name"]) for item in entities.get("user_mentions", [])),
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return "broken"


def _media(tweet: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all media; `entities` alone knows only the first, and calls a video a photo."""
    extended = tweet.get("extended_entities", {}).get("media")
    return list(extended or tweet.get("entities", {}).get("media") or [])


def _photo(item: dict[str, Any]) -> Photo:
    media_id = str(item.get("id_str") or item["id"])
    if not re.fullmatch(r"[0-9]{1,20}", media_id):
        raise ValueError(f"media id {media_id}")
    size = item.get("sizes", {}).get("large", {})
    return Photo(
        media_key=f"3_{media_id}",  # as the API calls it
        # So that a file that the archive lacks can be fetched by `tweetcap collect`.
        url=str(item["media_url_https"]) if item.get("media_url_https") else None,
        width=int(size["w"]) if "w" in size else None,
        height=int(size["h"]) if "h" in size else None,
        alt_text=item.get("ext_alt_text"),
    )


def _unwind(text: str, links: dict[str, str], own: set[str | None]) -> str:
    """Put what short links stand for in their place, without those of the post's own photos."""
    return html.unescape(SHORT_LINK.sub(lambda m: "" if m[0] in own else links.get(m[0], m[0]), text)).strip()


def _count(tweet: dict[str, Any], name: str) -> int:
    return min(max(0, int(tweet.get(name) or 0)), 2**63 - 1)  # what a column of a corpus holds


def _iso(date: str) -> str:
    """Turn "Tue Apr 07 14:56:43 +0000 2015" into the API's "2015-04-07T14:56:43.000Z"."""
    moment = datetime.strptime(date, "%a %b %d %H:%M:%S %z %Y").astimezone(UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# --- The photos -----------------------------------------------------------------------------------


class _Photos:
    """The photos of the archive, stored as they are met; those that are there already are passed over."""

    def __init__(self, source: _Source, folder: Path, summary: ArchiveSummary) -> None:
        self._source, self._folder, self._summary = source, folder, summary
        self._known = read_photos(folder)

    def store(self, post: Post, tweet: dict[str, Any]) -> None:
        items = {f"3_{item.get('id_str') or item.get('id')}": item for item in _media(tweet)}
        for photo in post.photos:
            record = self._known.get(photo.media_key)
            if record is None or not record.path or not (self._folder / record.path).is_file():
                data = self._read(post.post_id, items[photo.media_key])
                if data is None:
                    continue
                if record is None or not record.error or _is_photo(data):  # the same fault is on file already
                    record = store_photo(self._folder, photo.media_key, data, photo.url)
                self._known[photo.media_key] = record
            if record.path:
                self._summary.photos += 1
            else:
                self._summary.failed.append(f"{photo.media_key} of post {post.post_id}: {record.error}")

    def _read(self, post_id: str, item: dict[str, Any]) -> bytes | None:
        """Return the photo's file, None with a sentence in the summary where it can't be had."""
        address = str(item.get("media_url_https") or item.get("media_url") or "")
        file = f"{post_id}-{urlsplit(address).path.rpartition('/')[2]}"
        paths = [f"{self._source.data}{media}/{file}" for media in MEDIA_FOLDERS]
        path = next((path for path in paths if self._source.has(path)), None)
        if path is None:
            self._summary.failed.append(f"{file} is missing in the archive.")
            return None
        if self._source.size(path) > MAX_BYTES:
            self._summary.failed.append(f"{file} has more than {MAX_BYTES // 2**20} MB.")
            return None
        try:
            with self._source.open(path) as stream:
                return stream.read(MAX_BYTES + 1)
        except DAMAGED:
            self._summary.failed.append(f"{file} is damaged in the archive.")
            return None


def _is_photo(data: bytes) -> bool:
    try:
        load_photo(data)
    except PhotoError:
        return False
    return True
