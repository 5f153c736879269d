"""What reading costs: prices, a budget that no request may break, and the ledger of what was spent.

Each request is written down in `raw/requests.jsonl` before it is made, with the most that it may cost, and
its page in `raw/pages.jsonl` names it. A request without a page was lost on the way (a cut connection, a
killed process), and X may have charged it: it counts at its most, until the same request is answered on the
same day (UTC), and then as much as that answer. So the total is known after any end of the process.
"""

import hashlib
import json
import logging
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from decimal import Decimal, InvalidOperation
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

import yaml

from tweetcap.collect.raw import AppendOnly, now, read_pages, read_rows

log = logging.getLogger(__name__)

REQUESTS = Path("raw/requests.jsonl")

# The API's limits for one request.
MAX_BATCH = 100
MIN_TIMELINE_PAGE = 5
# A post has up to four photos, videos or GIFs.
MAX_MEDIA = 4


class StopError(ValueError):
    """Nothing more can be had in this run; the message is one sentence with the remedy."""


class BudgetError(StopError):
    """The next request might cost more than what is left of the budget."""


@dataclass(frozen=True)
class Reads:
    """Numbers of things that X charges for."""

    posts: int = 0
    users: int = 0
    media: int = 0

    def __add__(self, other: Self) -> Self:
        return Reads(self.posts + other.posts, self.users + other.users, self.media + other.media)

    def __mul__(self, count: int) -> Self:
        return Reads(self.posts * count, self.users * count, self.media * count)


@dataclass(frozen=True)
class Prices:
    """US dollars for one of each.

    Attributes:
        source, as_of: where the prices were read, and when.
    """

    post: Decimal
    user: Decimal
    media: Decimal
    source: str
    as_of: str

    def cost(self, reads: Reads) -> Decimal:
        return self.post * reads.posts + self.user * reads.users + self.media * reads.media


def load_prices(path: Path | None = None) -> Prices:
    """Read a price list; without a path, the one that comes with the package.

    Raises:
        ValueError: if it isn't one.
    """
    shipped = files("tweetcap.collect") / "prices.yaml"
    name = path or "prices.yaml"
    try:
        rows = yaml.load((path or shipped).read_text("utf-8"), Loader=yaml.BaseLoader)  # text: floats would round
    except OSError as error:
        raise ValueError(f"{name} can't be read ({error.strerror}): check --prices.") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ValueError(f"{name} is not YAML: copy the package's prices.yaml and change its numbers.") from None
    if not isinstance(rows, dict):
        raise ValueError(f"{name} holds no prices: copy the package's prices.yaml and change its numbers.")
    dollars = {field: _price(rows.get(field), f"{name}: {field}") for field in ("post", "user", "media")}
    return Prices(**dollars, source=str(rows.get("source", name)), as_of=str(rows.get("as_of", "unknown")))


def _price(text: Any, where: str) -> Decimal:
    try:
        price = Decimal(text)
    except (InvalidOperation, TypeError, ValueError):
        price = Decimal(-1)
    if not (price.is_finite() and 0 <= price <= 1000):
        raise ValueError(f"{where} is {text}; write the price of one in US dollars, such as 0.005.")
    return price


