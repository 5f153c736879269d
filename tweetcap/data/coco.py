"""A caption file in COCO's format and its photos, as a table on disk that is read by row number.

COCO lists images and annotations apart from each other. Here the JSON is read as a stream and joined in SQLite, so that
memory stays the same however long the file is, and every worker process reads the rows of its own shard.
"""

import json
import sqlite3
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from filelock import FileLock

from tweetcap.data.zips import Member, read_member, zip_members

CHUNK = 2**20
# An element of a caption file has some 300 characters; one that doesn't end within this is broken.
LONGEST_ELEMENT = 2**22
LARGEST_PHOTO = 64 * 2**20
DELIMITERS = set(",:]} \t\r\n")
END_OF_JPEG = b"\xff\xd9"


class Caption(NamedTuple):
    """One sentence by a person; tokenized where the file has it."""

    caption_id: int | None
    text: str
    tokenized: str | None


@dataclass(frozen=True)
class CaptionedImage:
    """One image of a caption file with all its captions, in the file's order."""

    image_id: int
    file_name: str
    width: int | None
    height: int | None
    license: str | None
    license_url: str | None
    flickr_url: str | None
    captions: list[Caption]


class Problem(NamedTuple):
    """An entry of the file that can't be used; `reason` is the same words for the same fault."""

    name: str
    reason: str


# --- Reading the JSON as a stream -----------------------------------------------------------------


class BrokenJsonError(ValueError):
    """The text stops being JSON somewhere; what came before was yielded."""


def read_arrays(file: BinaryIO, names: set[str]) -> Iterator[tuple[str, Any]]:
    """Yield (name, element) of the arrays that stand under these names in a JSON object.

    Args:
        file: UTF-8 JSON; read in pieces, of which two are in memory at a time.
        names: keys of the outermost object.

    Raises:
        BrokenJsonError: where the text is no JSON or ends too early.
    """
    text = _Text(file)
    text.expect("{")
    if text.peek() == "}":
        return
    while True:
        if text.peek() != '"':
            raise text.broken()
        name = text.value()
        text.expect(":")
        if name in names and text.peek() == "[":
            text.expect("[")
            if text.peek() != "]":
                yield name, text.value()
                while text.peek() == ",":
                    text.expect(",")
                    yield name, text.value()
            text.expect("]")
        else:
            text.value()
        if text.peek() != ",":
            break
        text.expect(",")
    text.expect("}")


class _Text:
    """A window on the file: `position` is in `buffer`, `before` is what has been let go."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.decode = file, json.JSONDecoder().raw_decode
        self.buffer, self.position, self.before, self.ended = "", 0, 0, False
        self.rest = b""

    def read_on(self) -> bool:
        """Append the next piece; return False at the end of the file."""
        try:
            data = self.file.read(CHUNK)
        except (OSError, EOFError, zlib.error, tarfile.TarError) as error:  # a cut or damaged archive
            raise BrokenJsonError(f"can't be read further ({error})") from error
        self.ended = not data
        data = self.rest + data
        # A piece may end within a character of several bytes.
        end = len(data) if self.ended else _whole_characters(data)
        try:
            more = data[:end].decode("utf-8")
        except UnicodeDecodeError:
            raise BrokenJsonError(f"is not UTF-8 after character {self.before + len(self.buffer):,}") from None
        self.rest = data[end:]
        self.before += self.position
        self.buffer, self.position = self.buffer[self.position :] + more, 0
        return not self.ended

    def peek(self) -> str:
        """Return the next character that isn't white space, empty at the end."""
        while True:
            while self.position < len(self.buffer) and self.buffer[self.position] in " \t\r\n":
                self.position += 1
            if self.position < len(self.buffer):
                return self.buffer[self.position]
            if not self.read_on():
                return ""

    def expect(self, sign: str) -> None:
        if self.peek() != sign:
            raise self.broken()
        self.position += 1

    def value(self) -> Any:
        self.peek()
        while True:
            try:
                value, end = self.decode(self.buffer, self.position)
            except (ValueError, RecursionError):
                end = len(self.buffer)
            else:
                # A number that ends with the buffer, or with its point, may go on in the next piece.
                if self.ended or self.buffer[end : end + 1] in DELIMITERS:
                    self.position = end
                    return value
            if end - self.position > LONGEST_ELEMENT or not self.read_on():
                raise self.broken()

    def broken(self) -> BrokenJsonError:
        where = self.before + self.position
        what = "ends too early" if self.ended and self.position >= len(self.buffer) else "is broken"
        return BrokenJsonError(f"{what} at character {where:,}")


