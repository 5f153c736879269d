"""Ask X which posts and users of a collection were deleted since, by its batch compliance jobs, and forget them.

A job is made, takes a list of ids, works for a while and then offers the list of those that must go. Its number is
written down as soon as X gives it (`compliance.json`), so that a cut run goes on with the same job; its addresses,
which open to whoever has them, are asked for again and never stored.
"""

import ipaddress
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from tweetcap.collect.client import Client, RefusedError
from tweetcap.collect.consent import Forgotten, forget, known_ids
from tweetcap.collect.raw import now, write_atomically

JOBS = Path("compliance.json")
KINDS = ("tweets", "users")  # as X calls them
ATTEMPTS = 4
# X says minutes for small lists; after this the job goes on there and the next run asks for it.
FIRST_PAUSE, LONGEST_PAUSE, LONGEST_WAIT = 5.0, 60.0, 30 * 60.0  # seconds
# Nothing of an author's wish to be left alone: a place is never collected.
HARMLESS = ("scrub_geo",)


@dataclass
class Refreshed:
    """What the jobs found.

    Attributes:
        checked: kind → ids that X looked at.
        reasons: why X wants posts or users removed → how many.
        forgotten: what was taken out for it, by kind.
        waiting: jobs that X hasn't finished; run again later.
    """

    checked: dict[str, int] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    forgotten: dict[str, Forgotten] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)


