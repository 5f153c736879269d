"""Append-only JSONL files that survive any end of the process, and the lock that gives a folder one writer.

A row is on the disk before `append` returns. What a cut leaves of the last line is dropped when the file is
opened again; readers pass over it.
"""

import json
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

log = logging.getLogger(__name__)

PAGES = Path("raw/pages.jsonl")
ARCHIVE = Path("raw/archive.jsonl")
FORGOTTEN = Path("forgotten.jsonl")


class AppendOnly:
    """One JSONL file that only grows.

    with AppendOnly(folder / PAGES) as pages:
        pages.append({"status": 200})
    """

    def __init__(self, path: Path) -> None:
        """Open the file for appending, creating it and its folder, and drop a torn last line."""
        created = not path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("ab", buffering=0)  # a buffer would still hold the rest of a line that failed
        _drop_torn_line(path)
        if created:
            sync_folder(path.parent)

    def append(self, row: dict[str, Any]) -> None:
        """Write one row and wait until it is on the disk.

        Raises:
            OSError: if it can't be; the file is then as it was before.
        """
        size = os.fstat(self._file.fileno()).st_size
        try:
            line = to_line(row)
            while line:
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())
        except OSError:
            # A full disk may have taken half of the line.
            os.truncate(self.path, size)
            raise

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()


def to_line(row: dict[str, Any]) -> bytes:
    """Return the row as one line of UTF-8; a lone surrogate, which UTF-8 can't hold, stays escaped."""
    line = json.dumps(row, ensure_ascii=False)
    try:
        return line.encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(row).encode() + b"\n"


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a JSONL file, none where there is no file.

    A torn last line is passed over; a whole line that holds no JSON object is too, with a warning.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if isinstance(row, dict):
                yield row
            else:
                log.warning("%s line %d holds no JSON object and is left out.", path, number)


def read_pages(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a collection's `raw/pages.jsonl`; one of another shape is passed over with a warning.

    A row is a page if its `status` is 200 and its `body` has no "not_json"; others tell what went wrong.
    """
    for row in read_rows(folder / PAGES):
        request, body = row.get("request"), row.get("body")
        if isinstance(request, dict) and "kind" in request and "status" in row and isinstance(body, dict):
            yield row
        else:
            log.warning("%s: a row is no answer of X and is left out.", folder / PAGES)


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Replace the whole file at once: whoever reads it sees the old one or the new one."""
    write_atomically(path, b"".join(to_line(row) for row in rows))


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that after any cut it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Put a new or renamed file's name on the disk too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold the folder for this process alone; the system releases it at any end of the process.

    Raises:
        ValueError: if another process holds it.
    """
    import fcntl  # here, so that a collection can be read where there is no fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"{folder} is in use by another tweetcap: wait for its end or name another folder."
            ) from None
        for unfinished in [*folder.glob(".*.unfinished"), *folder.glob("photos/*/.*.unfinished")]:
            unfinished.unlink()  # of a process that was killed
        yield


def now() -> str:
    """Return this moment as the API writes times: 2026-01-05T12:34:56.789Z."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _drop_torn_line(path: Path) -> None:
    with path.open("rb+") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - 65536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            file.truncate(end)
            os.fsync(file.fileno())
