"""Ask the X API v2 through tweepy, and get an answer or one sentence that says why there is none.

Every answer goes to `raw/pages.jsonl` as it came, before anything is made of it. Rate limits are waited for,
faults are tried again a few times, and each try is in the ledger before it is made. The token is in the
header of a request and nowhere else: not in a log, not in an error, not in a file.
"""

import ipaddress
import json
import os
import re
import ssl
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import requests
import tweepy
from urllib3.exceptions import MaxRetryError, NewConnectionError

from tweetcap.collect.budget import Ask, Ledger, Reads, StopError, count_reads
from tweetcap.collect.raw import PAGES, AppendOnly, now

API = "https://api.x.com"
TOKEN_VARIABLE = "X_BEARER_TOKEN"
ATTEMPTS = 6
# Seconds to connect, and between two pieces of an answer.
TIMEOUT = (10.0, 60.0)
# Windows of X's rate limits last a quarter of an hour, some a day; a later time is a mistake in the header.
LONGEST_WAIT = 25 * 60 * 60
NUMBER = r"[0-9]{1,12}"

USER_FIELDS = ["created_at", "protected", "public_metrics"]
POST_FIELDS = [
    "attachments",
    "author_id",
    "created_at",
    "entities",
    "lang",
    "note_tweet",
    "possibly_sensitive",
    "public_metrics",
    "referenced_tweets",
]
MEDIA_FIELDS = ["alt_text", "height", "media_key", "public_metrics", "type", "url", "width"]
# Expanding authors or quoted posts would cost as much as reading them, and nobody needs them here.
POST_PARAMS = {"expansions": ["attachments.media_keys"], "tweet_fields": POST_FIELDS, "media_fields": MEDIA_FIELDS}

KINDS = {"users": "accounts", "timeline": "timelines", "posts": "posts", "compliance": "compliance jobs"}


