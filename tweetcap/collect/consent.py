"""Forget posts and users: everywhere, for good, and to the end even if the process is killed midway.

    with lock_folder(folder):
        forget(folder, post_ids=["1700000000000000000"], users=["animal_01"])

First the tombstones are written to `forgotten.jsonl`; from then on nothing brings these posts back. Then they are taken
out of whatever was derived, and of the raw files last, since those tell what else belongs to a post. Each step replaces
a file at once and finds nothing left to do the second time: after a cut the next `forget`, of whatever, completes it.
"""

import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features
from huggingface_hub import DatasetCard

from tweetcap.collect.budget import REQUESTS
from tweetcap.collect.corpus import ACCOUNT_SPLITS, CORPORA, LABELS, REPORT
from tweetcap.collect.posts import PHOTOS, POSTS, read_forgotten
from tweetcap.collect.raw import (
    ARCHIVE,
    FORGOTTEN,
    PAGES,
    AppendOnly,
    now,
    read_rows,
    sync_folder,
    to_line,
    write_atomically,
)
from tweetcap.collect.timelines import SET_ASIDE
from tweetcap.data.shards import BUILD, CARD, DATA, write_card

PHOTO_FILE = re.compile(r"[0-9a-f]{64}\.\w+")

ID = re.compile(r"[0-9]{1,20}")


@dataclass
class Forgotten:
    """What was taken out.

    Attributes:
        posts, users: tombstones written now.
        photos: files removed.
        rows: path → rows taken out of it, of Parquet and JSONL that was derived.
        unknown: names that the collection doesn't know.
        notes: what the user should do or know, a sentence each.
    """

    posts: int = 0
    users: int = 0
    photos: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Targets:
    """What must not be anywhere.

    Attributes:
        names: of the users, in lower case.
        media: keys of photos that only these posts show.
    """

    posts: frozenset[str]
    users: frozenset[str]
    names: frozenset[str] = frozenset()
    media: frozenset[str] = frozenset()

    def has(self, post_id: Any, user_id: Any) -> bool:
        return str(post_id) in self.posts or str(user_id) in self.users


def forget(
    folder: Path,
    *,
    post_ids: Iterable[str] = (),
    users: Iterable[str] = (),
    derived: Iterable[Path] = (),
    reason: str = "asked for",
) -> Forgotten:
    """Remove posts, and all posts of users, from a collection and from what was made of it.

    Args:
        folder: the collection; the caller holds its lock.
        post_ids: need not be in the collection.
        users: names or ids; a name must be known to the collection.
        derived: Parquet and JSONL files, or folders of them, besides the corpora that the collection knows of.
        reason: for the tombstones.

    Raises:
        ValueError: an id is none, or a derived file can't be read; nothing was forgotten.
        OSError: something can't be written; run the same again.
    """
    if not (folder / "raw").is_dir():
        raise ValueError(f"{folder} is no collection; name the folder that `tweetcap collect` made.")
    post_ids = [_checked_id(folder, post_id) for post_id in post_ids]
    forgotten = Forgotten()
    files = _derived_files(folder, list(derived), forgotten)
    user_ids = _resolve_users(folder, users, forgotten)
    _write_tombstones(folder, post_ids, user_ids, files, reason, forgotten)
    posts, all_users = read_forgotten(folder)
    targets = _look_up(folder, Targets(frozenset(posts), frozenset(all_users)))
    roots = {Path(row["path"]) for row in read_rows(folder / CORPORA)} | {path.parent.parent for path in files}
    _remove_leftovers(folder, files, roots)
    for path in files:
        rows = remove_from_parquet(path, targets) if path.suffix == ".parquet" else _remove_rows(path, targets)
        if rows:
            forgotten.rows[str(path)] = rows
    for root in roots:
        update_card(root)
    forgotten.photos = _remove_photos(folder, targets)
    for name in (POSTS, LABELS):
        _remove_rows(folder / name, targets)
    _remove_names(folder, targets)
    _remove_rows(folder / ARCHIVE, targets)
    _rewrite(folder / PAGES, lambda row: scrub_page(row, targets), targets)
    if user_ids and (folder / "accounts.yaml").exists():
        forgotten.notes.append("Take forgotten accounts out of your accounts.yaml, so that they aren't paid for again.")
    return forgotten