@dataclass(frozen=True)
class Budget:
    """The most that a collection may cost, all its runs together."""

    amount: Decimal
    unit: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "5.00usd" or "1000posts".

        Raises:
            ValueError: for anything else.
        """
        match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,4})?)(usd|posts)", text.strip().lower(), re.ASCII)
        if match is None or (match[2] == "posts" and "." in match[1]):
            raise ValueError(f"--budget is {text}; write dollars as 5.00usd or posts as 1000posts.")
        return cls(Decimal(match[1]), match[2])

    def __str__(self) -> str:
        return f"{self.amount} USD" if self.unit == "usd" else f"{self.amount} posts"

    def left(self, spent: Reads, prices: Prices) -> Decimal:
        return self.amount - (prices.cost(spent) if self.unit == "usd" else spent.posts)

    def price(self, reads: Reads, prices: Prices) -> Decimal:
        """Return what the reads take from this budget, in its unit."""
        return prices.cost(reads) if self.unit == "usd" else Decimal(reads.posts)


# --- What a request may cost ------------------------------------------------------------------------


@dataclass(frozen=True)
class Ask:
    """One request to X that costs money.

    Attributes:
        kind: "users", "timeline" or "posts".
        account: the name whose timeline it is, else None.
        params: what tweepy's method for it takes.
    """

    kind: str
    account: str | None
    params: dict[str, Any]

    @property
    def size(self) -> int:
        """The most things that can come back."""
        return self.params["max_results"] if self.kind == "timeline" else len(self.params[self._list])

    @property
    def smallest(self) -> int:
        return MIN_TIMELINE_PAGE if self.kind == "timeline" else 1

    @property
    def each(self) -> Reads:
        """The most that one of the things can cost."""
        return Reads(users=1) if self.kind == "users" else Reads(posts=1, media=MAX_MEDIA)

    @property
    def worst(self) -> Reads:
        return self.each * self.size

    def shrunk(self, size: int) -> Self:
        """Return the request for fewer things: a shorter page, or the first of the names or ids."""
        if self.kind == "timeline":
            return replace(self, params={**self.params, "max_results": size})
        return replace(self, params={**self.params, self._list: self.params[self._list][:size]})

    @property
    def key(self) -> str:
        """The same for two requests for the same page."""
        text = json.dumps([self.kind, self.params], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def _list(self) -> str:
        return "usernames" if self.kind == "users" else "ids"


def count_reads(kind: str, body: dict[str, Any]) -> Reads:
    """Count what a page holds of the things that X charges for, those in `includes` too."""
    data, includes = body.get("data"), body.get("includes")
    rows = len(data) if isinstance(data, list) else 0
    extra = {name: len(items) for name, items in (includes or {}).items() if isinstance(items, list)}
    posts = (0 if kind == "users" else rows) + extra.get("tweets", 0)
    users = (rows if kind == "users" else 0) + extra.get("users", 0)
    return Reads(posts, users, extra.get("media", 0))


# --- The ledger -------------------------------------------------------------------------------------


class Ledger:
    """What a collection has cost so far, and whether the next request may be made.

    `changed` is called after each page, to show the total.

    with Ledger(folder, load_prices(), Budget.parse("5.00usd")) as ledger:
        ask = ledger.fit(ask)
        number = ledger.ask(ask)
        ...
        ledger.answered(page)
    """

    def __init__(self, folder: Path, prices: Prices, budget: Budget | None = None) -> None:
        """Add up what earlier runs spent.

        Args:
            folder: the collection; the caller holds its lock.
            budget: None for no limit.
        """
        self.prices = prices
        self.budget = budget
        self.changed: Callable[[], None] = lambda: None
        self._settled = Reads()
        self._open: dict[int, tuple[str, Reads]] = {}  # number → (key and day, the most that it may cost)
        self._next = 1
        for row in read_rows(folder / REQUESTS):
            try:
                self._read_request(row)
            except (KeyError, TypeError):
                log.warning("%s: a row is no request and is left out.", folder / REQUESTS)
        for page in read_pages(folder):
            self._read_page(page)
        self._path = folder / REQUESTS
        self._requests: AppendOnly | None = None  # opened by the first request: an estimate writes nothing

    @property
    def spent(self) -> Reads:
        """What X has charged at the most."""
        return sum((worst for _, worst in self._open.values()), self._settled)

    @property
    def cost(self) -> Decimal:
        """`spent` in US dollars."""
        return self.prices.cost(self.spent)

    @property
    def lost(self) -> int:
        """How many requests were made whose page never came."""
        return len(self._open)

    def fit(self, ask: Ask) -> Ask:
        """Return the request, made small enough for what is left of the budget at its worst.

        Raises:
            BudgetError: if even the smallest one might cost more.
        """
        if self.budget is None:
            return ask
        each = self.budget.price(ask.each, self.prices)
        left = self.budget.left(self.spent, self.prices)
        size = ask.size if not each else min(ask.size, int(left // each))
        if size < min(ask.smallest, ask.size):
            unit = "USD" if self.budget.unit == "usd" else "posts"
            raise BudgetError(
                f"the budget of {self.budget} has no room for the next request: {self.budget.amount - left:f} {unit} "
                f"are spent, and it may cost {each * ask.smallest:f}; raise --budget and run the same command again."
            )
        return ask if size == ask.size else ask.shrunk(size)

    def ask(self, ask: Ask) -> int:
        """Write down that the request is about to be made; return its number."""
        number = self._next
        row = {"number": number, "at": now(), "kind": ask.kind, "account": ask.account, "key": ask.key}
        row["worst"] = asdict(ask.worst)
        self._write(row)
        return number

    def not_sent(self, number: int) -> None:
        """Write down that the request never left this machine, so that X can't charge it."""
        self._write({"number": number, "sent": False})

    def answered(self, page: dict[str, Any]) -> None:
        """Take into account a row that `raw/pages.jsonl` now holds."""
        self._read_page(page)
        self.changed()

    def close(self) -> None:
        if self._requests is not None:
            self._requests.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _write(self, row: dict[str, Any]) -> None:
        if self._requests is None:
            self._requests = AppendOnly(self._path)
        self._requests.append(row)
        self._read_request(row)

    def _read_request(self, row: dict[str, Any]) -> None:
        number = row["number"]
        self._next = max(self._next, number + 1)
        if row.get("sent") is False:
            self._open.pop(number, None)
        else:
            # On another day the same request, such as for the newest posts, may bring quite other ones.
            self._open[number] = (row["key"] + row["at"][:10], Reads(**row["worst"]))

    def _read_page(self, row: dict[str, Any]) -> None:
        """Settle the page's request, and those of the same day for the same page that were lost.

        A page without `reads` came but could not be read: its request counts as lost.
        """
        if row.get("reads") is None:
            return
        number, reads = row["request"]["number"], Reads(**row["reads"])
        self._next = max(self._next, number + 1)
        self._settled += reads
        key, _ = self._open.pop(number, (None, None))
        if row["status"] != 200 or key is None:
            return
        for earlier in [lost for lost, (other, _) in self._open.items() if other == key and lost < number]:
            del self._open[earlier]
            self._settled += reads