class RefusedError(ValueError):
    """X doesn't give this one thing; others may still be had. The message is one sentence.

    Attributes:
        status: of X's answer, None where there was none.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class _TransientError(Exception):
    """The same request may succeed later.

    Attributes:
        seconds: how long X asks to wait, None where it doesn't say.
        unsent: the request never left this machine.
        remedy: where the fault isn't of this one request, so that no other is worth a try.
    """

    def __init__(
        self, reason: str, *, seconds: float | None = None, unsent: bool = False, remedy: str | None = None
    ) -> None:
        super().__init__(reason)
        self.seconds = seconds
        self.unsent = unsent
        self.remedy = remedy


def read_token(path: Path | None = None) -> str:
    """Return the app's bearer token from a file, or else from the environment.

    Raises:
        ValueError: if there is none, or it can't be one; the message doesn't show it.
    """
    if path is not None:
        where = str(path)
        try:
            token = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            raise ValueError(f"{path} can't be read as text: check --token-file.") from None
    else:
        where = TOKEN_VARIABLE
        token = os.environ.get(TOKEN_VARIABLE, "")
    token = token.strip().removeprefix("Bearer ").strip()
    if not token:
        raise ValueError(
            f"{where} holds no token: put the bearer token of your X app into {TOKEN_VARIABLE} or into a file "
            "and name that with --token-file."
        )
    if not (token.isascii() and token.isprintable()) or " " in token or len(token) < 8:
        raise ValueError(f"what {where} holds can't be a bearer token: copy it again from X's developer console.")
    return token


class Client:
    """The X API v2 for one collection.

    with Client(folder, read_token(), ledger) as client:
        page = client.users(["example_cat"])
    """

    def __init__(
        self,
        folder: Path,
        token: str,
        ledger: Ledger,
        *,
        api: str = API,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
        report: Callable[[str], None] = lambda sentence: None,
        timeout: tuple[float, float] = TIMEOUT,
    ) -> None:
        """Prepare to ask; nothing is sent yet.

        Args:
            folder: the collection; the caller holds its lock.
            token: see `read_token`.
            ledger: of the same collection.
            api: address of the API; http only on this machine, for tests.
            sleep, clock: wait some seconds; seconds since 1970.
            report: told in one sentence of each wait.
            timeout: seconds to connect, and between two pieces of an answer.

        Raises:
            ValueError: if the token would leave this machine unencrypted.
        """
        parts = urlsplit(api)
        if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
            raise ValueError(f"{api} is not an https address, and the token would travel unencrypted.")
        self._token = token
        self._api = _Api(token, api, timeout)
        self._ledger = ledger
        self._pages = AppendOnly(folder / PAGES)
        self._sleep, self._clock, self._report = sleep, clock, report
        self._limited: dict[str, float] = {}  # kind → when its next window begins, seconds since 1970

    def users(self, names: list[str]) -> dict[str, Any]:
        """Look up at most 100 accounts by name; return the row of `raw/pages.jsonl`.

        Its params say which names were asked for: the budget may not suffice for all.

        Raises:
            RefusedError, StopError: see `ask`.
        """
        return self.ask(Ask("users", None, {"usernames": names, "user_fields": USER_FIELDS}))

    def posts(self, ids: list[str]) -> dict[str, Any]:
        """Look up at most 100 posts by id; return the row of `raw/pages.jsonl`.

        Its params say which ids were asked for: the budget may not suffice for all. Posts that are gone are in
        the body's `errors`.

        Raises:
            RefusedError, StopError: see `ask`.
        """
        return self.ask(Ask("posts", None, {"ids": ids, **POST_PARAMS}))

    def ask(self, ask: Ask) -> dict[str, Any]:
        """Make one request that costs money, as small as the budget demands; return its row.

        Raises:
            RefusedError: if X doesn't give it, or every try failed.
            StopError: if nothing more can be had: no money, no access, no network.
        """
        return self._persist(ask.kind, lambda: self._try_ask(ask))

    def call(self, method: str, *args, **params) -> dict[str, Any]:
        """Call a method of tweepy's client that costs nothing, such as "get_compliance_job"; return the body.

        The answer isn't stored: that of a compliance job holds addresses that open to whoever has them.

        Raises:
            RefusedError, StopError: as `ask`.
        """

        def attempt() -> dict[str, Any]:
            response = self._send(lambda: getattr(self._api, method)(*args, **params))
            row = self._row({"kind": "compliance"}, response)
            self._check(row)
            return row["body"]

        return self._persist("compliance", attempt)

    def close(self) -> None:
        self._pages.close()
        self._api.session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    # One request

    def _persist(self, kind: str, attempt: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Try up to `ATTEMPTS` times, waiting as long as X says or else twice as long each time."""
        self._wait_for_window(kind)
        for number in range(1, ATTEMPTS + 1):
            try:
                return attempt()
            except _TransientError as problem:
                if number < ATTEMPTS:
                    self._wait(problem, number)
                elif problem.remedy:
                    raise StopError(f"{problem}, {ATTEMPTS} times in a row: {problem.remedy}.") from None
                else:
                    raise RefusedError(f"{problem}, {ATTEMPTS} times in a row.") from None
        raise AssertionError

    def _try_ask(self, ask: Ask) -> dict[str, Any]:
        ask = self._ledger.fit(ask)
        number = self._ledger.ask(ask)
        try:
            response = self._send(lambda: self._api.send(ask))
        except _TransientError as problem:
            if problem.unsent:
                self._ledger.not_sent(number)
            raise
        request = {"number": number, "kind": ask.kind, "account": ask.account, "params": ask.params}
        row = self._row(request, response)
        self._pages.append(row)
        self._ledger.answered(row)
        self._note_window(ask.kind, row)
        self._check(row)
        return row

    def _send(self, send: Callable[[], requests.Response]) -> requests.Response:
        try:
            return send()
        except requests.RequestException as error:
            if _never_sent(error):
                reason = f"X can't be reached ({type(error).__name__})"
                remedy = "check the network and run the same command again"
                raise _TransientError(reason, unsent=True, remedy=remedy) from None
            late = isinstance(error, requests.Timeout)
            reason = "X did not answer in time" if late else f"the connection to X was cut ({type(error).__name__})"
            raise _TransientError(reason) from None

    def _row(self, request: dict[str, Any], response: requests.Response) -> dict[str, Any]:
        """Return what is stored of an answer; `reads` is null where nobody can say what was charged."""
        # X has no reason to send the token back, but what is stored must not depend on that.
        text = response.content.decode("utf-8", "replace").replace(self._token, "[token]")
        try:
            body = json.loads(text)
        except (ValueError, RecursionError):
            body = None
        answered = response.status_code // 100 == 2
        readable = isinstance(body, dict) and (not answered or _is_page(request["kind"], body))
        reads = count_reads(request["kind"], body) if readable and answered else Reads()
        limits = {name: response.headers.get(f"x-rate-limit-{name}") for name in ("limit", "remaining", "reset")}
        return {
            "request": request,
            "received_at": now(),
            "status": response.status_code,
            "rate_limit": {name: value for name, value in limits.items() if value and re.fullmatch(NUMBER, value)},
            "reads": asdict(reads) if readable or not answered else None,
            "body": body if readable else {"not_json": text[:20_000]},
        }

    def _check(self, row: dict[str, Any]) -> None:
        """Raise what the answer calls for, if it isn't a page.

        Raises:
            _TransientError, RefusedError, StopError
        """
        status, body = row["status"], row["body"]
        problem = _problem(body)
        kind = row["request"]["kind"]
        if status == 200 or (status == 201 and kind == "compliance"):
            if "not_json" in body:
                raise _TransientError("X's answer was damaged")
            # A page without posts has its meta, and may have errors about posts that others deleted.
            if kind == "timeline" and not body.keys() & {"data", "meta"} and body.get("errors"):
                raise RefusedError(f"X gives no timeline: {detail(body['errors'][0])}", status)
            return
        if status == 402 or _is_about_money(body):
            raise StopError(
                f"X says that the credits or the spending limit of your app are used up ({status}{problem}): see "
                "its developer console, then run the same command again."
            )
        if status == 401:
            raise StopError(
                f"X refused the token (401{problem}): check that {TOKEN_VARIABLE} or --token-file holds the bearer "
                "token of your app."
            )
        if status == 403 and "not-authorized-for-resource" not in str(body.get("type")):
            raise StopError(
                f"X refused access (403{problem}): check in the developer console that your app may read posts "
                "over the API v2."
            )
        if status == 429:
            seconds = self._seconds_until(row["rate_limit"].get("reset"))
            remedy = "run the same command again later"
            raise _TransientError("X's rate limit is reached", seconds=seconds, remedy=remedy)
        if status >= 500 or status == 408:
            raise _TransientError(f"X answered with {status}")
        raise RefusedError(f"X answered with {status}{problem}.", status)

    # Waiting

    def _wait(self, problem: _TransientError, attempt: int) -> None:
        if problem.seconds is not None:
            self._pause(problem.seconds, f"{problem}, and its header says when to go on")
        else:
            again = f"trying again, {attempt + 1} of {ATTEMPTS}"
            self._pause(2.0**attempt, f"{problem}; {again}")

    def _note_window(self, kind: str, row: dict[str, Any]) -> None:
        if row["rate_limit"].get("remaining") == "0" and row["status"] == 200:
            seconds = self._seconds_until(row["rate_limit"].get("reset"))
            if seconds is not None:
                self._limited[kind] = self._clock() + seconds

    def _wait_for_window(self, kind: str) -> None:
        seconds = self._limited.pop(kind, 0) - self._clock()
        if seconds > 0:
            self._pause(seconds, f"X allows no more requests for {KINDS[kind]} in this window")

    def _pause(self, seconds: float, reason: str) -> None:
        end = datetime.fromtimestamp(self._clock() + seconds, UTC)
        self._report(
            f"{reason}: waiting {_duration(seconds)}, until {end:%H:%M:%S} UTC. Ctrl-C stops, nothing is lost."
        )
        self._sleep(seconds)

    def _seconds_until(self, reset: str | None) -> float | None:
        """Return the seconds to wait by a header's time, one more for rounding; None if it makes no sense."""
        if reset is None:
            return None
        seconds = int(reset) - self._clock() + 1
        return max(seconds, 1.0) if seconds <= LONGEST_WAIT else None


