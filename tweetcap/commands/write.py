"""`tweetcap write`: tweets for photos and folders, as text or as a file that a cut run goes on with."""

import hashlib
import os
import secrets
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import typer

from tweetcap.commands.journal import Journal, to_line
from tweetcap.commands.processes import Processes
from tweetcap.commands.startup import quick_start
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
            "photos that have their tweets are skipped, photos that failed are tried again. Processes that torchrun "
            "or accelerate launch starts share the photos.",
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
    processes = Processes.from_environment()
    if processes.count > 1 and not output:
        fail(f"{processes.count} processes print into each other; add --output FILE.jsonl.")
    sources = find_sources(photos, report=processes.leads)
    settings = {"model": model or "embedded", "seed": seed, **sampling, "describe": describe}
    journal = Journal.open(output, settings, processes) if output else None
    # Every so manyth photo, whoever wrote the others: the processes needn't agree on what is left.
    share = sources[processes.rank :: processes.count]
    remaining = [source for source in share if not journal or source.name not in journal.written]
    try:
        writer = None
        if remaining:
            with quick_start():
                writer = load_writer(model, tone, processes.device())
        rows = write_rows(writer, remaining, sampling, seed=seed, describe=describe)
        if journal:
            failed = journal.save(rows, total=len(remaining), report=report)
            skipped, tried = len(share) - len(remaining), len(remaining)
            names = [source.name for source in sources]
            failed = journal.finish(names, skipped=skipped, tried=tried, failed=failed)
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


def find_sources(arguments: list[str], report: bool = True) -> list[Source]:
    """Return the photos that the arguments name, each once, those of a folder sorted by their path.

    Args:
        report: say what was left out.
    """
    for argument in arguments:
        if argument != STDIN and not Path(argument).exists():
            fail(f"{argument} does not exist; name a photo, a folder, or - for standard input.")
    sources: dict[str, Source] = {}
    for argument in arguments:
        found = folder_sources(Path(argument), report) if Path(argument).is_dir() else [file_source(argument)]
        sources.update((source.name, source) for source in found)
    return list(sources.values())


def file_source(argument: str) -> Source:
    return Source(STDIN, STDIN) if argument == STDIN else Source(str(Path(argument)), Path(argument).name)


def folder_sources(folder: Path, report: bool) -> list[Source]:
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
    if others and report:
        say(f"{folder}: {len(photos)} photos; other files ignored: {others}.")
    return [Source(str(folder / name), name) for name in sorted(photos, key=PurePosixPath)]


def write_rows(
    writer, sources: list[Source], sampling: dict[str, Any], *, seed: int | None, describe: bool
) -> Iterator[dict[str, Any]]:
    """Yield a row a photo: its tweets, or the sentence that says what is wrong with it."""
    try:
        yield from in_order(lambda source: write_row(writer, source, sampling, source.seed(seed), describe), sources)
    except ValueError as error:  # of the settings, not of a photo
        fail(one_sentence(error))


def in_order(work: Callable[[Source], dict[str, Any]], sources: list[Source]) -> Iterator[dict[str, Any]]:
    """Yield what `work` makes of each photo, in their order, as many at a time as PyTorch would use cores for one.

    Each is worked on by one core from its file to its tweets. That is faster than all cores on one photo, and it
    keeps a seed's promise: sums that are split among cores are rounded otherwise, and a word may hang on that.
    """
    if not sources:
        return
    from concurrent.futures import ThreadPoolExecutor

    import torch

    cores = torch.get_num_threads()
    waiting = deque()
    with ThreadPoolExecutor(min(cores, len(sources)), "photo", torch.set_num_threads, (1,)) as pool:
        try:
            for source in sources:
                waiting.append(pool.submit(work, source))
                if len(waiting) > 2 * cores:  # a slow photo keeps nobody waiting, and a folder isn't read at once
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
            torch.set_num_threads(cores)  # setting it in one thread sets what later ones begin with


def write_row(writer, source: Source, sampling: dict[str, Any], seed: int, describe: bool) -> dict[str, Any]:
    """Return a photo's row.

    Raises:
        ValueError: the settings aren't the model's.
    """
    from tweetcap.data.photo import PhotoError

    row: dict[str, Any] = {"photo": source.name, "seed": seed}
    try:
        photo = source.read()
        tweets = writer.write(photo, seed=seed, **sampling)
        if describe:
            row["description"] = writer.describe(photo)
    except (PhotoError, OSError) as error:
        return row | {"error": one_sentence(error)}
    if not tweets:
        return row | {"error": "no candidate passed the filters; try another seed or temperature."}
    row["tweets"] = [
        {
            "text": tweet.text,
            "tone": tweet.tone,
            "log_likelihood": round(tweet.log_likelihood, 4),
            "grounding": round(tweet.grounding, 4),
        }
        for tweet in tweets
    ]
    return row


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
