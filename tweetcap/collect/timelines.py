"""Collect timelines: which pages are missing, and asking for just those.

What was read is known from `raw/pages.jsonl` alone. Ids of posts grow with time, so that each page covers a
span of ids. What is wanted and not covered is asked for, the newest first; a sweep that was cut goes on with
the token of its last page. Accounts are told apart by their user id: one that changes its name goes on, and
whoever takes the old name is someone else.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tweetcap.collect.accounts import Account, Accounts
from tweetcap.collect.budget import MAX_BATCH, MIN_TIMELINE_PAGE, Ask, StopError
from tweetcap.collect.client import POST_PARAMS, Client, RefusedError, detail
from tweetcap.collect.posts import read_forgotten
from tweetcap.collect.raw import now, read_pages, read_rows, write_rows

SET_ASIDE = Path("set_aside.jsonl")

# An id holds the milliseconds since this moment above its last 22 bits.
SNOWFLAKE_EPOCH = 1_288_834_974_657
SNOWFLAKE_BITS = 22
NO_END = 1 << 63


def first_id(moment: datetime) -> int:
    """Return the smallest id that a post of this moment can have."""
    return max(0, int(moment.timestamp() * 1000) - SNOWFLAKE_EPOCH) << SNOWFLAKE_BITS


@dataclass(frozen=True)
class Span:
    """Ids from `low` up to, and without, `high`."""

    low: int
    high: int

    def without(self, others: list["Span"]) -> list["Span"]:
        """Return what is left of this span, the highest first."""
        left = []
        high = self.high
        for other in sorted(others, key=lambda span: -span.high):
            if other.low >= min(high, other.high):
                continue
            if other.high < high:
                left.append(Span(max(self.low, other.high), high))
            high = min(high, other.low)
        left.append(Span(self.low, high))
        return [span for span in left if span.low < span.high]


@dataclass
class Sweep:
    """A row of pages that follow each other.

    Attributes:
        params: of its last request.
        low, high: what was asked for; high is None where no end was given.
        oldest, newest: ids of the posts that came, None before the first.
        token: of the next page, None after the last.
    """

    params: dict[str, Any]
    low: int
    high: int | None
    oldest: int | None = None
    newest: int | None = None
    token: str | None = None

    @property
    def covered(self) -> Span:
        high = self.high
        if high is None:
            # Posts newer than the first page's may have come since.
            high = self.low if self.newest is None else self.newest + 1
        if self.token is None:
            return Span(self.low, high)
        return Span(high if self.oldest is None else self.oldest, high)

    @property
    def rest(self) -> Span:
        """What the next pages will cover."""
        return Span(self.low, self.covered.low if self.oldest is not None else self.high or NO_END)


@dataclass
class Timeline:
    """What was read of one account's timeline.

    Attributes:
        read: number of posts.
        finished: sweeps that came to their end, or were given up.
        sweep: the one that was cut, if any.
    """

    read: int = 0
    finished: list[Span] = field(default_factory=list)
    sweep: Sweep | None = None

    def take(self, page: dict[str, Any]) -> None:
        """Take one row of `raw/pages.jsonl` into account."""
        params, body = page["request"]["params"], page["body"]
        meta = body.get("meta", {})
        ids = [int(post["id"]) for post in body.get("data", [])]
        # These two stay where single posts were taken out of the raw pages later.
        ids += [int(meta[name]) for name in ("oldest_id", "newest_id") if name in meta]
        token = params.get("pagination_token")
        if self.sweep is None or token is None or token != self.sweep.token:
            self.drop_sweep()
            self.sweep = Sweep(params, *_bounds(params))
        sweep = self.sweep
        sweep.params = params
        sweep.token = meta.get("next_token")
        if ids:
            sweep.oldest = min(ids) if sweep.oldest is None else min(sweep.oldest, *ids)
            sweep.newest = max(ids) if sweep.newest is None else max(sweep.newest, *ids)
        self.read += page["reads"]["posts"]
        if sweep.token is None:
            self.drop_sweep()

    def drop_sweep(self) -> None:
        """End the sweep where it is; what it didn't reach is a gap like any other."""
        if self.sweep is not None:
            self.finished.append(self.sweep.covered)
        self.sweep = None

    @property
    def covered(self) -> list[Span]:
        return [*self.finished, *([self.sweep.covered] if self.sweep else [])]