def refresh(
    folder: Path,
    client: Client,
    *,
    derived: Iterable[Path] = (),
    kinds: Iterable[str] = KINDS,
    report: Callable[[str], None] = lambda sentence: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Refreshed:
    """Run a compliance job for the posts and one for the users, and forget what X says must go.

    Args:
        folder: the collection; the caller holds its lock.
        derived: as in `forget`.
        report: told in a sentence of each step that takes time.
        sleep: waits some seconds.

    Raises:
        RefusedError, StopError: X gives no job.
        ValueError: X answers with something else than a job, or an upload or download fails for good.
    """
    refreshed = Refreshed()
    derived = list(derived)
    for kind in kinds:
        ids = known_ids(folder, kind, derived)
        job = _job(folder, client, kind, ids, report, sleep)
        if job is None:
            continue
        job = _wait(client, job, report, sleep)
        if job["status"] != "complete":
            refreshed.waiting.append(job["id"])
            continue
        try:
            rows = list(_download(job["download_url"], sleep))
        except _RefusedTransferError:
            _note(folder, kind, None)  # X keeps results for days only; the next run makes a new job
            raise
        gone = [str(row["id"]) for row in rows if _must_go(row)]
        refreshed.checked[kind] = _jobs(folder)[kind]["ids"]
        refreshed.reasons.update(str(row.get("reason", "unknown")) for row in rows if _must_go(row))
        named = {"post_ids": gone} if kind == "tweets" else {"users": gone}
        # Also where nothing must go: a forget that was killed is completed.
        refreshed.forgotten[kind] = forget(folder, derived=derived, reason="deleted on X", **named)
        _note(folder, kind, None)
    return refreshed


def _must_go(row: dict[str, Any]) -> bool:
    return (
        str(row.get("id", "")).isdigit()
        and row.get("action", "delete") == "delete"
        and row.get("reason") not in HARMLESS
    )


# --- A job ----------------------------------------------------------------------------------------


def _job(
    folder: Path,
    client: Client,
    kind: str,
    ids: list[str],
    report: Callable[[str], None],
    sleep: Callable[[float], None],
) -> dict[str, Any] | None:
    """Return a job that has its ids: the one of a cut run if X still has it, or a new one; None without ids."""
    job = None
    if kind in _jobs(folder):
        job = _look_up(client, _jobs(folder)[kind]["job_id"])
        if job is None:
            _note(folder, kind, None)
    if job is None:
        if not ids:
            return None
        job = _data(client.call("create_compliance_job", kind, name="tweetcap"))
        _note(folder, kind, {"job_id": job["id"], "ids": len(ids), "at": now()})
    if job["status"] == "created":
        report(
            f"Uploading {len(ids)} ids of {'posts' if kind == 'tweets' else 'users'} to X's compliance job {job['id']}."
        )
        _note(folder, kind, {"job_id": job["id"], "ids": len(ids), "at": now()})
        try:
            _upload(job["upload_url"], "".join(f"{one}\n" for one in ids).encode(), sleep)
        except _RefusedTransferError:
            _note(folder, kind, None)  # its address lives a quarter of an hour; the next run makes a new job
            raise
    return job


def _look_up(client: Client, job_id: str) -> dict[str, Any] | None:
    """Return X's word on a job, None if it has none or can't be gone on with."""
    try:
        job = _data(client.call("get_compliance_job", job_id))
    except RefusedError as error:
        if error.status == 404:
            return None
        raise
    return None if job["status"] in ("failed", "expired") else job


def _data(body: dict[str, Any]) -> dict[str, Any]:
    job = body.get("data")
    if not isinstance(job, dict) or not {"id", "status", "upload_url", "download_url"} <= job.keys():
        raise ValueError("X's answer describes no compliance job; run the same command again later.")
    return job


def _wait(
    client: Client, job: dict[str, Any], report: Callable[[str], None], sleep: Callable[[float], None]
) -> dict[str, Any]:
    """Ask for the job until it is complete, ever less often."""
    waited, pause = 0.0, FIRST_PAUSE
    while True:
        latest = _look_up(client, job["id"])
        if latest is None:
            raise ValueError(f"X gave up on the compliance job {job['id']}; run the same command again.")
        if latest["status"] == "complete" or waited >= LONGEST_WAIT:
            return latest
        if not waited:
            report(f"Waiting for X's compliance job {job['id']}; it can be interrupted and gone on with.")
        sleep(pause)
        waited, pause = waited + pause, min(2 * pause, LONGEST_PAUSE)


def _jobs(folder: Path) -> dict[str, Any]:
    try:
        jobs = json.loads((folder / JOBS).read_text("utf-8"))
        return {kind: jobs[kind] for kind in KINDS if {"job_id", "ids"} <= jobs.get(kind, {}).keys()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError):
        raise ValueError(f"{folder / JOBS} is broken; delete it to begin a new compliance job.") from None


def _note(folder: Path, kind: str, job: dict[str, Any] | None) -> None:
    jobs = {other: value for other, value in _jobs(folder).items() if other != kind}
    write_atomically(folder / JOBS, json.dumps(jobs | ({kind: job} if job else {}), indent=1).encode())


# --- Its files ------------------------------------------------------------------------------------


class _RefusedTransferError(ValueError):
    """The address isn't valid any more."""


def _upload(url: str, content: bytes, sleep: Callable[[float], None]) -> None:
    headers = {"Content-Type": "text/plain"}
    _transfer(lambda client: client.put(url, content=content, headers=headers), url, "upload to", sleep)


def _download(url: str, sleep: Callable[[float], None]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a job's result, one JSON object a line."""
    for line in _transfer(lambda client: client.get(url), url, "download from", sleep).content.splitlines():
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise ValueError("the result of X's compliance job is damaged; run the same command again.")
            yield row


def _transfer(
    send: Callable[[httpx.Client], httpx.Response], url: str, what: str, sleep: Callable[[float], None]
) -> httpx.Response:
    """Try a few times; the address is a key to the data, and in no message."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not _is_loopback(parts.hostname or ""):
        raise ValueError("X's compliance job names an address that is not https; nothing was sent there.")
    reason = ""
    with httpx.Client(timeout=httpx.Timeout(60, connect=10), follow_redirects=False) as client:
        for attempt in range(ATTEMPTS):
            if attempt:
                sleep(2.0**attempt)
            try:
                response = send(client)
            except httpx.HTTPError as error:
                reason = type(error).__name__
                continue
            if response.status_code in (200, 201):
                return response
            reason = str(response.status_code)
            if response.status_code < 500 and response.status_code != 429:
                raise _RefusedTransferError(
                    f"the {what} X's compliance job was refused ({reason}); run the same command again."
                )
    raise ValueError(f"the {what} X's compliance job failed ({reason}); run the same command again.")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
