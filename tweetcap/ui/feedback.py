"""Likes and reports ("this is not OK") of tweets: the text and how it was made, never a photo, an address or a name.

They are kept in a SQLite file, or, where a token and a dataset's name are given, in a private dataset on the Hub.
Either way a record is on the disk before `like` or `report` returns, so that the server can be killed at any moment.
"""

import json
import logging
import os
import sqlite3
import threading
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import typer
from huggingface_hub import CommitScheduler, HfApi

from tweetcap.write.settings import RANGES

PATH, DATASET, TOKEN = "TWEETCAP_FEEDBACK", "TWEETCAP_FEEDBACK_DATASET", "HF_TOKEN"
MAX_LENGTHS = {"text": 560, "tone": 20, "register": 20, "model": 200}  # characters
MAX_SEED = 2**32 - 1
PERIOD = 600  # seconds
MAX_A_SESSION = 60  # in a period
MAX_IN_ALL = 2000
MAX_SESSIONS = 5000
PUSH_MINUTES = 5
BUSY_SECONDS = 10

logger = logging.getLogger(__name__)


class Store(Protocol):
    def keep(self, record: dict[str, Any]) -> None:
        """Keep a record, durably, before returning."""


class Feedback:
    """Takes what visitors say of tweets; checks it and thins out floods before it is kept."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self.store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: OrderedDict[str, deque[float]] = OrderedDict()
        self._all: deque[float] = deque()

    def like(self, record: Mapping[str, Any], session: str = "") -> bool:
        """Keep that a visitor liked a tweet.

        Args:
            record: {"text", "tone", "register", "temperature", "guidance", "top_p", "seed", "model"}; all but the text
                may be missing, and anything else in it is dropped.
            session: what limits a visitor's number of records; it isn't kept.

        Returns:
            Whether it was kept: not if it is no such record, one of too many, or the disk is full.
        """
        return self._take("like", record, session)

    def report(self, record: Mapping[str, Any], session: str = "") -> bool:
        """Keep that a visitor said of a tweet that it is not OK; as `like`."""
        return self._take("report", record, session)

    def _take(self, kind: str, record: Any, session: str) -> bool:
        checked = checked_record(record)
        if checked is None or not self._admit(session):
            return False
        day = time.strftime("%Y-%m-%d", time.gmtime(self._clock()))  # no closer, so that it points at nobody
        try:
            self.store.keep({"kind": kind, "day": day, **checked})
        except (OSError, sqlite3.Error) as error:  # a full disk must not trouble visitors
            logger.warning("a %s was lost: %s", kind, error)
            return False
        return True

    def _admit(self, session: str) -> bool:
        now = self._clock()
        with self._lock:
            own = self._sessions.setdefault(session, deque())
            self._sessions.move_to_end(session)
            if len(self._sessions) > MAX_SESSIONS:
                self._sessions.popitem(last=False)
            for times in (own, self._all):
                while times and times[0] <= now - PERIOD:
                    times.popleft()
            if len(own) >= MAX_A_SESSION or len(self._all) >= MAX_IN_ALL:
                return False
            own.append(now)
            self._all.append(now)
        return True


def checked_record(record: Any) -> dict[str, Any] | None:
    """Return the fields that are kept, None where one isn't what it should be; a browser can send anything."""
    if not isinstance(record, Mapping):
        return None
    ranges = {name: RANGES[name] for name in ("temperature", "guidance", "top_p")} | {"seed": (0, MAX_SEED)}
    texts = {name: record.get(name) for name in MAX_LENGTHS}
    numbers = {name: record.get(name) for name in ranges}
    fits = (
        texts["text"] is not None
        and all(text is None or is_text(text, MAX_LENGTHS[name]) for name, text in texts.items())
        and all(number is None or is_number(number, *ranges[name]) for name, number in numbers.items())
    )
    return texts | numbers if fits else None


def is_text(value: Any, longest: int) -> bool:
    """Return whether a value is a text that says something and fits UTF-8; JSON can carry half characters."""
    if not isinstance(value, str) or not value.strip() or len(value) > longest:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_number(value: Any, low: float, high: float) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and low <= value <= high


SCHEMA = """
CREATE TABLE IF NOT EXISTS feedback (
    number INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    day TEXT NOT NULL,
    text TEXT NOT NULL,
    tone TEXT,
    register TEXT,
    temperature REAL,
    guidance REAL,
    top_p REAL,
    seed INTEGER,
    model TEXT
);
"""


class SqliteStore:
    """Records in a SQLite file, shared by threads and processes."""

    def __init__(self, path: str | Path) -> None:
        """Open the file, or start it.

        Raises:
            ValueError: in one sentence, where that can't be done.
        """
        self.path = Path(path).expanduser()
        self._lock = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.executescript(SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise ValueError(f"likes and reports can't be kept in {self.path} ({error}); name another file.") from None

    def keep(self, record: dict[str, Any]) -> None:
        columns = ", ".join(record)
        values = ", ".join(f":{name}" for name in record)
        with self._lock:
            self._connection.execute(f"INSERT INTO feedback ({columns}) VALUES ({values})", record)

    def close(self) -> None:
        self._connection.close()


class HubStore:
    """Records in a folder of JSON lines that `CommitScheduler` pushes to a private dataset every few minutes.

    Each process writes a file of its own; what a killed one left is pushed by the next.
    """

    def __init__(self, dataset: str, token: str, folder: str | Path) -> None:
        """Find or create the dataset.

        Raises:
            ValueError: in one sentence, where the Hub refuses or can't be reached.
        """
        folder = Path(folder).expanduser()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.scheduler = CommitScheduler(
                repo_id=dataset,
                repo_type="dataset",
                folder_path=folder,
                path_in_repo="data",
                every=PUSH_MINUTES,
                private=True,
                hf_api=HfApi(token=token),
            )
        except Exception as error:  # huggingface_hub raises OSError, ValueError and errors of its own and of httpx
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(f"likes and reports can't be kept in {DATASET}={dataset} ({reason}).") from None
        self._path = folder / f"feedback-{uuid.uuid4().hex}.jsonl"

    def keep(self, record: dict[str, Any]) -> None:
        line = json.dumps(record, ensure_ascii=False) + "\n"
        with self.scheduler.lock, self._path.open("a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


def feedback_from_environment(environment: Mapping[str, str]) -> Feedback | None:
    """Return where likes and reports go: a dataset where HF_TOKEN and TWEETCAP_FEEDBACK_DATASET are set, else the
    SQLite file TWEETCAP_FEEDBACK; without it one in the user's folder, or nowhere where that can't be written.

    Raises:
        ValueError: what was asked for can't be had.
    """
    home = Path(typer.get_app_dir("tweetcap"))
    if dataset := environment.get(DATASET):
        if not (token := environment.get(TOKEN)):
            raise ValueError(f"{DATASET} is {dataset}, but there is no token to write with; set {TOKEN}.")
        return Feedback(HubStore(dataset, token, home / "feedback"))
    if path := environment.get(PATH):
        return Feedback(SqliteStore(path))
    try:
        return Feedback(SqliteStore(home / "feedback.sqlite3"))
    except ValueError as error:
        logger.warning("%s", error)
        return None