def _whole_characters(data: bytes) -> int:
    """Return how many bytes end with a whole UTF-8 character."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:  # begins a character of 2 to 4 bytes
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) if back >= length else len(data) - back
        if byte < 0x80:
            break
    return len(data)


# --- The table ------------------------------------------------------------------------------------

SCHEMA = """
CREATE TABLE images (
    number INTEGER PRIMARY KEY, image_id INTEGER UNIQUE, file_name TEXT, width INTEGER, height INTEGER,
    license INTEGER, flickr_url TEXT
);
CREATE TABLE captions (place INTEGER PRIMARY KEY, image_id INTEGER, caption_id INTEGER, text TEXT, tokenized TEXT);
CREATE TABLE licenses (id INTEGER PRIMARY KEY, name TEXT, url TEXT);
CREATE TABLE problems (name TEXT, reason TEXT);
"""
JOIN = """
CREATE INDEX captions_by_image ON captions (image_id);
INSERT INTO problems SELECT 'annotation ' || coalesce(caption_id, place), 'the image is not in the file'
    FROM captions WHERE image_id NOT IN (SELECT image_id FROM images);
INSERT INTO problems SELECT file_name, 'no caption in the file'
    FROM images WHERE image_id NOT IN (SELECT image_id FROM captions) ORDER BY number;
DELETE FROM images WHERE image_id NOT IN (SELECT image_id FROM captions);
CREATE TABLE numbers AS SELECT image_id FROM images ORDER BY number;
"""


def build_index(path: Path, open_annotations: Callable[[], BinaryIO]) -> None:
    """Turn a caption file into a table; one that is there already is left as it is.

    Entries that can't be used are written down as problems, and the others are kept. A file that breaks off is one
    problem more.

    Raises:
        ValueError: the file holds no caption that can be used.
    """
    with _new_table(path) as table:
        if table is None:
            return
        table.executescript(SCHEMA)
        with open_annotations() as file, table:
            try:
                for name, element in read_arrays(file, {"images", "annotations", "licenses"}):
                    _insert(table, name, element)
            except BrokenJsonError as error:
                _note(table, "the file", str(error))
        with table:
            table.executescript(JOIN)
        (images,) = table.execute("SELECT count(*) FROM images").fetchone()
        if not images:
            first = table.execute("SELECT name || ': ' || reason FROM problems LIMIT 1").fetchone()
            raise ValueError(f"holds no captioned image{f' ({first[0]})' if first else ''}; is it in COCO's format?")


@contextmanager
def _new_table(path: Path) -> Iterator[sqlite3.Connection | None]:
    """Open a table that gets its name when it is whole; None where another process or an earlier run made it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(path.name + ".lock")):
        if path.exists():
            yield None
            return
        partial = path.with_name(path.name + ".partial")
        partial.unlink(missing_ok=True)
        try:
            with closing(sqlite3.connect(partial)) as table:
                table.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
                yield table
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)


def _insert(table: sqlite3.Connection, name: str, element: Any) -> None:
    try:
        INSERT[name](table, element)
    except (OverflowError, UnicodeEncodeError):  # a number or half a character that no table holds
        _note(table, _short(element), "an entry that is not text and numbers")


def _note(table: sqlite3.Connection, name: str, reason: str) -> None:
    table.execute("INSERT INTO problems VALUES (?, ?)", (name, reason))


def _insert_image(table: sqlite3.Connection, image: Any) -> None:
    match image:
        case {"id": int(image_id), "file_name": str(file_name)} if _is_plain_name(file_name):
            values = (image_id, file_name, _int(image, "width"), _int(image, "height"), _int(image, "license"))
            inserted = table.execute(
                "INSERT OR IGNORE INTO images (image_id, file_name, width, height, license, flickr_url) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (*values, _str(image, "flickr_url")),
            )
            if not inserted.rowcount:
                _note(table, file_name, "the image is in the file twice")
        case _:
            _note(table, _short(image), "an image without id and file_name")


def _insert_annotation(table: sqlite3.Connection, annotation: Any) -> None:
    match annotation:
        case {"image_id": int(image_id), "caption": str(caption)} if caption.strip():
            values = (image_id, _int(annotation, "id"), caption, _str(annotation, "tokenized_caption"))
            table.execute("INSERT INTO captions (image_id, caption_id, text, tokenized) VALUES (?, ?, ?, ?)", values)
        case _:
            _note(table, _short(annotation), "an annotation without image_id and caption")


def _insert_license(table: sqlite3.Connection, licence: Any) -> None:
    match licence:
        case {"id": int(number)}:
            values = (number, _str(licence, "name"), _str(licence, "url"))
            table.execute("INSERT OR IGNORE INTO licenses VALUES (?, ?, ?)", values)


INSERT = {"images": _insert_image, "annotations": _insert_annotation, "licenses": _insert_license}


def _is_plain_name(name: str) -> bool:
    """Say whether a name stays in the folder that it is looked up in."""
    return name not in ("", ".", "..") and not set(name) & set("/\\\0")


