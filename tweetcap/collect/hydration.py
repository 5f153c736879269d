"""From a corpus to the ids that may be published, and from such ids back to texts and photos over the API.

    dehydrate(Path("corpus"), Path("ids.jsonl"))
    hydrate(Path("ids.jsonl"), folder, client)       # then build_corpus(folder, …) as from any collection

What is published are ids and decisions of ours: split, tone, weight, and digests of the phrases that were cut out.
With them the corpus that is built from the hydrated posts has the same rows, texts, splits and labels as the first,
but for what was deleted since.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features, List, Value
from huggingface_hub import DatasetCard

from tweetcap.collect.budget import MAX_BATCH, StopError
from tweetcap.collect.client import Client, RefusedError
from tweetcap.collect.corpus import LABELS, CorpusSettings, plan_corpus, read_labels
from tweetcap.collect.posts import read_forgotten
from tweetcap.collect.raw import PAGES, read_pages, read_rows, write_rows
from tweetcap.collect.splits import SPLITS
from tweetcap.data.shards import DATA, write_shards

# Refused so often in a row, nothing better is to be hoped for.
MAX_REFUSALS = 3

COLUMNS = ("post_id", "media_key", "photo_index", "split", "tone", "weight", "boilerplate")


def dehydrate(source: Path, output: Path, *, card: str | None = None, overwrite: bool = False) -> dict[str, int]:
    """Write the ids and labels of a corpus; return the rows of each split.

    Args:
        source: a collection, the folder of a corpus, or a Parquet file of one.
        output: a file that ends with .jsonl, or else a folder for Parquet with the card.
        card: needed for a folder.
        overwrite: replace a folder that was made of something else.

    Raises:
        ValueError: the source is none of these, or the output is in the way.
    """
    rows: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for row in _label_rows(source):
        if not row["post_id"].isdigit():
            raise ValueError(
                f"{source} holds posts of the 2021 project, whose ids nobody kept; nothing of them can be published."
            )
        rows[row["split"]].append(row)
    counts = {split: len(found) for split, found in rows.items()}
    if output.suffix == ".jsonl":
        if not output.parent.is_dir() or output.is_dir():
            raise ValueError(f"{output} can't be written; its folder must exist, and it may not be a folder itself.")
        write_rows(output, (row for split in SPLITS for row in rows[split]))
        return counts
    if card is None:
        raise ValueError(f"{output} has no suffix .jsonl, and a folder needs a card; name a .jsonl file.")
    _write_folder(output, rows, card, overwrite)
    return counts


def _label_rows(source: Path) -> Iterator[dict[str, Any]]:
    if (source / "raw").is_dir():
        plan = plan_corpus(source, CorpusSettings())
        yield from ({name: row[name] for name in COLUMNS} for split in SPLITS for row in plan.rows[split])
        return
    files = (
        sorted((source / DATA).glob("*.parquet")) or sorted(source.glob("*.parquet")) if source.is_dir() else [source]
    )
    if not files or not all(file.is_file() and file.suffix == ".parquet" for file in files):
        raise ValueError(f"{source} is no collection, no corpus and no Parquet file; name what is to be dehydrated.")
    for file in files:
        yield from _parquet_rows(file)


def _parquet_rows(file: Path) -> Iterator[dict[str, Any]]:
    try:
        table = pq.read_table(file, columns=list(COLUMNS))
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{file} is no whole Parquet file of a corpus ({type(error).__name__}).") from None
    if set(table.column_names) != set(COLUMNS):
        missing = next(name for name in COLUMNS if name not in table.column_names)
        raise ValueError(f"{file} has no column {missing}; name a corpus that `tweetcap dataset build tweets` made.")
    # A float32 has more digits than it means.
    yield from (row | {"weight": round(row["weight"], 6)} for row in table.select(list(COLUMNS)).to_pylist())


def _write_folder(output: Path, rows: dict[str, list[dict[str, Any]]], card: str, overwrite: bool) -> None:
    columns = {"photo_index": Value("int32"), "weight": Value("float32"), "boilerplate": List(Value("string"))}
    full = DatasetCard(card, ignore_metadata_errors=False)
    full.data["size_categories"] = [_size_category(sum(map(len, rows.values())))]
    write_shards(
        output,
        {split: found for split, found in rows.items() if found},
        _same_rows,
        Features({name: columns.get(name, Value("string")) for name in COLUMNS}),
        settings={"tweetcap": "ids"},
        card=str(full),
        rows_per_shard=200_000,
        overwrite=overwrite,
    )


def _same_rows(rows):
    return rows


def _size_category(count: int) -> str:
    """Return the Hub's name for a number of rows."""
    bounds = [(10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M")]
    return next((name for bound, name in bounds if count < bound), "1M<n<10M")


# --- Back -----------------------------------------------------------------------------------------


@dataclass
class Hydrated:
    """What came back.

    Attributes:
        wanted: posts that the ids name, without those that were forgotten here.
        found: of them, in this run and before.
        gone: what X says → posts that can't be had any more.
        unanswered: posts that X said nothing of, or that weren't asked for because the run ended early.
        stopped: why it ended early, None if it didn't.
    """

    wanted: int
    found: int = 0
    gone: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    stopped: str | None = None


def hydrate(ids: Path, folder: Path, client: Client, *, done: Callable[[int], None] = lambda posts: None) -> Hydrated:
    """Look up the posts of a dehydrated corpus, those that weren't answered yet; fetch the photos afterwards.

    Args:
        ids: a JSONL file, or a folder or file of Parquet, as `dehydrate` writes it.
        folder: the collection, new or of an earlier run; the caller holds its lock, then calls `write_posts` and
            `fetch_photos`.
        client: of the same collection; its ledger keeps the budget.
        done: called with the number of posts that each request settled.

    Raises:
        ValueError: the ids can't be read, or the folder was hydrated from others.
    """
    labels = read_ids(ids)
    _settle(folder, labels, ids)
    forgotten, _ = read_forgotten(folder)
    wanted = dict.fromkeys(row["post_id"] for row in labels if row["post_id"] not in forgotten)
    hydrated = Hydrated(len(wanted))
    answers = Answers()
    for page in read_pages(folder):
        answers.take(page)
    left = [post_id for post_id in wanted if not answers.settles(post_id)]
    done(len(wanted) - len(left))
    refusals = 0
    while left and hydrated.stopped is None:
        asked = left[:MAX_BATCH]
        try:
            page = client.posts(asked)
        except StopError as error:
            hydrated.stopped = str(error)
        except RefusedError as error:
            refusals += 1  # these can be asked for again by the next run; the others may still be had
            hydrated.stopped = str(error) if refusals == MAX_REFUSALS else None
        else:
            refusals = 0
            asked = page["request"]["params"]["ids"]
            answers.take(page)
        left = left[len(asked) :]
        done(len(asked))
    hydrated.found = sum(post_id in answers.found for post_id in wanted)
    hydrated.gone = Counter(answers.gone[post_id] for post_id in wanted if answers.is_gone(post_id))
    hydrated.unanswered = hydrated.wanted - hydrated.found - hydrated.gone.total()
    return hydrated


class Answers:
    """What the raw pages say of posts: found, or why not."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        self.gone: dict[str, str] = {}

    def take(self, page: dict[str, Any]) -> None:
        """Take one row of `raw/pages.jsonl` into account, whichever way it was asked for."""
        request, body = page["request"], page["body"]
        if page["status"] != 200 or request["kind"] not in ("posts", "timeline") or "not_json" in body:
            return
        self.found.update(post["id"] for post in body.get("data", []))
        if request["kind"] == "posts":
            asked = set(request["params"]["ids"])
            for error in body.get("errors", []):
                post_id = str(error.get("resource_id") or error.get("value") or "")
                if post_id in asked:
                    self.gone[post_id] = str(error.get("title") or "unknown")

    def is_gone(self, post_id: str) -> bool:
        return post_id in self.gone and post_id not in self.found

    def settles(self, post_id: str) -> bool:
        return post_id in self.found or post_id in self.gone


def read_ids(path: Path) -> list[dict[str, Any]]:
    """Read what `dehydrate` wrote.

    Raises:
        ValueError: it is something else; the message names the line.
    """
    if path.suffix == ".jsonl" and path.is_file():
        rows = []
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            try:
                rows.append(_checked(json.loads(line), f"{path} line {number}"))
            except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
                raise ValueError(f"{path} line {number} is no JSON; take the file that dehydrate wrote.") from None
    else:
        rows = [_checked(row, str(path)) for row in _label_rows(path) if not (path / "raw").is_dir()]
    if not rows:
        raise ValueError(f"{path} names no post; take what `tweetcap dataset dehydrate` wrote.")
    return rows


def _checked(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise ValueError(f"{where} is no object; take the file that dehydrate wrote.")
    post_id, media_key = row.get("post_id"), row.get("media_key")
    if not (isinstance(post_id, str) and post_id.isascii() and post_id.isdigit() and isinstance(media_key, str)):
        raise ValueError(f"{where} needs a post_id of digits and a media_key, both as strings.")
    if row.get("split") not in SPLITS:
        raise ValueError(f"{where} has the split {row.get('split')!r}; it must be one of {', '.join(SPLITS)}.")
    weight = row.get("weight")
    if not isinstance(weight, (int, float)) or not 0 <= weight < 100:
        raise ValueError(f"{where} has the weight {weight!r}; it must be a number from 0 to 100.")
    digests = row.get("boilerplate") or []
    if not (isinstance(digests, list) and all(isinstance(digest, str) for digest in digests)):
        raise ValueError(f"{where} has a boilerplate that is no list of strings; take the file that dehydrate wrote.")
    return {name: row.get(name) for name in COLUMNS}


def _settle(folder: Path, labels: list[dict[str, Any]], ids: Path) -> None:
    """Keep the labels in the collection; an older set must have named the same posts, but for forgotten ones."""
    forgotten, _ = read_forgotten(folder)
    fresh = {(row["post_id"], row["media_key"]): row for row in labels if row["post_id"] not in forgotten}
    known = read_labels(folder / LABELS)
    if not known and (folder / PAGES).exists() and next(read_rows(folder / PAGES), None) is not None:
        raise ValueError(f"{folder} is a collection of its own; hydrate into a new folder.")
    if known and known.keys() != fresh.keys():
        raise ValueError(f"{folder} was hydrated from other ids than {ids}; name another folder.")
    write_rows(folder / LABELS, fresh.values())
