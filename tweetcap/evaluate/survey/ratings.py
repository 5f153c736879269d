"""What raters answered, in the study's `ratings.sqlite3`: durable the moment `RatingStore.answer` returns.

SQLite in WAL mode with synchronous FULL writes an answer to the disk before it is acknowledged, so that the server
can be killed at any moment. A rater is known by a random token, which only the rater's link holds: the store keeps
its hash. No name, address or IP is kept anywhere.

A rater gets the tasks one after the other, each answered once: an answer that comes again, by a second click, a retry
or another tab, changes nothing. The first task without an answer is where a rater goes on, whenever that is.
"""

import hashlib
import json
import re
import secrets
import sqlite3
import threading
import time
from base64 import b32encode
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tweetcap.evaluate.survey.study import CHOICES, LANGUAGES, Task, is_score, read_study, read_systems

if TYPE_CHECKING:
    from pandas import DataFrame

RATINGS_FILE = "ratings.sqlite3"
HOUR = 3600
TOKEN_BYTES = 24  # 192 random bits, which nobody can guess
TOKEN = re.compile(r"[A-Za-z0-9_-]{32}")
RATER_COLUMNS = ("rater", "block", "row", "language", "started_at", "finished_at")
BUSY_SECONDS = 30  # how long to wait for another process, an export for one

SCHEMA = """
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS raters (
    rater TEXT PRIMARY KEY,
    token_hash TEXT NOT NULL UNIQUE,
    block INTEGER NOT NULL,
    row INTEGER NOT NULL,
    language TEXT NOT NULL,
    started_at REAL NOT NULL,
    seen_at REAL NOT NULL,   -- the last sign of life
    shown_at REAL NOT NULL,  -- when the open task was shown last
    finished_at REAL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tasks (
    rater TEXT NOT NULL REFERENCES raters,
    position INTEGER NOT NULL,  -- from 1
    kind TEXT NOT NULL,
    item TEXT NOT NULL,
    shown TEXT NOT NULL,  -- JSON: what stands in Task.shown
    PRIMARY KEY (rater, position)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answers (
    rater TEXT NOT NULL,
    position INTEGER NOT NULL,
    question TEXT NOT NULL,
    value NOT NULL,
    seconds REAL NOT NULL,
    answered_at REAL NOT NULL,
    PRIMARY KEY (rater, position, question),
    FOREIGN KEY (rater, position) REFERENCES tasks
) WITHOUT ROWID;
-- Sorted by the code itself, and without the rater: who shows a code to be thanked stays unknown.
CREATE TABLE IF NOT EXISTS codes (code TEXT PRIMARY KEY) WITHOUT ROWID;
"""


class SurveyError(ValueError):
    """What a rater asked for can't be done.

    Attributes:
        reason: closed, full, unknown (no rater has this link), too_soon or refused (nothing that the page sends).
        wait: seconds until an answer that came too soon can come again.
    """

    def __init__(self, reason: str, sentence: str, wait: float = 0.0):
        super().__init__(sentence)
        self.reason = reason
        self.wait = wait


@dataclass(frozen=True)
class Progress:
    """Where a rater stands.

    Attributes:
        position: of the open task, from 1; total + 1 once all is done.
        task: the open one; None once all is done.
        following: the one after it.
        code: what the rater can show to prove having finished; None before.
    """

    position: int
    total: int
    task: Task | None
    following: Task | None
    code: str | None


