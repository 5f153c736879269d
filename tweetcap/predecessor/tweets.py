"""Bring the tweets of the 2021 project into a collection, as an archive's are: at no cost, and safe to run again.

    with lock_folder(folder):
        summary = import_tweets(Path("Twitter_Image_Captioning"), folder)
        write_posts(folder)

The project kept neither the posts' ids nor their likes: a post is called as its photo's file was, an account by its
name, and when a post was made, the photo's number tells. `tweetcap dataset build tweets` makes a corpus of the
collection; like every collection it holds other people's texts and photos, and is never published.
"""

import html
import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tqdm import tqdm

from tweetcap.collect.photos import store_photo
from tweetcap.collect.posts import Photo, Post, read_forgotten, read_photos
from tweetcap.collect.raw import ARCHIVE, AppendOnly, read_rows
from tweetcap.data.photo import MAX_BYTES
from tweetcap.predecessor.project import Annotation, find_annotations, read_annotations

# Of X's numbers: milliseconds since this moment stand in front of 22 bits.
EPOCH_MS, MACHINE_BITS = 1_288_834_974_657, 22
PHOTO_SERVER = "pbs.twimg.com/"


@dataclass
class ImportSummary:
    """What became of the project's tweets.

    Attributes:
        posts: tweets that can be used.
        new: those whose row was written now; the others were there.
        photos: photos that the collection now has of them.
        left_out: reason → tweets.
        failed: a sentence for each photo that could not be had.
    """

    accounts: int = 0
    posts: int = 0
    new: int = 0
    photos: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)


def import_tweets(project: Path, folder: Path) -> ImportSummary:
    """Add the tweets and photos of the project's folder to a collection.

    Args:
        folder: the collection; the caller holds its lock and calls `write_posts` afterwards.

    Raises:
        ValueError: there are no annotations, or a file of them can't be used; the message names it.
        OSError: the collection can't be written.
    """
    paths = find_annotations(project)
    if not paths:
        raise ValueError(f"{project} holds no data/annos/*.pickle; name the folder of the 2021 project.")
    rows = [(path, row) for path in paths for row in read_annotations(path)]
    summary = ImportSummary(accounts=len(paths))
    known = {row["post_id"]: row for row in read_rows(folder / ARCHIVE)}
    photos = read_photos(folder)
    forgotten_posts, forgotten_users = read_forgotten(folder)
    with AppendOnly(folder / ARCHIVE) as archive:
        for path, annotation in tqdm(rows, unit="tweet", disable=None):
            if annotation is None:
                summary.left_out["broken"] += 1
                continue
            post = _to_post(annotation)
            if post.post_id in forgotten_posts or post.user_id in forgotten_users:
                summary.left_out["forgotten"] += 1
                continue
            summary.posts += 1
            file = path.parents[1] / "images" / annotation.filename
            reason = _store(file, post.photos[0], folder, photos)
            if reason is None:
                summary.photos += 1
            else:
                summary.failed.append(reason)
            row = json.loads(json.dumps(post.to_row()))
            if known.get(post.post_id) != row:
                archive.append(row)
                known[post.post_id] = row
                summary.new += 1
    return summary


def _to_post(annotation: Annotation) -> Post:
    name = Path(annotation.filename).stem
    return Post(
        post_id=name,
        user_id=annotation.screen_name,
        username=annotation.screen_name,
        created_at=_moment(annotation.media_id),
        lang=None,
        text=html.unescape(annotation.text).strip(),
        likes=0,
        reposts=0,
        replies=0,
        quotes=0,
        photos=(
            # As the API and archives call it, so that a photo is known again.
            Photo(f"3_{annotation.media_id}" if annotation.media_id else name, _address(annotation.media_url)),
        ),
        origin="predecessor",
    )


def _moment(media_id: int | None) -> str:
    """Return when X numbered the photo, as the API writes times; empty where that can't be told."""
    if media_id is None or media_id < 1 << 2 * MACHINE_BITS:  # they just counted before November 2010
        return ""
    moment = datetime.fromtimestamp(((media_id >> MACHINE_BITS) + EPOCH_MS) / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _address(media_url: str | None) -> str | None:
    """Return the address on X's photo server over https, None for any other."""
    _, _, rest = (media_url or "").partition("://")
    return f"https://{rest}" if rest.startswith(PHOTO_SERVER) else None


def _store(file: Path, photo: Photo, folder: Path, known: dict) -> str | None:
    """Keep a photo that isn't kept yet; return why it can't be, as a sentence."""
    record = known.get(photo.media_key)
    if record is not None and record.path and (folder / record.path).is_file():
        return None
    if not file.is_file():
        return f"{file.name} is missing in {file.parent}."
    with file.open("rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    record = store_photo(folder, photo.media_key, data, photo.url)
    known[photo.media_key] = record
    return None if record.path else f"{file.name}: {record.error}"