@dataclass
class Collection:
    """What the raw pages hold of accounts and timelines.

    Attributes:
        user_ids: by name in lower case.
        post_counts: how many posts, replies and reposts X says that a user has, by user id; not all are known.
        timelines: by user id.
    """

    user_ids: dict[str, str] = field(default_factory=dict)
    post_counts: dict[str, int] = field(default_factory=dict)
    timelines: dict[str, Timeline] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> "Collection":
        collection = cls()
        for page in read_pages(folder):
            collection.take(page)
        return collection

    def take(self, page: dict[str, Any]) -> None:
        """Take one row of `raw/pages.jsonl` into account; an error or a damaged answer tells nothing."""
        request, body = page["request"], page["body"]
        if page["status"] != 200 or not page.get("reads"):
            return
        if request["kind"] == "users":
            for user in (user for user in body.get("data", []) if isinstance(user.get("username"), str)):
                # The first id stays: a name may go to someone else.
                self.user_ids.setdefault(user["username"].lower(), user["id"])
                metrics = user.get("public_metrics")
                if isinstance(metrics, dict) and isinstance(metrics.get("tweet_count"), int):
                    self.post_counts[user["id"]] = metrics["tweet_count"]
        elif request["kind"] == "timeline" and ("data" in body or "meta" in body):
            self.timeline(request["params"]["id"]).take(page)

    def timeline(self, user_id: str) -> Timeline:
        return self.timelines.setdefault(user_id, Timeline())


# --- Before the run ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """The most that a run may ask for; nobody knows how many posts are new.

    Attributes:
        accounts: name, posts at the most, requests at the most.
        lookups: accounts whose id isn't known yet.
        read_before: accounts of which only new posts are missing, at most their first page counted.
    """

    accounts: list[tuple[str, int, int]]
    lookups: int
    read_before: int

    @property
    def posts(self) -> int:
        return sum(posts for _, posts, _ in self.accounts)

    @property
    def requests(self) -> int:
        return -(-self.lookups // MAX_BATCH) + sum(requests for _, _, requests in self.accounts)


def estimate(accounts: Accounts, folder: Path) -> Estimate:
    """Estimate a run from the file and from what the collection knows already; nothing is asked."""
    collection = Collection.read(folder)
    rows = []
    lookups = read_before = 0
    for account in accounts.accounts:
        user_id = collection.user_ids.get(account.name.lower())
        timeline = collection.timelines.get(user_id, Timeline())
        posts = max(0, account.max_posts - timeline.read)
        gaps = wanted_span(account).without(timeline.covered)
        if user_id is None:
            lookups += 1
        elif timeline.sweep is None and timeline.read and all(gap.high == NO_END for gap in gaps):
            read_before += 1
            posts = min(posts, MAX_BATCH * len(gaps))
        elif not timeline.read:
            posts = min(posts, collection.post_counts.get(user_id, posts))
        rows.append((account.name, posts, -(-posts // MAX_BATCH)))
    return Estimate(rows, lookups, read_before)


def wanted_span(account: Account) -> Span:
    """Return the ids that the account's `since` and `until` ask for; no end where `until` is yet to come."""
    until = account.until if account.until and account.until < datetime.now(UTC) else None
    return Span(first_id(account.since) if account.since else 0, first_id(until) if until else NO_END)