class RatingStore:
    """The ratings of one study. Threads can share it, and other processes can read beside it."""

    def __init__(self, folder: str | Path, clock: Callable[[], float] = time.time):
        """Open the ratings, or start them.

        Args:
            folder: the study's.
            clock: seconds since 1970.

        Raises:
            ValueError: the folder holds no study, or the ratings of another one.
        """
        self.study = read_study(folder)
        self.path = Path(folder) / RATINGS_FILE
        self._clock = clock
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(
                self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA foreign_keys = ON")
            self._connection.executescript(SCHEMA)
            with self._transaction() as rows:
                rows.execute("INSERT OR IGNORE INTO state VALUES ('study', ?)", (self.study.study,))
                (study,) = rows.execute("SELECT value FROM state WHERE name = 'study'").fetchone()
        except sqlite3.Error as error:
            raise ValueError(f"{self.path} can't be used ({error}); check its disk and rights.") from None
        if study != self.study.study:
            raise ValueError(f"{self.path} holds the ratings of another study; put it back beside its own study.json.")

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        # One connection behind a lock: a write takes milliseconds, and no thread ever finds the database locked.
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    # What raters do

    def check_admission(self) -> None:
        """Do nothing while the study takes new raters.

        Raises:
            SurveyError: closed, full.
        """
        with self._transaction() as rows:
            self._check_open(rows)
            self._free_cell(rows, self._clock())

    def start(self, language: str, token: str | None = None) -> str:
        """Let a rater in, at the cell with the fewest raters; return the token that the rater comes back by.

        Args:
            language: ja or en.
            token: 32 random letters, digits, - and _ that the browser made, so that a start whose answer got lost
                can be asked for again without letting in a second rater. None makes one.

        Raises:
            SurveyError: closed, full; refused where the token is of another form.
        """
        token = secrets.token_urlsafe(TOKEN_BYTES) if token is None else token
        if not isinstance(token, str) or not TOKEN.fullmatch(token):
            raise SurveyError("refused", "the token is none.")
        rater, now = f"r{secrets.token_hex(6)}", self._clock()
        with self._transaction() as rows:
            if rows.execute("SELECT 1 FROM raters WHERE token_hash = ?", (_hash(token),)).fetchone():
                return token
            self._check_open(rows)
            block, row = self._free_cell(rows, now)
            rows.execute(
                "INSERT INTO raters VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)",
                (rater, _hash(token), block, row, _language(language), now, now, now),
            )
            tasks = enumerate(self.study.tasks(block, row, rater), start=1)
            rows.executemany(
                "INSERT INTO tasks VALUES (?, ?, ?, ?, ?)",
                [(rater, position, task.kind, task.item, json.dumps(task.shown)) for position, task in tasks],
            )
        return token

    def _free_cell(self, rows: sqlite3.Connection, now: float) -> tuple[int, int]:
        silent = now - self.study.abandoned_after_hours * HOUR
        places = rows.execute(
            "SELECT block, row FROM raters WHERE finished_at IS NOT NULL OR seen_at >= ?", (silent,)
        ).fetchall()
        if self.study.raters is not None and len(places) >= self.study.raters:
            raise SurveyError("full", "the study has all the raters it needs.")
        filled = Counter(places)
        return min(self.study.cells(), key=lambda cell: filled[cell])  # of equal ones the first

    def show(self, token: str) -> Progress:
        """Return where the rater stands, and note that the open task is shown now.

        Raises:
            SurveyError: closed, unknown.
        """
        now = self._clock()
        with self._transaction() as rows:
            rater, _ = self._rater(rows, token)
            progress = self._progress(rows, rater, token)
            if progress.task is not None:
                self._check_open(rows)
                rows.execute("UPDATE raters SET seen_at = ?, shown_at = ? WHERE rater = ?", (now, now, rater))
        return progress

    def answer(self, token: str, position: int, values: Mapping[str, Any], language: str | None = None) -> bool:
        """Keep the answers to a task's questions; they are on the disk when this returns.

        Args:
            position: of the task that the rater saw, from 1.
            values: 1 to 5, or left, tie or right, by question.
            language: in which the questions were shown.

        Returns:
            Whether the answers were taken. False where the task had its answers: they stay as they are.

        Raises:
            SurveyError: closed, unknown, too_soon; refused where the task is not open yet, or an answer is missing
                or none of the choices.
        """
        now = self._clock()
        with self._transaction() as rows:
            rater, shown_at = self._rater(rows, token)
            progress = self._progress(rows, rater, token)
            if isinstance(position, bool) or not isinstance(position, int) or not 1 <= position <= progress.position:
                raise SurveyError("refused", f"the task {position} is not open.")
            if position < progress.position:
                return False
            if progress.task is None:
                raise SurveyError("refused", f"the task {position} is not open.")
            self._check_open(rows)
            self._check_values(values)
            seconds = now - shown_at
            # A clock that was set back must not keep anybody waiting.
            if 0 <= seconds < self.study.minimum_seconds:
                wait = self.study.minimum_seconds - seconds
                raise SurveyError("too_soon", f"the answer came {wait:.1f} s too soon.", wait)
            rows.executemany(
                "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?)",
                [(rater, position, name, value, max(seconds, 0.0), now) for name, value in values.items()],
            )
            finished_at = now if position == progress.total else None
            rows.execute(
                "UPDATE raters SET seen_at = ?, shown_at = ?, finished_at = ?, language = coalesce(?, language) "
                "WHERE rater = ?",
                (now, now, finished_at, language and _language(language), rater),
            )
            if finished_at is not None:
                rows.execute("INSERT OR IGNORE INTO codes VALUES (?)", (_code(token),))
        return True

    def _check_open(self, rows: sqlite3.Connection) -> None:
        if rows.execute("SELECT 1 FROM state WHERE name = 'closed'").fetchone():
            raise SurveyError("closed", "the study is closed.")

    def _rater(self, rows: sqlite3.Connection, token: str) -> tuple[str, float]:
        """Return the rater's id and when the open task was shown."""
        found = None
        if isinstance(token, str):
            found = rows.execute("SELECT rater, shown_at FROM raters WHERE token_hash = ?", (_hash(token),)).fetchone()
        if found is None:
            raise SurveyError("unknown", "no rater has this link.")
        return found

    def _progress(self, rows: sqlite3.Connection, rater: str, token: str) -> Progress:
        (answered,) = rows.execute("SELECT max(position) FROM answers WHERE rater = ?", (rater,)).fetchone()
        (total,) = rows.execute("SELECT max(position) FROM tasks WHERE rater = ?", (rater,)).fetchone()
        position = (answered or 0) + 1
        tasks = [
            Task(kind, item, tuple(json.loads(shown)))
            for kind, item, shown in rows.execute(
                "SELECT kind, item, shown FROM tasks WHERE rater = ? AND position IN (?, ?) ORDER BY position",
                (rater, position, position + 1),
            )
        ]
        code = None if tasks else _code(token)
        task, following = [*tasks, None, None][:2]
        return Progress(position, total, task, following, code)

    def _check_values(self, values: Any) -> None:
        names = {question.name for question in self.study.questions}
        if not isinstance(values, Mapping) or values.keys() != names:
            raise SurveyError("refused", f"the answer needs {', '.join(sorted(names))}.")
        for name, value in values.items():
            if not (is_score(value) if self.study.mode == "rating" else value in CHOICES):
                raise SurveyError("refused", f"{value!r} is no answer to {name}.")

    # What the study's owner does

    def set_closed(self, closed: bool) -> None:
        """Close the study, at once and for everybody, or open it again."""
        with self._transaction() as rows:
            if closed:
                rows.execute("INSERT OR IGNORE INTO state VALUES ('closed', '')")
            else:
                rows.execute("DELETE FROM state WHERE name = 'closed'")

    def has_code(self, code: str) -> bool:
        """Return whether a rater who finished was given this code."""
        with self._transaction() as rows:
            return rows.execute("SELECT 1 FROM codes WHERE code = ?", (code.strip().upper(),)).fetchone() is not None

    def raters(self) -> list[tuple]:
        """Return RATER_COLUMNS of each rater; times are seconds since 1970."""
        with self._transaction() as rows:
            return rows.execute(f"SELECT {', '.join(RATER_COLUMNS)} FROM raters ORDER BY rater").fetchall()

    def answers(self) -> list[tuple]:
        """Return (rater, block, position, task, question, value, seconds, answered_at), sorted as asked."""
        with self._transaction() as rows:
            found = rows.execute(
                "SELECT rater, block, position, kind, item, shown, question, value, seconds, answered_at "
                "FROM answers JOIN tasks USING (rater, position) JOIN raters USING (rater)"
            ).fetchall()
        order = {question.name: number for number, question in enumerate(self.study.questions)}
        found.sort(key=lambda answer: (answer[0], answer[2], order[answer[6]]))
        return [
            (rater, block, position, Task(kind, item, tuple(json.loads(shown))), *answer)
            for rater, block, position, kind, item, shown, *answer in found
        ]

    def status(self) -> "Status":
        now = self._clock()
        silent = now - self.study.abandoned_after_hours * HOUR
        with self._transaction() as rows:
            raters = rows.execute("SELECT block, row, finished_at IS NOT NULL, seen_at >= ? FROM raters", (silent,))
            raters = raters.fetchall()
            (answered,) = rows.execute("SELECT count(*) FROM (SELECT DISTINCT rater, position FROM answers)").fetchone()
            closed = rows.execute("SELECT 1 FROM state WHERE name = 'closed'").fetchone() is not None
        filled = Counter((block, row) for block, row, finished, seen in raters if finished or seen)
        return Status(
            finished=sum(finished for *_, finished, _ in raters),
            under_way=sum(seen and not finished for *_, finished, seen in raters),
            abandoned=sum(not seen and not finished for *_, finished, seen in raters),
            answered=answered,
            filled={cell: filled[cell] for cell in self.study.cells()},
            closed=closed,
        )


@dataclass(frozen=True)
class Status:
    """How far a study is.

    Attributes:
        finished, under_way, abandoned: raters.
        answered: tasks, checks among them.
        filled: raters by (block, row), those who abandoned it left out.
        closed: whether the owner closed it.
    """

    finished: int
    under_way: int
    abandoned: int
    answered: int
    filled: dict[tuple[int, int], int]
    closed: bool


def _hash(token: str) -> str:
    # Without a salt: nobody can try out all tokens.
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def _code(token: str) -> str:
    """Return the code of thanks; it comes from the token, so that the table of codes needn't name the rater."""
    return b32encode(hashlib.sha256(f"thanks {token}".encode()).digest()).decode()[:10]


def _language(language: Any) -> str:
    return language if language in LANGUAGES else LANGUAGES[0]


# --- Export ---------------------------------------------------------------------------------------


def open_ratings(folder: str | Path) -> RatingStore:
    """Open ratings that are there already.

    Raises:
        ValueError: the study was never served.
    """
    path = Path(folder) / RATINGS_FILE
    read_study(folder)  # a folder that is no study has its own sentence
    if not path.exists():
        raise ValueError(f"{path} does not exist: nobody has rated yet; open the page with tweetcap survey serve.")
    return RatingStore(folder)


def export_ratings(folder: str | Path) -> "DataFrame":
    """Return a row an answer, with the systems' real names, sorted by rater and position.

    Rating mode: rater, item, system, question, score. Pairwise mode: rater, item, left, right, choice. Both:
    seconds (from the showing to the answer, the same for all questions of a task), position (from 1), kind (item,
    gold or attention; only an item has systems), expected (the known answer to a check, where there is one), block,
    answered_at (UTC).
    """
    from pandas import DataFrame, to_datetime

    store, names = open_ratings(folder), read_systems(folder)
    answers = store.answers()
    store.close()
    study = store.study
    what = ["system", "question", "score"] if study.mode == "rating" else ["left", "right", "choice"]
    table = []
    for rater, block, position, task, question, value, seconds, answered_at in answers:
        systems = [names[letter] for letter in task.shown] if task.kind == "item" else [None, None]
        answer = [systems[0], question, value] if study.mode == "rating" else [*systems, value]
        expected = study.expected(task).get(question)
        table.append([rater, task.item, *answer, round(seconds, 3), position, task.kind, expected, block, answered_at])
    columns = ["rater", "item", *what, "seconds", "position", "kind", "expected", "block", "answered_at"]
    frame = DataFrame(table, columns=columns)
    if study.mode == "rating":
        frame["expected"] = frame["expected"].astype("Int64")  # whole numbers, or nothing
    return frame.assign(answered_at=to_datetime(frame["answered_at"], unit="s", utc=True).dt.floor("ms"))


def export_raters(folder: str | Path) -> "DataFrame":
    """Return a row a rater: rater, block, row, language, started_at, finished_at (UTC; empty for who didn't)."""
    from pandas import DataFrame, to_datetime

    store = open_ratings(folder)
    frame = DataFrame(store.raters(), columns=RATER_COLUMNS)
    store.close()
    for name in ("started_at", "finished_at"):
        frame[name] = to_datetime(frame[name].astype("float64"), unit="s", utc=True).dt.floor("ms")
    return frame