class _Api(tweepy.Client):
    """tweepy's client with another `request`: any status is an answer, and nothing is logged.

    tweepy's own writes the headers, and so the token, to its debug log, knows one host only, has no timeout
    and follows redirects.
    """

    def __init__(self, token: str, api: str, timeout: tuple[float, float]) -> None:
        super().__init__(return_type=requests.Response)
        self._auth = _BearerAuth(token)
        self._address = api.rstrip("/")
        self._timeout = timeout

    def send(self, ask: Ask) -> requests.Response:
        methods = {"users": self.get_users, "timeline": self.get_users_tweets, "posts": self.get_tweets}
        return methods[ask.kind](**ask.params)

    def request(self, method, route, params=None, json=None, user_auth=False) -> requests.Response:
        return self.session.request(
            method,
            self._address + route,
            params=params,
            json=json,
            headers={"User-Agent": self.user_agent},
            auth=self._auth,
            timeout=self._timeout,
            allow_redirects=False,
        )


class _BearerAuth(requests.auth.AuthBase):
    """As an `auth`, and not as a header, so that requests puts no password of a .netrc in its place."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _never_sent(error: requests.RequestException) -> bool:
    """Return whether the request can't have left: then X can't have charged it."""
    if isinstance(error, (requests.ConnectTimeout, requests.exceptions.ProxyError)):
        return True
    cause = error.args[0] if error.args else None
    if not isinstance(cause, MaxRetryError):
        return False
    reason = cause.reason
    wrong_certificate = bool(reason.args) and isinstance(reason.args[0], ssl.SSLCertVerificationError)
    return isinstance(reason, NewConnectionError) or wrong_certificate


def _is_page(kind: str, body: dict[str, Any]) -> bool:
    """Return whether the parts that are read from every page have the shape that X documents."""
    data, meta, includes = body.get("data", []), body.get("meta", {}), body.get("includes", {})
    if kind == "compliance" and isinstance(data, dict):  # one job
        return True
    if not (isinstance(meta, dict) and isinstance(includes, dict)):
        return False
    for rows in (data, body.get("errors", []), *includes.values()):
        if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
            return False
    ids = [row.get("id") for row in data] + [meta[name] for name in ("newest_id", "oldest_id") if name in meta]
    ids_are_numbers = all(isinstance(number, str) and re.fullmatch(r"[0-9]{1,19}", number) for number in ids)
    return ids_are_numbers and isinstance(meta.get("next_token", ""), str)


def _is_about_money(body: dict[str, Any]) -> bool:
    text = f"{body.get('title')} {body.get('type')}".lower()
    return any(word in text for word in ("creditsdepleted", "usagecap", "usage-capped", "spendcap"))


def _problem(body: dict[str, Any]) -> str:
    """Return what X says is wrong, to stand behind a status."""
    errors = body.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    words = detail(first) if first else detail(body)
    return f", {words}" if words else ""


def detail(problem: Any) -> str:
    """Return X's own words on an error, on one line and no longer than one."""
    if not isinstance(problem, dict):
        return ""
    text = problem.get("detail") or problem.get("message") or problem.get("title") or ""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())[:200].rstrip(".")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours} h" if hours else "", f"{minutes} min" if minutes else "", f"{rest} s" if rest else ""]
    return " ".join(part for part in parts if part) or "a moment"
