"""Bring the photos of collected posts: checked by content, named by their SHA-256, written atomically.

Only X's own photo server is asked, over https, and a redirect is never followed: an address in a post's data
can't make this machine ask another one. Files are decoded by `tweetcap.data.photo` before they are kept.
"""

import hashlib
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import imagehash
from PIL import Image

from tweetcap.collect.posts import PHOTOS, Photo, PhotoRecord, read_photos
from tweetcap.collect.raw import AppendOnly, write_atomically
from tweetcap.data.photo import MAX_BYTES, PhotoError, load_photo

PHOTO_ORIGINS = ("https://pbs.twimg.com",)
ATTEMPTS = 4
AT_ONCE = 4
GONE = (404, 410)


def store_photo(folder: Path, media_key: str, data: bytes, url: str | None = None) -> PhotoRecord:
    """Keep one photo in the collection and append its record to `photos.jsonl`.

    Args:
        folder: the collection; the caller holds its lock.
        media_key: the photo's key.
        data: the file as it came; what it is, its content decides.
        url: where it came from, None for an archive.

    Returns:
        The record. Where the data is no photo that can be used, it has an `error` and no `path`.

    Raises:
        OSError: if the collection can't be written.
    """
    record = _keep(folder, media_key, data, url)
    with AppendOnly(folder / PHOTOS) as records:
        records.append(record.to_row())
    return record


def fetch_photos(
    folder: Path,
    photos: Iterable[Photo],
    *,
    origins: Collection[str] = PHOTO_ORIGINS,
    sleep: Callable[[float], None] = time.sleep,
    done: Callable[[PhotoRecord], None] = lambda record: None,
) -> dict[str, PhotoRecord]:
    """Download the photos that aren't in the collection yet, a few at once, and record them in their order.

    Args:
        folder: the collection; the caller holds its lock.
        photos: those without a `url`, and those that are there or known to be gone, are passed over.
        origins: schemes and hosts that may be asked.
        sleep: waits between two tries, in seconds.
        done: called with each record as it is written.

    Returns:
        The record of each photo that was asked for now, by its media key.

    Raises:
        OSError: if the collection can't be written.
    """
    known = read_photos(folder)
    wanted = {photo.media_key: photo for photo in missing_photos(photos, known)}
    fetched: dict[str, PhotoRecord] = {}
    # Timeouts are of httpx's connect, read, write and pool, in seconds.
    with (
        httpx.Client(timeout=httpx.Timeout(30, connect=10), follow_redirects=False) as client,
        AppendOnly(folder / PHOTOS) as records,
    ):
        downloads = _in_order(wanted.values(), lambda photo: _download(client, photo, origins, sleep))
        for photo, result in downloads:
            if isinstance(result, bytes):
                record = _keep(folder, photo.media_key, result, photo.url)
            else:
                record = result
            if record != known.get(photo.media_key):  # the same failure as last time is on file
                records.append(record.to_row())
            fetched[photo.media_key] = record
            done(record)
    return fetched


def missing_photos(photos: Iterable[Photo], known: dict[str, PhotoRecord]) -> list[Photo]:
    """Return the photos that can be asked for: with an address, and neither there nor known to be gone."""
    records = [(photo, known.get(photo.media_key)) for photo in photos if photo.url]
    return [photo for photo, record in records if record is None or not (record.path or record.gone)]


# --- One photo --------------------------------------------------------------------------------------


def _keep(folder: Path, media_key: str, data: bytes, url: str | None) -> PhotoRecord:
    """Check the photo and write its file; the record isn't written yet."""
    try:
        pixels = load_photo(data)
    except PhotoError as error:
        # Whoever reads this has no "given bytes" before them, but a photo of a post.
        return PhotoRecord(media_key, url, error=str(error).replace("The photo in the given bytes", "The photo"))
    sha256 = hashlib.sha256(data).hexdigest()
    path = f"photos/{sha256[:2]}/{sha256}{_suffix(data)}"
    if not _is_there(folder / path, len(data)):
        write_atomically(folder / path, data)
    _, height, width = pixels.shape
    # Pillow only scales what our own decoder has read: it never sees the file.
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    return PhotoRecord(
        media_key=media_key,
        url=url,
        path=path,
        sha256=sha256,
        bytes=len(data),
        width=width,
        height=height,
        perceptual_hash=str(imagehash.phash(image)),
    )


def _is_there(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _suffix(data: bytes) -> str:
    """Return the suffix of a photo that `load_photo` has read."""
    if data.startswith(b"\x89PNG"):
        return ".png"
    if data.startswith(b"GIF8"):
        return ".gif"
    return ".webp" if data.startswith(b"RIFF") else ".jpg"


def _download(
    client: httpx.Client, photo: Photo, origins: Collection[str], sleep: Callable[[float], None]
) -> bytes | PhotoRecord:
    """Return the file, or the record that says why there is none."""

    def failed(reason: str, gone: bool = False) -> PhotoRecord:
        return PhotoRecord(photo.media_key, photo.url, error=reason, gone=gone)

    if not _allowed(photo.url, origins):
        return failed(f"{photo.url} is no address of X's photo server and was not asked.")
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            sleep(2.0 ** (attempt - 1))
        try:
            status, data = _get(client, photo.url)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = f"{photo.url} could not be read ({type(error).__name__}); run the same command again."
            continue
        if status in GONE:
            return failed(f"{photo.url} is gone ({status}).", gone=True)
        if status == 200 and data is None:
            return failed(f"{photo.url} has more than {MAX_BYTES // 2**20} MB and was left out.")
        if status == 200:
            return data
        reason = f"{photo.url} was answered with {status}; run the same command again."
        if status != 429 and status < 500:
            break
    return failed(reason)


def _allowed(url: str, origins: Collection[str]) -> bool:
    try:
        parts = urlsplit(str(url))  # nobody has checked yet that it is text
        return f"{parts.scheme}://{parts.netloc}" in origins  # netloc holds a user and a port, if there are any
    except ValueError:
        return False


def _get(client: httpx.Client, url: str) -> tuple[int, bytes | None]:
    """Return the status and the body, or None for a body that is over the size limit."""
    with client.stream("GET", url) as response:
        if response.status_code != 200:
            return response.status_code, b""
        data = bytearray()
        for chunk in response.iter_bytes():
            data += chunk
            if len(data) > MAX_BYTES:
                return 200, None
        return 200, bytes(data)


def _in_order(
    photos: Iterable[Photo], download: Callable[[Photo], bytes | PhotoRecord]
) -> Iterator[tuple[Photo, bytes | PhotoRecord]]:
    """Download a few at once and yield them in their order, never holding more than a few files."""
    waiting: deque[tuple[Photo, Future]] = deque()
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        for photo in photos:
            waiting.append((photo, pool.submit(download, photo)))
            if len(waiting) >= 2 * AT_ONCE:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        # After Ctrl-C nobody waits for the rest: the client is closed next, which ends what is under way.
        pool.shutdown(wait=False, cancel_futures=True)