# --- The run ----------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """How a run ended.

    Attributes:
        posts: read in this run.
        done: names of the accounts that were read as far as was asked.
        full: those among them that have reached their max_posts.
        set_aside: reason by name; tried again on the next run.
        stopped: why the run ended before its time, None if it didn't.
    """

    posts: int = 0
    done: list[str] = field(default_factory=list)
    full: list[str] = field(default_factory=list)
    set_aside: dict[str, str] = field(default_factory=dict)
    stopped: str | None = None


def collect_timelines(
    accounts: Accounts,
    folder: Path,
    client: Client,
    *,
    done: Callable[[str, int, str | None], None] = lambda name, posts, reason: None,
) -> Outcome:
    """Read what is wanted and missing of each account; one that can't be read doesn't stop the others.

    Args:
        folder: the collection; the caller holds its lock.
        done: called after each account with its name, its new posts, and the reason if it is set aside.

    Raises:
        OSError: if the collection can't be written.
    """
    outcome = Outcome()
    aside = _SetAside(folder, accounts)
    _, forgotten = read_forgotten(folder)
    collection = Collection.read(folder)

    def finish(account: Account, posts: int, reason: str | None) -> None:
        if reason is None:
            outcome.done.append(account.name)
        else:
            outcome.set_aside[account.name] = reason
        aside.note(account.name, reason)
        done(account.name, posts, reason)

    try:
        unknown = _look_up(accounts, collection, client)
        for account in accounts.accounts:
            user_id = collection.user_ids.get(account.name.lower())
            if user_id is None:
                finish(account, 0, unknown[account.name.lower()])
                continue
            if user_id in forgotten:
                finish(account, 0, "it was forgotten and is not read again; take it out of the file.")
                continue
            timeline = collection.timeline(user_id)
            before = timeline.read
            reason = None
            try:
                if _read_timeline(account, user_id, timeline, client):
                    outcome.full.append(account.name)
            except RefusedError as error:
                reason = str(error)
            finally:
                outcome.posts += timeline.read - before
            finish(account, timeline.read - before, reason)
    except StopError as error:
        outcome.stopped = str(error)
    return outcome


def _look_up(accounts: Accounts, collection: Collection, client: Client) -> dict[str, str]:
    """Find the ids of accounts that aren't known yet; return the reasons of those that can't be found."""
    names = [account.name for account in accounts.accounts if account.name.lower() not in collection.user_ids]
    reasons = {}
    while names:
        asked = names[:MAX_BATCH]
        try:
            page = client.users(asked)
        except RefusedError as error:
            reasons.update({name.lower(): str(error) for name in asked})
        else:
            collection.take(page)
            asked = page["request"]["params"]["usernames"]
            reasons.update({name.lower(): "X says nothing of this name." for name in asked})
            for problem in page["body"].get("errors", []):
                reasons[str(problem.get("value", "")).lower()] = f"{detail(problem) or 'X does not know it'}."
        names = names[len(asked) :]
    return reasons


def _read_timeline(account: Account, user_id: str, timeline: Timeline, client: Client) -> bool:
    """Read what is missing; return whether `max_posts` was reached.

    Raises:
        RefusedError, StopError
    """
    wanted = wanted_span(account)
    if timeline.sweep is not None:
        try:
            if timeline.sweep.rest.high <= wanted.high and not _go_on(account, timeline, wanted, client):
                return True
        except RefusedError as error:
            if error.status != 400:
                raise
        # Its token is too old for X, or it lies above what is wanted now.
        timeline.drop_sweep()
    for gap in wanted.without(timeline.covered):
        params = {"id": user_id, "exclude": ["replies", "retweets"], **POST_PARAMS}
        if account.since and gap.low == wanted.low:
            params["start_time"] = _api_time(account.since)
        elif gap.low:
            params["since_id"] = str(gap.low - 1)
        if gap.high == NO_END:
            pass
        elif gap.high == wanted.high:
            params["end_time"] = _api_time(account.until)
        else:
            params["until_id"] = str(gap.high)
        if not _ask(account, timeline, params, client) or not _go_on(account, timeline, wanted, client):
            return True
    return False


def _go_on(account: Account, timeline: Timeline, wanted: Span, client: Client) -> bool:
    """Follow the sweep to its end, or to the first post that is too old; False if `max_posts` came first."""
    while timeline.sweep is not None and timeline.sweep.rest.high > wanted.low:
        params = {**timeline.sweep.params, "pagination_token": timeline.sweep.token}
        if not _ask(account, timeline, params, client):
            return False
        if timeline.sweep is not None and timeline.sweep.token == params["pagination_token"]:
            raise RefusedError("X names a page as the one after itself.")
    return True


def _ask(account: Account, timeline: Timeline, params: dict[str, Any], client: Client) -> bool:
    """Ask for one page of at most what `max_posts` leaves; False if that is less than X's smallest page."""
    size = min(MAX_BATCH, account.max_posts - timeline.read)
    if size < MIN_TIMELINE_PAGE:
        return False
    timeline.take(client.ask(Ask("timeline", account.name, {**params, "max_results": size})))
    return True


def _bounds(params: dict[str, Any]) -> tuple[int, int | None]:
    """Return which ids a request asks for: the lowest, and the one after the highest if there is an end."""
    low, high = 0, None
    if "since_id" in params:
        low = int(params["since_id"]) + 1
    elif "start_time" in params:
        low = first_id(datetime.fromisoformat(params["start_time"]))
    if "until_id" in params:
        high = int(params["until_id"])
    elif "end_time" in params:
        high = first_id(datetime.fromisoformat(params["end_time"]))
    return low, high


def _api_time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


class _SetAside:
    """`set_aside.jsonl`: the accounts that were given up when they were last tried."""

    def __init__(self, folder: Path, accounts: Accounts) -> None:
        self._path = folder / SET_ASIDE
        names = {account.name.lower() for account in accounts.accounts}
        rows = {row["account"].lower(): row for row in read_rows(self._path)}
        self._rows = {name: row for name, row in rows.items() if name in names}

    def note(self, name: str, reason: str | None) -> None:
        """Put the account in with its reason, or take it out."""
        before = self._rows.pop(name.lower(), None)
        if reason is not None:
            self._rows[name.lower()] = {"account": name, "reason": reason, "at": now()}
        if before is not None or reason is not None:
            write_rows(self._path, self._rows.values())
