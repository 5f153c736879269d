"""Download a file so that 19 GB survive a cut at any byte.

    download("http://images.cocodataset.org/zips/val2014.zip", "val2014.zip", size=6_645_013_297, md5="a3d79f…")

What has come lies in `val2014.zip.partial`, and what it is a part of in `val2014.zip.partial.json`. A later call, also
after kill -9, asks the server for the rest, on the condition that the file is still the same (RFC 9110, If-Range); a
server that can't say so sends the whole file again. The name appears only when size and checksum are right.
"""

import email.utils
import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
from filelock import FileLock, Timeout
from tqdm import tqdm

ATTEMPTS = 8  # without a new byte in between
LONGEST_WAIT = 60.0
LONGEST_RETRY_AFTER = 900.0
TIMEOUT = httpx.Timeout(60.0, connect=30.0)


class DownloadError(ValueError):
    """The file can't be had; the message is one sentence that names it and says what to do.

    Attributes:
        status: the server's answer if that was the reason.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class _TryAgainError(Exception):
    """This attempt failed and another may not; `wait` is what the server asked for, in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class Version:
    """Which file a partial one is a part of, as the server told.

    Attributes:
        etag: the strong ETag; a weak one doesn't vouch for bytes.
        modified: Last-Modified.
        total: bytes of the whole file.
    """

    url: str
    etag: str | None = None
    modified: str | None = None
    total: int | None = None

    @property
    def validator(self) -> str | None:
        return self.etag or self.modified


def download(
    url: str,
    path: str | Path,
    *,
    size: int | None = None,
    md5: str | None = None,
    sha256: str | None = None,
    limit: int | None = None,
    seconds: float | None = None,
    attempts: int = ATTEMPTS,
    client: httpx.Client | None = None,
    say: Callable[[str], None] = lambda message: tqdm.write(message, file=sys.stderr),
    progress: bool = True,
) -> Path:
    """Download a file, or the rest of it; return its path.

    A file of that name is taken to be an earlier call's work, and only its size is looked at.

    Args:
        size, md5, sha256: what is known of the file; it must be so.
        limit: refuse a file of more bytes than this.
        seconds: give up an attempt that takes longer.
        attempts: how often to try without a single new byte in between; waits double from one second.
        client: for many small files; else one is made for this.
        say: told in a sentence why it waits.
        progress: show a bar on a terminal.

    Raises:
        DownloadError: the server refuses, what it sends is not what was promised, or it went silent for good.
    """
    path = Path(path)
    if path.is_file() and size in (None, path.stat().st_size):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    checks = _Checks(size, md5, sha256, limit)
    with (
        _alone(path),
        tqdm(desc=path.name, total=size, unit="B", unit_scale=True, disable=None if progress else True) as bar,
    ):
        part = _Part(url, path, checks)
        best, failures, corrupt = part.size(), 0, 0
        while True:
            bar.n = part.size()
            bar.refresh()
            try:
                with _client(client) as http:
                    _fetch(http, part, checks, bar, seconds)
                problem = part.problem()
                if problem is None:
                    return part.finish()
                part.discard()
                corrupt += 1
                if corrupt == 2:
                    raise DownloadError(f"{url} {problem}; it was changed at its source or on the way.")
                reason, wait = problem, None
            except _TryAgainError as error:
                reason, wait = str(error), error.wait
            failures = 0 if part.size() > best else failures + 1
            best = max(best, part.size())
            if failures >= attempts:
                kept = f"; {part.size():,} bytes are kept for the next try" if part.size() else ""
                raise DownloadError(f"{url} {reason}, {attempts} times in a row{kept}.")
            if wait is None:
                wait = min(2.0 ** (failures - 1), LONGEST_WAIT) if failures else 0.1
            if wait >= 5:
                say(f"{path.name}: {reason}; trying again in {wait:.0f} s.")
            time.sleep(wait)


@dataclass(frozen=True)
class _Checks:
    size: int | None
    md5: str | None
    sha256: str | None
    limit: int | None

    @property
    def has_digest(self) -> bool:
        return bool(self.md5 or self.sha256)

    def refuse_size(self, url: str, size: int) -> None:
        if self.limit is not None and size > self.limit:
            raise DownloadError(f"{url} has more than the {self.limit:,} bytes allowed.")


