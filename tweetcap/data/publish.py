"""Push a dataset folder to the Hub, after a look at whether it may be published and whether its card is whole.

Texts of posts and other people's photos are refused: X lets a dataset carry post IDs only, and the starter's photos
stay under their owners' terms. A folder that holds either says so in its card (`tweetcap: {content: posts}`), and
columns and files are looked at too, since a card can be swapped.
"""

import csv
import fnmatch
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from huggingface_hub import DatasetCard

from tweetcap.data.hub import PublishError, push_folder
from tweetcap.data.shards import BUILD, CARD, DATA, LEFT_OUT

REQUIRED = ("license", "language", "pretty_name", "task_categories", "size_categories", "configs")
# What a build leaves beside the dataset; none of it is part of it.
NOT_UPLOADED = [f"{BUILD}/*", LEFT_OUT, "*.partial", "*.lock", ".*", ".*/*", "*/.*"]
PUBLISHABLE = (".md", ".parquet", ".jsonl", ".json", ".csv", ".txt", ".yaml", ".yml", ".bib")
# Of a collection, wherever in the folder it lies.
COLLECTION_FILES = ("posts.jsonl", "photos.jsonl", "forgotten.jsonl")
REFUSALS = {
    "posts": "holds texts of posts, and X lets a dataset carry post IDs only; publish what "
    "`tweetcap dataset dehydrate` makes of it.",
    "photos": "holds photos that stay under their owners' terms; publish dataset_cards/animal_tweets_starter, "
    "from which anyone can hydrate them.",
}


def push_dataset(
    folder: str | Path, repo_id: str, *, private: bool = False, revision: str | None = None
) -> tuple[str, str | None]:
    """Upload a dataset folder with its card, and return its address and a remark.

    Shards of an earlier build are taken out of the branch's newest state; its history keeps them.

    The token is the one of `hf auth login` or HF_TOKEN; it is in no message.

    Args:
        repo_id: `name` or `organisation/name`; the repository is made if it isn't there.
        revision: branch, made if it isn't there.

    Returns:
        The dataset's address, and what could not be checked, if anything.

    Raises:
        PublishError: the folder may not be published, its card is not whole, or the Hub refuses.
    """
    folder = Path(folder)
    card = check_folder(folder)
    return push_folder(
        folder,
        repo_id,
        "dataset",
        card,
        private=private,
        revision=revision,
        ignore=NOT_UPLOADED,
        # The card's patterns would take in shards of an earlier build, and with them rows that were to be forgotten.
        delete=[f"{DATA}/*.parquet"],
        message=f"Upload {folder.resolve().name} with tweetcap",
    )


def uploaded_files(folder: Path) -> list[Path]:
    """Return the files of a dataset folder that belong to the dataset."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in files if not _matches(path.relative_to(folder).as_posix())]


def _matches(name: str) -> bool:
    # As huggingface_hub does: a star stands for slashes too.
    return any(fnmatch.fnmatch(name, pattern) for pattern in NOT_UPLOADED)


# --- May it be published? -------------------------------------------------------------------------


def check_folder(folder: Path) -> DatasetCard:
    """Return the card of a folder that may be published.

    Raises:
        PublishError: as `push_dataset`; nothing has been sent.
    """
    if not folder.is_dir():
        raise PublishError(f"{folder} is not a folder; name the folder of a dataset.")
    if not (folder / CARD).is_file():
        unfinished = (folder / BUILD).is_dir()
        why = "its build is not finished; run the build again" if unfinished else "it needs a card"
        raise PublishError(f"{folder} has no {CARD}: {why}.")
    card = read_card(folder / CARD)
    marker = card.data.get("tweetcap") or {}
    content = marker.get("content") if isinstance(marker, dict) else None
    if content in REFUSALS:
        raise PublishError(f"{folder} {REFUSALS[content]}")
    files = uploaded_files(folder)
    for path in files:
        if "raw" in path.relative_to(folder).parts[:-1] or path.name in COLLECTION_FILES:
            raise PublishError(f"{folder} {REFUSALS['posts']}")
        if path.suffix.lower() not in PUBLISHABLE:
            raise PublishError(f"{path} is no file of a dataset ({', '.join(PUBLISHABLE)}); move it elsewhere.")
        held = _content(path)
        if held is not None:
            raise PublishError(f"{path} {REFUSALS[held]}")
    _check_configs(folder, card, [path.relative_to(folder).as_posix() for path in files])
    return card


def read_card(path: Path) -> DatasetCard:
    """Return a card whose YAML can be read and has what the Hub and a reader need.

    Raises:
        PublishError: it has no YAML, broken YAML, or lacks a field.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        card = DatasetCard(text, ignore_metadata_errors=False)
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise PublishError(f"{path} has YAML that can't be read ({' '.join(str(error).split())}); mend it.") from error
    missing = [name for name in REQUIRED if not card.data.get(name)]
    if missing:
        raise PublishError(f"{path} has no {missing[0]} in its YAML; add it.")
    if not any(line.startswith("# ") for line in card.text.splitlines()):
        raise PublishError(f"{path} has no title; a card begins with `# Name`.")
    return card


def _check_configs(folder: Path, card: DatasetCard, names: list[str]) -> None:
    """See to it that every split of the card names files that are there, and every Parquet file is in a split."""
    patterns = [pattern for config in _list(card.data.get("configs")) for pattern in _patterns(config)]
    if not patterns:
        raise PublishError(f"{folder / CARD} names no data_files in its configs; add them.")
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise PublishError(f"{folder / CARD} names {pattern}, and no such file is in {folder}.")
    for name in fnmatch.filter(names, "*.parquet"):
        if not any(fnmatch.fnmatch(name, pattern) for pattern in patterns):
            raise PublishError(f"{folder / name} is in no split of {CARD}; name it there or move it elsewhere.")


def _patterns(config: Any) -> list[str]:
    found = []
    for entry in _list(config.get("data_files") if isinstance(config, dict) else None):
        found += _list(entry.get("path") if isinstance(entry, dict) else entry)
    return [pattern for pattern in found if isinstance(pattern, str)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _content(path: Path) -> str | None:
    """Return which of `REFUSALS` a file's columns call for: a post's text or photo beside its ID, a starter's photo."""
    names = _columns(path)
    if names & {"post_id", "tweet_id"} and names & {"text", "full_text", "image", "photo"}:
        return "posts"
    return "photos" if {"photo_id", "image"} <= names else None


def _columns(path: Path) -> set[str]:
    """Return the columns of a Parquet, JSONL or CSV file; none of any other."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        try:
            return set(pq.read_schema(path).names)
        except (OSError, pa.ArrowInvalid) as error:
            raise PublishError(f"{path} is not a whole Parquet file ({error}); build it again.") from error
    names: set[str] = set()
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        if suffix == ".csv":
            names.update(next(csv.reader(lines), []))
        for line in lines if suffix == ".jsonl" else ():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            names.update(row if isinstance(row, dict) else ())
    return names
