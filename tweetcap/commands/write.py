"""`tweetcap write`: tweets for photos and folders, as text or as a file that a cut run goes on with."""

import hashlib
import json
import os
import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import typer
from tqdm import tqdm

from tweetcap.commands.terminal import (
    FAILED,
    INTERRUPTED,
    Model,
    check_ranges,
    fail,
    load_writer,
    one_sentence,
    printable,
    range_help,
    say,
)
from tweetcap.write.settings import DEFAULTS

STDIN = "-"


def write(
    photos: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTO...|FOLDER|-",
            help="Photos, folders (searched to the bottom, hidden files left out) or - for one photo on "
            "standard input.",
        ),
    ],
    count: Annotated[int, typer.Option(help=range_help("Tweets a photo", "count"))] = DEFAULTS.count,
    tone: Annotated[
        str | None,
        typer.Option(
            help="つぶやき, ツッコミ, アフレコ, ほっこり, 大喜利, or another that the checkpoint knows.",
            show_default="a mixture",
        ),
    ] = None,
    temperature: Annotated[
        float, typer.Option(help=range_help("Low is safe, high is wild", "temperature"))
    ] = DEFAULTS.temperature,
    top_p: Annotated[
        float,
        typer.Option(help=range_help("Draw from the likeliest words up to this probability", "top_p")),
    ] = DEFAULTS.top_p,
    guidance: Annotated[
        float, typer.Option(help=range_help("How strongly the photo steers", "guidance"))
    ] = DEFAULTS.guidance,
    max_length: Annotated[
        int, typer.Option(help=range_help("Longest tweet in characters", "max_length"))
    ] = DEFAULTS.max_length,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Repeat a run: each photo's own seed comes from this and its name, so neither the order nor "
            "the other photos matter.",
            show_default="random",
        ),
    ] = None,
    describe: Annotated[bool, typer.Option("--describe", help="Add a plain description (説明).")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a photo.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.jsonl",
            help="Append the JSON objects to this file. Run the same command again to go on after a cut: "
            "photos that have their tweets are skipped, photos that failed are tried again.",
            show_default="print",
        ),
    ] = None,
    model: Model = None,
) -> None:
    """Write tweets for photos.

    Prints a line a tweet, tone and text with a tab between them. Ends with 0 when every photo got its tweets,
    1 when some failed, 2 when the command itself is wrong, 130 when it was interrupted.
    """
    sampling = {
        "count": count,
        "tone": tone,
        "temperature": temperature,
        "top_p": top_p,
        "guidance": guidance,
        "max_length": max_length,
    }
    check_ranges(sampling)
    if as_json and output:
        fail("--json prints and --output writes to a file; choose one of them.")
    if STDIN in photos and output:
        fail("- has no name to resume by; save the photo as a file to use --output.")
    sources = find_sources(photos)
    settings = {"model": model or "embedded", "seed": seed, **sampling, "describe": describe}
    journal = Journal.open(output, settings) if output else None
    remaining = [source for source in sources if not journal or source.name not in journal.written]
    try:
        writer = load_writer(model, tone) if remaining else None
        rows = write_rows(writer, remaining, sampling, seed=seed, describe=describe)
        if journal:
            skipped = len(sources) - len(remaining)
            failed = save_rows(rows, journal, settings, total=len(remaining), skipped=skipped)
        else:
            failed = print_rows(rows, settings, as_json=as_json, headers=len(sources) > 1)
    except KeyboardInterrupt:
        again = "run the same command again" if output else "add --output FILE.jsonl to be able"
        fail(f"interrupted; {again} to go on where it stopped.", INTERRUPTED)
    if failed:
        raise typer.Exit(FAILED)


@dataclass(frozen=True)
class Source:
    """One photo to write about.

    Attributes:
        name: what the user typed, with the path inside the folder added; it names the photo in every output.
        seed_name: the path inside the folder, or the file's own name: where the folder stands doesn't matter.
    """

    name: str
    seed_name: str

    def read(self) -> Path | bytes:
        from tweetcap.data.photo import MAX_BYTES

        # One byte more than allowed is enough for the writer to refuse an endless stream.
        return sys.stdin.buffer.read(MAX_BYTES + 1) if self.name == STDIN else Path(self.name)

    def seed(self, seed: int | None) -> int:
        if seed is None:
            return secrets.randbelow(2**32)
        digest = hashlib.sha256(f"{seed}\0{self.seed_name}".encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:4], "big")


def find_sources(arguments: list[str]) -> list[Source]:
    """Return the photos that the arguments name, each once, those of a folder sorted by their path."""
    for argument in arguments:
        if argument != STDIN and not Path(argument).exists():
            fail(f"{argument} does not exist; name a photo, a folder, or - for standard input.")
    sources: dict[str, Source] = {}
    for argument in arguments:
        found = folder_sources(Path(argument)) if Path(argument).is_dir() else [file_source(argument)]
        sources.update((source.name, source) for source in found)
    return list(sources.values())


def file_source(argument: str) -> Source:
    return Source(STDIN, STDIN) if argument == STDIN else Source(str(Path(argument)), Path(argument).name)


def folder_sources(folder: Path) -> list[Source]:
    from tweetcap.data.photo import PHOTO_SUFFIXES

    photos, others = [], 0
    for parent, folders, files in os.walk(folder, onerror=lambda error: say(f"tweetcap: {one_sentence(error)}")):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(parent, name)
            if name.startswith(".") or path.suffix.lower() not in PHOTO_SUFFIXES:
                others += 1
            else:
                photos.append(path.relative_to(folder).as_posix())
    if not photos:
        fail(f"{folder} holds no photo ({', '.join(sorted(PHOTO_SUFFIXES))}); name another folder.")
    if others:
        say(f"{folder}: {len(photos)} photos; other files ignored: {others}.")
    return [Source(str(folder / name), name) for name in sorted(photos, key=PurePosixPath)]


