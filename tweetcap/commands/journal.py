"""The file of rows that `tweetcap write --output` makes, by one process or by several."""

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tweetcap.commands.processes import Processes
from tweetcap.commands.terminal import FAILED, fail, one_sentence, printable, say


def to_line(row: dict[str, Any], settings: dict[str, Any]) -> str:
    return printable(json.dumps(row | {"settings": settings}, ensure_ascii=False)) + "\n"


@dataclass(frozen=True)
class Entry:
    """A row in a file.

    Attributes:
        error: None where the photo has its tweets.
        start, end: where its line begins and ends, in bytes.
    """

    photo: str
    error: str | None
    start: int
    end: int


@dataclass
class Journal:
    """A file of rows that only ever grows, so that a cut at any moment costs the photos at work alone.

    The last row of a photo counts: a photo that failed and later got its tweets has two. Several processes append to a
    part each, and the first one brings the parts together when all have ended. Parts of a run that was cut are
    taken up by the next, whatever the number of its processes.

    Attributes:
        path: the file.
        own: what this process appends to: the file itself, or a part beside it.
        written: photos that have their tweets.
        errors: the last error of each photo that has none.
    """

    path: Path
    own: Path
    settings: dict[str, Any]
    processes: Processes
    written: set[str]
    errors: dict[str, str]

    @classmethod
    def open(cls, path: Path, settings: dict[str, Any], processes: Processes) -> "Journal":
        """Read what earlier runs wrote and drop the line that an end cut in two.

        A file that isn't such a run's, or one of other settings, ends the command unchanged.
        """
        if not path.parent.is_dir():
            fail(f"the folder {path.parent} does not exist; create it or choose another --output.")
        if path.is_dir():
            fail(f"{path} is a folder; --output names a file.")
        journal = cls(path, path, settings, processes, set(), {})
        parts = journal.parts()
        if parts or processes.count > 1:
            journal.own = path.with_name(f"{path.name}.part{processes.rank}")
        for file in [path, *parts]:
            end = 0
            for entry in journal.read(file):
                end = entry.end
                if entry.error is None:
                    journal.written.add(entry.photo)
                    journal.errors.pop(entry.photo, None)
                elif entry.photo not in journal.written:
                    journal.errors[entry.photo] = entry.error
            # The others' parts may be growing at this moment.
            if file == journal.own or (file == path and processes.leads):
                journal.mend(file, end)
        return journal

    def parts(self) -> list[Path]:
        name = re.compile(re.escape(self.path.name) + r"\.part\d+")
        return sorted(path for path in self.path.parent.iterdir() if name.fullmatch(path.name))

    def read(self, file: Path) -> Iterator[Entry]:
        """Yield the whole rows of a file; one that isn't there has none."""
        if not file.exists():
            return
        start = 0
        with file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n"):
                    return
                try:
                    row = json.loads(line)
                    photo, theirs = row["photo"], row["settings"]
                    error = None if "tweets" in row else row["error"]
                except (ValueError, KeyError, TypeError):
                    fail(f"{file} line {number} was not written by tweetcap write; choose another --output.")
                different = [
                    name for name in self.settings.keys() | theirs.keys() if theirs.get(name) != self.settings.get(name)
                ]
                if different:
                    name = min(different)
                    fail(
                        f"{file} was written with {name} {theirs.get(name)} and not {self.settings.get(name)}; use "
                        "the same options or another --output."
                    )
                yield Entry(photo, error, start, start + len(line))
                start += len(line)

    def mend(self, file: Path, end: int) -> None:
        """Drop what stands behind the last whole row."""
        if not file.exists() or file.stat().st_size == end:
            return
        with file.open("rb") as lines:
            line = lines.readline(10)
        if not end and line != b'{"photo": '[: len(line)]:
            fail(f"{file} was not written by tweetcap write; choose another --output.")
        os.truncate(file, end)

    def save(self, rows: Iterable[dict[str, Any]], *, total: int, report: Callable[[dict[str, Any]], None]) -> int:
        """Append the rows as they come, behind a progress bar on a terminal; return how many photos failed.

        Args:
            total: how many rows will come.
            report: is given the rows of photos that failed.
        """
        failed = 0
        # One bar is enough: all processes are about as far.
        bar = tqdm(total=total, unit="photo", disable=None if self.processes.leads else True, file=sys.stderr)
        try:
            with self.own.open("ab") as file, bar:
                for row in rows:
                    bar.update()
                    if "error" in row:
                        failed += 1
                        report(row)
                        if self.errors.get(row["photo"]) == row["error"]:
                            continue  # a file says so already
                    file.write(to_line(row, self.settings).encode("utf-8"))
                    file.flush()
        except OSError as error:
            fail(f"{self.own} cannot be written: {one_sentence(error)}; then run the same command again.", FAILED)
        return failed

    def finish(self, photos: list[str], *, skipped: int, tried: int, failed: int) -> int:
        """Wait for all processes, bring their parts together, and return how many photos failed.

        Processes but the first return 0 at once: a launcher stops the others when one ends with an error.

        Args:
            photos: all of them, in the order of the file.
            skipped, tried, failed: how many of this process's share were done before, were left, and failed.
        """
        sums = self.processes.sum_up(skipped, tried, failed)
        if sums is None:
            return 0
        skipped, tried, failed = sums
        if self.own != self.path:
            try:
                self.merge(photos)
            except OSError as error:
                fail(f"{self.path} cannot be written: {one_sentence(error)}; then run the same command again.", FAILED)
        say(f"{self.path}: {tried - failed} photos written, {skipped} done before, {failed} failed.")
        return failed

    def merge(self, photos: list[str]) -> None:
        """Append what the parts hold to the file, in the order of the photos, and remove them."""
        parts = self.parts()
        there = {entry.photo: entry.error for entry in self.read(self.path)}
        found: dict[str, tuple[Path, Entry]] = {}
        for part in parts:
            for entry in self.read(part):
                if entry.photo not in found or found[entry.photo][1].error is not None:
                    found[entry.photo] = part, entry
        missing = [photo for photo in photos if photo not in there and photo not in found]
        if missing:
            fail(
                f"the rows of {len(missing)} photos, such as {missing[0]}, are not in {self.path.parent}; it must be "
                "one folder for all processes.",
                FAILED,
            )
        with ExitStack() as opened, self.path.open("ab") as file:
            sources = {part: opened.enter_context(part.open("rb")) for part in parts}
            for photo in dict.fromkeys([*photos, *found]):  # a photo may have left the folder since
                if photo not in found or (photo in there and there[photo] in (None, found[photo][1].error)):
                    continue
                part, entry = found[photo]
                sources[part].seek(entry.start)
                file.write(sources[part].read(entry.end - entry.start))
        for part in parts:
            part.unlink()