class _Part:
    """The file as far as it has come, and the version that it is a part of."""

    def __init__(self, url: str, path: Path, checks: _Checks) -> None:
        self.url, self.path, self.checks = url, path, checks
        self.partial = path.with_name(path.name + ".partial")
        self.about = path.with_name(path.name + ".partial.json")
        self.version = Version(url)
        try:
            self.version = Version(**json.loads(self.about.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            self.discard()
        if self.version.url != url:
            self.discard()

    def can_go_on(self) -> bool:
        # Without a validator only a checksum at the end can tell that the two halves belong together.
        return bool(self.version.validator) or self.checks.has_digest

    def size(self) -> int:
        return self.partial.stat().st_size if self.partial.exists() else 0

    def discard(self) -> None:
        self.partial.unlink(missing_ok=True)
        self.about.unlink(missing_ok=True)
        self.version = Version(self.url)

    def begin(self, version: Version) -> None:
        """Start from the first byte of this version."""
        # In this order a cut in between leaves no bytes of one version under the name of another.
        self.discard()
        self.version = version
        self.about.write_text(json.dumps(asdict(version)), encoding="utf-8")

    def problem(self) -> str | None:
        """Return what is wrong with the whole file, checked against all that is known of it."""
        size = self.size()
        if self.checks.size is not None and size != self.checks.size:
            return f"has {size:,} bytes and not {self.checks.size:,}"
        for name in ("md5", "sha256"):
            wanted = getattr(self.checks, name)
            if wanted and (found := _digest(self.partial, name)) != wanted:
                return f"has the {name} {found} and not {wanted}"
        return None

    def finish(self) -> Path:
        with self.partial.open("rb") as file:
            os.fsync(file.fileno())
        self.partial.replace(self.path)
        self.about.unlink(missing_ok=True)
        return self.path


def _digest(path: Path, name: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(name, usedforsecurity=False)).hexdigest()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    lock = FileLock(path.with_name(path.name + ".lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise DownloadError(f"{path} is being downloaded by another process; wait for it.") from None
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


@contextmanager
def _client(client: httpx.Client | None) -> Iterator[httpx.Client]:
    if client is not None:
        yield client
        return
    with httpx.Client(timeout=TIMEOUT, follow_redirects=True) as own:
        yield own


# --- One attempt ----------------------------------------------------------------------------------


def _fetch(http: httpx.Client, part: _Part, checks: _Checks, bar: tqdm, seconds: float | None) -> None:
    """Ask for what is missing and append it; return when the server says that this was all."""
    have = part.size()
    if have and have == part.version.total:
        return
    if have and not part.can_go_on():
        part.discard()
        have = 0
    # Compressed on the way, the bytes would be no part of the file.
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if part.version.validator:
            headers["If-Range"] = part.version.validator
    started = time.monotonic()
    try:
        with http.stream("GET", part.url, headers=headers) as response:
            _check_status(response, part)
            if response.status_code == 416:  # there is nothing behind what came
                return
            _place(response, part, have, checks)
            with part.partial.open("ab") as file:
                for chunk in response.iter_raw():
                    checks.refuse_size(part.url, file.tell() + len(chunk))
                    file.write(chunk)
                    bar.update(len(chunk))
                    if seconds is not None and time.monotonic() - started > seconds:
                        raise _TryAgainError(f"took more than {seconds:.0f} s")
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.TooManyRedirects) as error:
        raise DownloadError(f"{part.url} can't be fetched ({error}); check the address.") from error
    except httpx.TimeoutException as error:
        raise _TryAgainError("went silent") from error
    except httpx.TransportError as error:
        raise _TryAgainError(f"was cut off ({error or type(error).__name__})") from error
    # A server that names no length and closes the connection early looks as if it had finished.
    total = part.version.total or checks.size
    if total is not None and part.size() < total:
        raise _TryAgainError(f"ended after {part.size():,} of {total:,} bytes")
    if total is not None and part.size() > total:
        part.discard()
        raise _TryAgainError(f"sent more than the {total:,} bytes it announced")


def _check_status(response: httpx.Response, part: _Part) -> None:
    status = response.status_code
    if status == 416:
        total = re.fullmatch(r"bytes \*/(\d+)", response.headers.get("Content-Range", ""))
        if total and int(total[1]) == part.size() and part.version.total in (None, part.size()):
            return
        part.discard()
        raise _TryAgainError("has become shorter than what came of it")
    if status in (200, 206):
        return
    if status in (408, 425, 429) or status >= 500:
        raise _TryAgainError(f"answered {status} {response.reason_phrase}".rstrip(), _retry_after(response))
    what = f"answered {status} {response.reason_phrase}".rstrip()
    raise DownloadError(f"{part.url} {what}; check the address.", status)


def _retry_after(response: httpx.Response) -> float | None:
    """Return the seconds that the server asks to wait, given as a number or as a date."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return min(float(value), LONGEST_RETRY_AFTER)
    try:
        until = email.utils.parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(until - time.time(), 0.0), LONGEST_RETRY_AFTER)


def _place(response: httpx.Response, part: _Part, have: int, checks: _Checks) -> None:
    """See to it that the answer's bytes go where they belong: behind what is there, or to the beginning."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise _TryAgainError("came compressed, which was not asked for")
    length = response.headers.get("Content-Length", "")
    length = int(length) if length.isdecimal() else None
    etag = response.headers.get("ETag")
    version = Version(
        part.url,
        etag=etag if etag and not etag.startswith("W/") else None,
        modified=response.headers.get("Last-Modified"),
        total=length,
    )
    if response.status_code == 206:
        announced = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", ""))
        if not have or not announced or int(announced[1]) != have:
            part.discard()
            raise _TryAgainError("sent another part than the one asked for")
        total = None if announced[3] == "*" else int(announced[3])
        other_etag = None not in (version.etag, part.version.etag) and version.etag != part.version.etag
        other_total = None not in (total, part.version.total) and total != part.version.total
        if other_etag or other_total:
            part.discard()
            raise _TryAgainError("has changed since the download began")
    else:
        total = version.total
    if total is not None:
        _check_total(total, part, checks)
    if response.status_code == 200:
        part.begin(version)


def _check_total(total: int, part: _Part, checks: _Checks) -> None:
    """Refuse a file of another size, or too large for the disk, before what came so far is given up for it."""
    checks.refuse_size(part.url, total)
    if checks.size is not None and total != checks.size:
        raise DownloadError(f"{part.url} has {total:,} bytes and not {checks.size:,}; it was changed at its source.")
    missing = total - part.size() - shutil.disk_usage(part.path.parent).free
    if missing > 0:
        raise DownloadError(f"{part.path.parent} lacks {missing / 1e9:.1f} GB for {part.path.name}; make room first.")