def write_rows(
    writer, sources: list[Source], sampling: dict[str, Any], *, seed: int | None, describe: bool
) -> Iterator[dict[str, Any]]:
    """Yield a row a photo: its tweets, or the sentence that says what is wrong with it."""
    from tweetcap.data.photo import PhotoError

    for source in sources:
        row: dict[str, Any] = {"photo": source.name, "seed": source.seed(seed)}
        try:
            photo = source.read()
            tweets = writer.write(photo, seed=row["seed"], **sampling)
            if describe:
                row["description"] = writer.describe(photo)
        except (PhotoError, OSError) as error:
            yield row | {"error": one_sentence(error)}
            continue
        except ValueError as error:
            fail(one_sentence(error))
        if not tweets:
            yield row | {"error": "no candidate passed the filters; try another seed or temperature."}
            continue
        row["tweets"] = [
            {
                "text": tweet.text,
                "tone": tweet.tone,
                "log_likelihood": round(tweet.log_likelihood, 4),
                "grounding": round(tweet.grounding, 4),
            }
            for tweet in tweets
        ]
        yield row


def to_line(row: dict[str, Any], settings: dict[str, Any]) -> str:
    return printable(json.dumps(row | {"settings": settings}, ensure_ascii=False)) + "\n"


def report(row: dict[str, Any]) -> None:
    """Say what is wrong with a photo; the sentence of a PhotoError names the file already."""
    photo, error = row["photo"], row["error"]
    say(f"tweetcap: {error}" if error.startswith(photo) else f"tweetcap: {photo}: {error}")


def print_rows(rows: Iterator[dict[str, Any]], settings: dict[str, Any], *, as_json: bool, headers: bool) -> int:
    """Print the rows as they come; return how many photos failed."""
    failed = printed = 0
    for row in rows:
        if "error" in row:
            failed += 1
            report(row)
        if as_json:
            typer.echo(to_line(row, settings), nl=False)
        elif "tweets" in row:
            if headers:
                typer.echo(printable(f"{'' if not printed else chr(10)}# {row['photo']}"))
            printed += 1
            if "description" in row:
                typer.echo(f"説明\t{' '.join(row['description'].split())}")
            for tweet in row["tweets"]:
                # A tweet may hold line breaks; here a line is a tweet, --json keeps them.
                typer.echo(f"{tweet['tone']}\t{' '.join(tweet['text'].split())}")
    return failed


@dataclass
class Journal:
    """A file of rows that only ever grows, so that a cut at any moment costs one photo.

    The last row of a photo counts: a photo that failed and later got its tweets has two.

    Attributes:
        written: photos that have their tweets.
        errors: the last error of each photo that has none.
    """

    path: Path
    written: set[str]
    errors: dict[str, str]

    @classmethod
    def open(cls, path: Path, settings: dict[str, Any]) -> "Journal":
        """Read what an earlier run wrote and drop the line that its end cut in two.

        A file that isn't such a run's, or one of other settings, ends the command unchanged.
        """
        journal = cls(path, set(), {})
        if not path.parent.is_dir():
            fail(f"the folder {path.parent} does not exist; create it or choose another --output.")
        if path.is_dir():
            fail(f"{path} is a folder; --output names a file.")
        if not path.exists():
            return journal
        whole = 0
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                journal.take(line, number, settings)
                whole += len(line)
            else:
                return journal
        if not whole and line[:10] != b'{"photo": '[: len(line)]:
            fail(f"{path} was not written by tweetcap write; choose another --output.")
        os.truncate(path, whole)
        return journal

    def take(self, line: bytes, number: int, settings: dict[str, Any]) -> None:
        try:
            row = json.loads(line)
            photo, theirs, has_tweets = row["photo"], row["settings"], "tweets" in row
            error = None if has_tweets else row["error"]
        except (ValueError, KeyError, TypeError):
            fail(f"{self.path} line {number} was not written by tweetcap write; choose another --output.")
        different = [name for name in settings.keys() | theirs.keys() if theirs.get(name) != settings.get(name)]
        if different:
            name = min(different)
            fail(
                f"{self.path} was written with {name} {theirs.get(name)} and not {settings.get(name)}; use "
                "the same options or another --output."
            )
        if has_tweets:
            self.written.add(photo)
            self.errors.pop(photo, None)
        else:
            self.errors[photo] = error


def save_rows(
    rows: Iterator[dict[str, Any]], journal: Journal, settings: dict[str, Any], *, total: int, skipped: int
) -> int:
    """Append the rows as they come, behind a progress bar on a terminal; return how many photos failed."""
    failed = 0
    bar = tqdm(total=total, unit="photo", disable=None, file=sys.stderr)
    try:
        with journal.path.open("ab") as file, bar:
            for row in rows:
                bar.update()
                if "error" in row:
                    failed += 1
                    report(row)
                    if journal.errors.get(row["photo"]) == row["error"]:
                        continue  # this file says so already
                file.write(to_line(row, settings).encode("utf-8"))
                file.flush()
    except OSError as error:
        fail(
            f"{journal.path} cannot be written: {one_sentence(error)}; then run the same command again.",
            FAILED,
        )
    say(f"{journal.path}: {total - failed} photos written, {skipped} done before, {failed} failed.")
    return failed