def _int(entry: dict[str, Any], name: str) -> int | None:
    value = entry.get(name)
    return value if isinstance(value, int) and abs(value) < 2**31 else None


def _str(entry: dict[str, Any], name: str) -> str | None:
    value = entry.get(name)
    return value if isinstance(value, str) else None


def _short(entry: Any) -> str:
    text = json.dumps(entry, ensure_ascii=True)
    return text if len(text) <= 80 else f"{text[:79]}…"


class CocoIndex:
    """The table, read by row number; opened in the process that reads it."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def _open(self) -> closing[sqlite3.Connection]:
        return closing(_read_only(self.path))

    def __len__(self) -> int:
        with self._open() as table:
            return table.execute("SELECT count(*) FROM numbers").fetchone()[0]

    def problems(self) -> list[Problem]:
        with self._open() as table:
            return [Problem(*row) for row in table.execute("SELECT name, reason FROM problems")]

    def images(self, numbers: range) -> Iterator[CaptionedImage]:
        """Yield the images with these row numbers, which begin at 0 and leave no gap."""
        with self._open() as table:
            for number in numbers:
                row = table.execute(
                    "SELECT images.image_id, file_name, width, height, name, url, flickr_url FROM numbers "
                    "JOIN images USING (image_id) LEFT JOIN licenses ON license = licenses.id WHERE numbers.rowid = ?",
                    (number + 1,),
                ).fetchone()
                captions = table.execute(
                    "SELECT caption_id, text, tokenized FROM captions WHERE image_id = ? ORDER BY place", (row[0],)
                )
                yield CaptionedImage(*row, captions=[Caption(*caption) for caption in captions])


# --- The photos -----------------------------------------------------------------------------------

# The 2017 release holds the same photos, divided anew and named by the id alone.
RELEASES = ("", "train2014", "val2014", "train2017", "val2017")
FOLDERS = [f"{parent}{release}" for parent in ("", "images/") for release in RELEASES]


def build_zip_index(path: Path, zips: list[Path]) -> None:
    """Write down where each photo lies in the zips; an index that is there already is left as it is.

    Raises:
        ValueError: one of them is not a whole zip.
    """
    with _new_table(path) as table:
        if table is None:
            return
        table.executescript(
            "CREATE TABLE zips (zip INTEGER PRIMARY KEY, path TEXT);"
            "CREATE TABLE members (name TEXT PRIMARY KEY, zip INTEGER, "
            "start INTEGER, method INTEGER, packed INTEGER, size INTEGER, crc INTEGER) WITHOUT ROWID;"
        )
        with table:
            for number, zip_path in enumerate(zips):
                table.execute("INSERT INTO zips VALUES (?, ?)", (number, str(zip_path)))
                rows = ((name.rsplit("/", 1)[-1], number, *member) for name, member in zip_members(zip_path))
                table.executemany("INSERT OR IGNORE INTO members VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


class PhotoFiles:
    """Photos in folders and zips, found by name; use it as a context in the process that reads."""

    def __init__(self, folders: list[Path], zip_index: Path | None) -> None:
        self.folders = [folder / name for folder in folders for name in FOLDERS if (folder / name).is_dir()]
        self.table = None
        self.zips: dict[int, BinaryIO] = {}
        if zip_index is not None:
            self.table = _read_only(zip_index)
            self.zips = {number: open(path, "rb") for number, path in self.table.execute("SELECT * FROM zips")}

    def __enter__(self) -> "PhotoFiles":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self.zips.values():
            file.close()
        if self.table is not None:
            self.table.close()

    def read(self, image: CaptionedImage) -> bytes:
        """Return the photo as it was stored.

        Raises:
            ValueError: it isn't there, or is damaged; the message is a reason such as "is missing".
        """
        names = image.file_name, f"{image.image_id:012d}.jpg"
        found = (look(name) for name in names for look in (self._from_folders, self._from_zips))
        data = next((data for data in found if data is not None), None)
        if data is None:
            raise ValueError("the photo is missing")
        if not data.startswith(b"\xff\xd8\xff"):
            raise ValueError("the photo is not a JPEG")
        if data.find(END_OF_JPEG, max(0, len(data) - 2**16)) < 0:
            raise ValueError("the photo is cut short")
        return data

    def _from_folders(self, name: str) -> bytes | None:
        for folder in self.folders:
            try:
                with open(folder / name, "rb") as file:
                    return file.read(LARGEST_PHOTO)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise ValueError(f"the photo can't be read ({error.strerror})") from None
        return None

    def _from_zips(self, name: str) -> bytes | None:
        if self.table is None:
            return None
        row = self.table.execute("SELECT * FROM members WHERE name = ?", (name,)).fetchone()
        if row is None:
            return None
        try:
            return read_member(self.zips[row[1]], Member(*row[2:]), LARGEST_PHOTO)
        except ValueError as error:
            raise ValueError(f"the photo {error}") from None