def _checked_id(folder: Path, text: str) -> str:
    text = str(text).strip()
    # Tweets of the 2021 project are called as their photos' files were.
    if not ID.fullmatch(text) and all(text != post_id for post_id, _, _ in _all_posts(folder)):
        raise ValueError(f"{text!r} is no id of a post: ids are digits, as in x.com/name/status/1700000000000000000.")
    return text


# --- What is meant ---------------------------------------------------------------------------------


def _resolve_users(folder: Path, users: Iterable[str], forgotten: Forgotten) -> list[str]:
    """Return the ids of users who are given by name or id; a name of digits goes before an id."""
    wanted = [str(user).strip().removeprefix("@") for user in users]
    ids: dict[str, set[str]] = {}
    if wanted:
        for name, user_id in _all_names(folder):
            ids.setdefault(name.lower(), set()).add(user_id)
    found = []
    for user in wanted:
        if user.lower() in ids:
            found += sorted(ids[user.lower()])
        elif ID.fullmatch(user):
            found.append(user)
        else:
            forgotten.unknown.append(user)
    return found


def _all_names(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield every name with its user's id."""
    for row in read_rows(folder / ARCHIVE):
        yield str(row.get("username", "")), str(row.get("user_id", ""))
    for page in read_rows(folder / PAGES):
        request, body = page.get("request", {}), _body(page)
        users = _objects(body.get("includes", {}), "users")
        users += _objects(body, "data") if request.get("kind") == "users" else []
        for user in users:
            yield str(user.get("username", "")), str(user.get("id", ""))
        if request.get("kind") == "timeline" and request.get("account"):
            yield str(request["account"]), str(request.get("params", {}).get("id", ""))


def _write_tombstones(
    folder: Path, post_ids: list[str], user_ids: list[str], files: list[Path], reason: str, forgotten: Forgotten
) -> None:
    """Write down the users, the posts, and each known post of the users, since derived files may name posts only."""
    known_posts, known_users = read_forgotten(folder)
    of_users = set(user_ids) | known_users
    posts = dict.fromkeys(post_ids)
    if of_users:
        posts |= dict.fromkeys(post_id for post_id, user_id, _ in _all_posts(folder) if user_id in of_users)
        for path in files:
            if path.suffix == ".parquet":
                posts |= dict.fromkeys(_posts_of_users(path, of_users))
    with AppendOnly(folder / FORGOTTEN) as rows:
        for user_id in dict.fromkeys(user_ids):
            if user_id not in known_users:
                rows.append({"user_id": user_id, "at": now(), "reason": reason})
                forgotten.users += 1
        for post_id in posts:
            if post_id not in known_posts:
                rows.append({"post_id": post_id, "at": now(), "reason": reason})
                forgotten.posts += 1


def _look_up(folder: Path, targets: Targets) -> Targets:
    """Add the names of the users and the photos that no other post shows, while the raw files still tell them."""
    names = frozenset(name.lower() for name, user_id in _all_names(folder) if user_id in targets.users and name)
    media, others = set(), set()
    for post_id, user_id, keys in _all_posts(folder):
        (media if targets.has(post_id, user_id) else others).update(keys)
    return Targets(targets.posts, targets.users, names, frozenset(media - others))


def _all_posts(folder: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Yield post id, user id and media keys of everything in the raw files, replies and posts without photos too."""
    for row in read_rows(folder / ARCHIVE):
        photos = [str(photo.get("media_key")) for photo in _objects(row, "photos")]
        yield str(row.get("post_id")), str(row.get("user_id")), photos
    for page in read_rows(folder / PAGES):
        if page.get("request", {}).get("kind") != "users":
            for post in _posts_of_page(_body(page)):
                yield str(post.get("id")), str(post.get("author_id")), _media_keys(post)


def _body(page: dict[str, Any]) -> dict[str, Any]:
    return page["body"] if isinstance(page.get("body"), dict) else {}


def _objects(parent: Any, name: str) -> list[dict[str, Any]]:
    """Return the objects of a list; X's answers are kept as they came, whatever they were."""
    values = parent.get(name) if isinstance(parent, dict) else None
    values = values if isinstance(values, list) else [values]
    return [value for value in values if isinstance(value, dict)]


def _posts_of_page(body: dict[str, Any]) -> list[dict[str, Any]]:
    return _objects(body, "data") + _objects(body.get("includes", {}), "tweets")


def _media_keys(post: dict[str, Any]) -> list[str]:
    keys = post.get("attachments", {}).get("media_keys", []) if isinstance(post.get("attachments"), dict) else []
    return [str(key) for key in keys] if isinstance(keys, list) else []


# --- Raw pages -------------------------------------------------------------------------------------


def scrub_page(page: dict[str, Any], targets: Targets) -> dict[str, Any]:
    """Return a page without the posts, users, names and media to be forgotten; the page itself if it has none.

    What the collector goes by stays: which request it was, its bounds, its next page and what it cost.
    """
    body = _body(page)
    if "not_json" in body:
        held = ID.findall(str(body["not_json"]))
        return page | {"body": {"not_json": ""}} if targets.posts & {*held} or targets.users & {*held} else page
    request = page.get("request", {})
    is_users = request.get("kind") == "users"

    def keep_user(user: dict[str, Any]) -> bool:
        return str(user.get("id")) not in targets.users

    def keep_post(post: dict[str, Any]) -> bool:
        return not targets.has(post.get("id"), post.get("author_id"))

    def keep_error(error: dict[str, Any]) -> bool:
        named = {str(error.get(name, "")) for name in ("value", "resource_id")}
        return not (named & targets.posts or named & targets.users or {name.lower() for name in named} & targets.names)

    scrubbed = body | _kept(body, "data", keep_user if is_users else keep_post) | _kept(body, "errors", keep_error)
    if isinstance(body.get("includes"), dict):
        left = {key for post in _posts_of_page(scrubbed) if keep_post(post) for key in _media_keys(post)}
        went = {key for post in _posts_of_page(body) if not keep_post(post) for key in _media_keys(post)} - left
        includes = body["includes"]
        scrubbed["includes"] = (
            includes
            | _kept(includes, "users", keep_user)
            | _kept(includes, "tweets", keep_post)
            | _kept(includes, "media", lambda item: item.get("media_key") not in went | targets.media)
        )
    params = request.get("params", {})
    if str(request.get("account") or "").lower() in targets.names:
        request = request | {"account": None}
    if is_users and isinstance(params.get("usernames"), list):
        names = [name for name in params["usernames"] if str(name).lower() not in targets.names]
        request = request | {"params": params | {"usernames": names}}
    return page | {"request": request, "body": scrubbed}


def _kept(parent: dict[str, Any], name: str, keep: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return the list under this name without what is not to be kept; nothing if there is no such list."""
    if not isinstance(parent.get(name), list):
        return {}
    return {name: [value for value in parent[name] if not isinstance(value, dict) or keep(value)]}


# --- JSONL -----------------------------------------------------------------------------------------


def _rewrite(path: Path, change: Callable[[dict[str, Any]], dict[str, Any] | None], targets: Targets) -> int:
    """Replace a JSONL file by one with changed lines, if any line changes; return how many do.

    A line that holds no object goes if it names one of the targets, and a torn last line always.
    """
    if not path.exists():
        return 0
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    changed = 0
    try:
        with path.open("rb") as old, unfinished.open("wb") as new:
            for line in old:
                kept = _changed_line(line, change, targets)
                changed += kept != line
                new.write(kept)
            new.flush()
            os.fsync(new.fileno())
        if changed:
            unfinished.replace(path)
            sync_folder(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)
    return changed


def _changed_line(line: bytes, change: Callable[[dict[str, Any]], dict[str, Any] | None], targets: Targets) -> bytes:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        if not line.endswith(b"\n"):
            return b""
        row = None
    if not isinstance(row, dict):
        held = {*ID.findall(line.decode("utf-8", "replace"))}
        return b"" if held & (targets.posts | targets.users) else line
    changed = change(row)
    return line if changed == row else b"" if changed is None else to_line(changed)


def _remove_rows(path: Path, targets: Targets) -> int:
    return _rewrite(path, lambda row: None if targets.has(row.get("post_id"), row.get("user_id")) else row, targets)


def _remove_names(folder: Path, targets: Targets) -> None:
    """Take the users' names out of the ledger and the list of accounts that were set aside."""

    def unnamed(row: dict[str, Any]) -> dict[str, Any]:
        return row | {"account": None} if str(row.get("account") or "").lower() in targets.names else row

    _rewrite(folder / REQUESTS, unnamed, targets)
    _rewrite(folder / SET_ASIDE, lambda row: row if unnamed(row) == row else None, targets)
    if (folder / ACCOUNT_SPLITS).exists():
        kept = json.loads((folder / ACCOUNT_SPLITS).read_text("utf-8"))
        accounts = {account: split for account, split in kept["accounts"].items() if account not in targets.users}
        if accounts != kept["accounts"]:
            write_atomically(folder / ACCOUNT_SPLITS, json.dumps(kept | {"accounts": accounts}, indent=1).encode())


# --- Photos ----------------------------------------------------------------------------------------


def _remove_photos(folder: Path, targets: Targets) -> int:
    """Remove the files and then the records of photos that only forgotten posts show; return how many files.

    A file that no record names goes too: it was left by a cut, and nobody can say any more whose it was.
    """
    records = list(read_rows(folder / PHOTOS))
    kept = {row["path"] for row in records if row.get("path") and row.get("media_key") not in targets.media}
    removed = 0
    for path in sorted((folder / "photos").glob("*/*")):
        if path.relative_to(folder).as_posix() not in kept and PHOTO_FILE.fullmatch(path.name):
            path.unlink()
            removed += 1
    _rewrite(folder / PHOTOS, lambda row: None if row.get("media_key") in targets.media else row, targets)
    return removed


# --- What was derived ------------------------------------------------------------------------------


def _derived_files(folder: Path, given: Iterable[Path], forgotten: Forgotten) -> list[Path]:
    """Return the Parquet and JSONL files made of the collection: given, noted by the builder, or inside it.

    Raises:
        ValueError: one that was given isn't there, or is something else.
    """
    files: set[Path] = set()
    for path in map(Path, given):
        if path.is_dir():
            found = [*path.rglob("*.parquet"), *path.rglob("*.jsonl")]
        elif path.is_file() and path.suffix in (".parquet", ".jsonl"):
            found = [path]
        else:
            raise ValueError(f"{path} is no Parquet file, JSONL file or folder; name what was made of {folder}.")
        for file in found:
            if file.suffix == ".parquet" and not _is_derived(file):
                raise ValueError(f"{file} has no column post_id, or is no whole Parquet file; it can't be searched.")
        # What was given may hold the collection too. Tombstones stay, and the archive's rows go last.
        files |= {file.resolve() for file in found if file.name != FORGOTTEN.name}
    files.discard((folder / ARCHIVE).resolve())
    found = [*folder.rglob("*.parquet")]
    for row in read_rows(folder / CORPORA):
        if Path(row["path"]).is_dir():
            found += Path(row["path"]).rglob("*.parquet")
        else:
            forgotten.notes.append(f"The corpus {row['path']} is gone; if it was moved, name its new place too.")
    return sorted(files | {file.resolve() for file in found if _is_derived(file)})


def _is_derived(path: Path) -> bool:
    try:
        return "post_id" in pq.read_schema(path).names
    except (OSError, pa.ArrowInvalid):
        return False


def _posts_of_users(path: Path, users: Collection[str]) -> list[str]:
    if "user_id" not in pq.read_schema(path).names:
        return []
    table = pq.read_table(path, columns=["post_id", "user_id"])
    pairs = zip(table["post_id"].to_pylist(), table["user_id"].to_pylist(), strict=True)
    return [str(post_id) for post_id, user_id in pairs if str(user_id) in users]


def remove_from_parquet(path: Path, targets: Targets) -> int:
    """Replace a Parquet file by one without the rows of the targets; return how many rows went.

    A file of which nothing is left is deleted, since `load_dataset` takes no split without rows.
    """
    with pq.ParquetFile(path) as file:
        columns = [name for name in ("post_id", "user_id") if name in file.schema_arrow.names]
        ids = file.read(columns=columns).to_pylist()
        kept = [not targets.has(row["post_id"], row.get("user_id")) for row in ids]
        if all(kept):
            return 0
        if not any(kept):
            path.unlink()
            return len(kept)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
        try:
            _copy_rows(file, kept, unfinished)
            unfinished.replace(path)
            sync_folder(path.parent)
        finally:
            unfinished.unlink(missing_ok=True)
    return kept.count(False)


def _copy_rows(file, kept: list[bool], target: Path) -> None:
    """Write the rows to be kept, a row group at a time, with the schema and its metadata as they were."""
    start = 0
    with target.open("wb") as stream:
        with pq.ParquetWriter(stream, file.schema_arrow, compression="snappy") as writer:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                mask = kept[start : start + table.num_rows]
                start += table.num_rows
                if any(mask):
                    writer.write_table(table.filter(pa.array(mask)))
        stream.flush()
        os.fsync(stream.fileno())


def update_card(root: Path) -> None:
    """Bring the numbers of a dataset's card and report in line with its Parquet files."""
    if not (root / CARD).is_file():
        return
    card = DatasetCard.load(root / CARD)
    info = card.data.to_dict().get("dataset_info")
    if not isinstance(info, dict):
        return
    splits, features = {}, None
    for split in info.get("splits", []):
        files = sorted((root / DATA).glob(f"{split['name']}-*.parquet"))
        rows = sum(pq.read_metadata(file).num_rows for file in files)
        if rows:
            features = Features.from_arrow_schema(pq.read_schema(files[0]))
            splits[split["name"]] = rows, split["num_bytes"] * rows // max(split["num_examples"], 1)
    before = {split["name"]: split["num_examples"] for split in info.get("splits", [])}
    after = {name: rows for name, (rows, _) in splits.items()}
    if before == after:
        return
    report = root / REPORT
    if report.is_file():
        counts = json.loads(report.read_text("utf-8"))
        counts["rows"] = {name: after.get(name, 0) for name in counts.get("rows", {})}
        counts["forgotten_rows"] = counts.get("forgotten_rows", 0) + sum(before.values()) - sum(after.values())
        write_atomically(report, json.dumps(counts, ensure_ascii=False, indent=2).encode())
    if features is None:
        (root / CARD).unlink()  # a dataset of no rows can't be loaded
    else:
        write_card(root / CARD, str(card), features, splits)


def _remove_leftovers(folder: Path, files: Iterable[Path], roots: Iterable[Path]) -> None:
    """Delete what cut writes of ours left behind: it may hold what is to be forgotten."""
    leftovers = list(folder.rglob(".*.unfinished"))
    for path in files:
        leftovers += path.parent.glob(f".{path.name}.*.unfinished")
    for root in roots:
        if (root / BUILD).is_dir():
            leftovers += [*root.glob("*.partial"), *root.glob(f"{DATA}/*.partial")]
    for path in leftovers:
        path.unlink(missing_ok=True)


def known_ids(folder: Path, kind: str, derived: Iterable[Path] = ()) -> list[str]:
    """Return the ids of all posts ("tweets") or users that a collection and what was made of it hold."""
    column = {"tweets": "post_id", "users": "user_id"}[kind]
    ids = {pair[kind == "users"] for pair in _all_posts(folder)}
    for path in _derived_files(folder, derived, Forgotten()):
        if path.suffix == ".jsonl":
            ids.update(str(row.get(column, "")) for row in read_rows(path))
        elif column in pq.read_schema(path).names:
            ids.update(map(str, pq.read_table(path, columns=[column])[column].to_pylist()))
    return sorted((one for one in ids if ID.fullmatch(one)), key=int)
