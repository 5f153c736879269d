"""Write rows as a dataset folder: sharded Parquet and a card, which plain `load_dataset(folder)` reads, streaming too.

    built = write_shards(
        "out",
        {"train": items, "test": other_items},        # one light item a row: a path, an id, a dict
        read_rows,                                    # turns a slice of items into rows, in a worker process
        Features({"image": Image(), "text": Value("string")}),
        settings={"longest_side": 360},               # what else the rows depend on
        card=Path("card.md").read_text(),             # its YAML gets `configs` and `dataset_info`
    )

A shard is written under a temporary name and renamed when it is whole, so a cut at any moment costs the shards at work
and the same call goes on with the others. Rows pass through in row groups of some 32 MB, so memory does not grow
with the number of rows. The folder:

    README.md                         the card
    data/train-00000-of-00012.parquet
    left_out.jsonl                    what was left out and why, if anything was
    .build/                           what was asked for and what is done; not part of the dataset
"""

import contextlib
import hashlib
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from datasets import DatasetInfo, Features, SplitDict, SplitInfo
from datasets.arrow_writer import ParquetWriter
from filelock import FileLock, Timeout
from huggingface_hub import DatasetCard
from tqdm import tqdm

CARD, DATA, LEFT_OUT, BUILD = "README.md", "data", "left_out.jsonl", ".build"
# A reader holds one row group in memory; the Hub's viewer wants them below 100 MB.
ROW_GROUP_BYTES = 32 * 2**20
ROW_GROUP_ROWS = 5_000
ROWS_AT_ONCE = 25


class LeftOut(NamedTuple):
    """What `read_rows` yields in place of a row that can't be had.

    Attributes:
        name: what the row would have been of: a file, an id.
        reason: the same words for the same fault, since reasons are counted.
    """

    name: str
    reason: str


Row = dict[str, Any]
ReadRows = Callable[[Sequence[Any]], Iterable[Row | LeftOut]]


@dataclass(frozen=True)
class Built:
    """What a finished folder holds.

    Attributes:
        rows: split → rows; a split of which nothing was left has none and no file.
        shards: files written by this call.
        done_before: files that an earlier, cut call had written.
        left_out: reason → how often; the names are in the folder's `left_out.jsonl`.
        first_left_out: the first of them, for a message.
    """

    folder: Path
    rows: dict[str, int]
    shards: int
    done_before: int
    left_out: dict[str, int]
    first_left_out: list[LeftOut]


def write_shards(
    folder: str | Path,
    splits: Mapping[str, Sequence[Any]],
    read_rows: ReadRows,
    features: Features,
    *,
    settings: dict[str, Any],
    card: str,
    left_out: Sequence[tuple[str, LeftOut]] = (),
    rows_per_shard: int = 2_000,
    num_proc: int = 1,
    overwrite: bool = False,
) -> Built:
    """Write a dataset folder, or what a cut call left to write of it.

    On a folder that is whole, shards that had to leave rows out are tried again.

    Args:
        folder: made if it isn't there; one that holds anything else is refused.
        splits: split → its items in order, one a row: a list or anything that can be measured and sliced, such as a
            range. Items are JSON or have a telling `str`: their digest decides whether a folder can be gone on with.
        read_rows: yields the row, or `LeftOut`, of each item of a slice. It runs in worker processes: a function of a
            module, or a `functools.partial` of one. An image is `{"bytes": …, "path": name}` to embed it, or
            `{"bytes": None, "path": URL or path}` to refer to it.
        features: the columns; a row has a value for each.
        settings: whatever else the rows depend on, as JSON: options, the digest of an input file.
        card: text of the card with its YAML; `configs` and `dataset_info` in it are replaced.
        left_out: (split, what) of all that never became an item, to be reported with the rest.
        rows_per_shard: at most; a shard of a few hundred MB suits the Hub.
        num_proc: worker processes; 1 works in this one. A script that asks for more needs the usual
            `if __name__ == "__main__":`.
        overwrite: begin anew where the folder was built from other inputs.

    Raises:
        ValueError: the folder belongs to something else, nothing was left to write, or a row doesn't fit the features.
    """
    folder = Path(folder)
    plan = {
        "settings": settings,
        "splits": {name: {"items": len(items), "digest": _digest(items)} for name, items in splits.items()},
        "features": features._to_yaml_list(),
        "rows_per_shard": rows_per_shard,
    }
    with _own(folder):
        _settle(folder, json.loads(json.dumps(plan, default=str)), overwrite)
        shards = list(_shards(folder, splits, rows_per_shard))
        whole = (folder / CARD).exists()
        to_do = [shard for shard in shards if not shard.is_done() or (whole and shard.result()["left_out"])]
        (folder / CARD).unlink(missing_ok=True)
        done_before = sum(shard.items for shard in shards) - sum(shard.items for shard in to_do)
        with tqdm(total=sum(map(len, splits.values())), initial=done_before, unit="row", disable=None) as bar:
            for shard in _write_all(to_do, splits, read_rows, features, num_proc):
                bar.update(shard.items)
        return _finish(folder, shards, features, card, left_out, written=len(to_do))


def write_card(path: str | Path, card: str, features: Features, splits: Mapping[str, tuple[int, int]]) -> None:
    """Write a card whose YAML says where the splits lie and what is in them.

    Args:
        path: the card's file; the Parquet files lie in `data/` beside it, named after their split.
        card: text with YAML; other keys of it stay.
        splits: split → (rows, bytes in memory).
    """
    path = Path(path)
    infos = {name: SplitInfo(name, num_bytes=size, num_examples=rows) for name, (rows, size) in splits.items()}
    info = DatasetInfo(
        features=features,
        splits=SplitDict(infos),
        dataset_size=sum(size for _, size in splits.values()),
        download_size=sum(file.stat().st_size for file in (path.parent / DATA).glob("*.parquet")),
    )
    full = DatasetCard(card, ignore_metadata_errors=False)
    full.data["configs"] = [
        {
            "config_name": "default",
            "data_files": [{"split": name, "path": f"{DATA}/{name}-*"} for name in splits],
        }
    ]
    full.data["dataset_info"] = info._to_yaml_dict()
    _write(path, str(full))


# --- The folder -----------------------------------------------------------------------------------


@contextlib.contextmanager
def _own(folder: Path) -> Iterator[None]:
    """Keep a second build out of the folder while this one runs."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; name a folder for the dataset.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / BUILD).is_dir():
        raise ValueError(f"{folder} holds files that are no build of tweetcap's; choose a new folder.")
    (folder / BUILD).mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / BUILD / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(f"another build is at work in {folder}; wait for it or choose another folder.") from None
    try:
        yield
    finally:
        lock.release()


def _settle(folder: Path, plan: dict[str, Any], overwrite: bool) -> None:
    """Record what the folder is built from; refuse or clear one that is of something else."""
    record = folder / BUILD / "plan.json"
    try:
        earlier = json.loads(record.read_text(encoding="utf-8"))
    except FileNotFoundError:
        earlier = plan
    except ValueError:
        earlier = None
    if earlier != plan:
        if not overwrite:
            what = _difference(earlier or {}, plan)
            raise ValueError(f"{folder} was built with {what}; choose another folder or add --overwrite.")
        for name in (DATA, CARD, LEFT_OUT):
            _remove(folder / name)
        for path in (folder / BUILD).glob("*.json"):
            path.unlink()
    for path in [*folder.glob(f"{DATA}/*.partial"), *folder.glob(f"{BUILD}/*.partial"), *folder.glob("*.partial")]:
        path.unlink(missing_ok=True)
    (folder / DATA).mkdir(exist_ok=True)
    _write(record, json.dumps(plan, ensure_ascii=False, indent=1))


def _difference(earlier: dict[str, Any], plan: dict[str, Any]) -> str:
    """Say in a few words where two plans part."""
    before, now = earlier.get("settings", {}), plan["settings"]
    for name in [*now, *before]:
        if before.get(name) != now.get(name):
            return f"{name} {before.get(name)} and not {now.get(name)}"
    for name in plan["splits"]:
        if earlier.get("splits", {}).get(name) != plan["splits"][name]:
            return f"other inputs for the split {name}"
    return "other settings"


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _digest(items: Sequence[Any]) -> str:
    if isinstance(items, range):
        return str(items)
    digest = hashlib.sha256()
    for item in items:
        digest.update(
            json.dumps(item, ensure_ascii=False, sort_keys=True, default=str).encode("utf-8", "surrogatepass")
        )
        digest.update(b"\n")
    return digest.hexdigest()


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


# --- Shards ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shard:
    """One file: items start to stop of a split."""

    folder: Path
    split: str
    number: int
    of: int
    start: int
    stop: int

    @property
    def items(self) -> int:
        return self.stop - self.start

    @property
    def path(self) -> Path:
        return self.folder / DATA / f"{self.split}-{self.number:05d}-of-{self.of:05d}.parquet"

    @property
    def record(self) -> Path:
        """Where it is written down that the shard is whole: its rows, sizes and what was left out."""
        return self.folder / BUILD / f"{self.path.stem}.json"

    def result(self) -> dict[str, Any]:
        return json.loads(self.record.read_text(encoding="utf-8"))

    def is_done(self) -> bool:
        try:
            return self.path.stat().st_size == self.result()["file_bytes"]
        except (OSError, ValueError, KeyError):
            return False


def _shards(folder: Path, splits: Mapping[str, Sequence[Any]], rows_per_shard: int) -> Iterator[Shard]:
    for split, items in splits.items():
        count = -(-len(items) // rows_per_shard)
        bounds = [len(items) * number // count for number in range(count + 1)] if count else []
        for number, (start, stop) in enumerate(itertools.pairwise(bounds)):
            yield Shard(folder, split, number, count, start, stop)


def _write_all(
    shards: list[Shard], splits: Mapping[str, Sequence[Any]], read_rows: ReadRows, features: Features, num_proc: int
) -> Iterator[Shard]:
    """Write the shards and yield each when it is whole."""
    if num_proc == 1 or len(shards) < 2:
        for shard in shards:
            _write_shard(shard, splits[shard.split][shard.start : shard.stop], read_rows, features)
            yield shard
        return
    # Forking a process that runs Arrow's threads can hang, so the workers start afresh.
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(min(num_proc, len(shards)), mp_context=context, initializer=_begin_work)
    futures: dict[Future[None], Shard] = {}
    try:
        for shard in shards:
            items = splits[shard.split][shard.start : shard.stop]
            futures[pool.submit(_write_shard, shard, items, read_rows, features)] = shard
        for future in as_completed(futures):
            future.result()
            yield futures[future]
    except BrokenProcessPool:
        raise ValueError(
            "a worker process was killed, perhaps for want of memory; run the same command again with fewer processes."
        ) from None
    finally:
        if any(not future.done() for future in futures):  # interrupted, or one failed
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()
        pool.shutdown()


def _begin_work() -> None:
    """Leave Ctrl-C to the parent, and end with it however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _write_shard(shard: Shard, items: Sequence[Any], read_rows: ReadRows, features: Features) -> None:
    partial = shard.path.with_name(f"{shard.path.name}.{os.getpid()}.partial")
    left_out: list[LeftOut] = []
    try:
        with partial.open("wb") as stream:
            writer = ParquetWriter(stream=stream, features=features)
            for table in _row_groups(_rows(read_rows(items), left_out), features, shard):
                writer.write_table(table, writer_batch_size=table.num_rows)
            rows, in_memory = writer.finalize(close_stream=False)
            stream.flush()
            # The name must not outlive a power cut that the content doesn't survive.
            os.fsync(stream.fileno())
        result = {"rows": rows, "bytes": in_memory, "file_bytes": partial.stat().st_size, "left_out": left_out}
        partial.replace(shard.path)
        _write(shard.record, json.dumps(result, ensure_ascii=True))
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _rows(found: Iterable[Row | LeftOut], left_out: list[LeftOut]) -> Iterator[Row]:
    for row in found:
        if isinstance(row, LeftOut):
            left_out.append(row)
        else:
            yield row


def _row_groups(rows: Iterator[Row], features: Features, shard: Shard) -> Iterator[pa.Table]:
    schema = features.arrow_schema
    tables: list[pa.Table] = []
    while batch := list(itertools.islice(rows, ROWS_AT_ONCE)):
        try:
            # Not features.encode_example: it drops an image's bytes where a file of its name happens to lie at hand.
            tables.append(pa.Table.from_pylist(batch, schema=schema))
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise ValueError(f"{shard.path.name}: a row doesn't fit the features ({error}).") from error
        rows_so_far = sum(table.num_rows for table in tables)
        if rows_so_far >= ROW_GROUP_ROWS or sum(table.nbytes for table in tables) >= ROW_GROUP_BYTES:
            yield pa.concat_tables(tables)
            tables = []
    if tables:
        yield pa.concat_tables(tables)


# --- When all shards are there --------------------------------------------------------------------


def _left_out_of(shards: list[Shard]) -> Iterator[tuple[str, list[str]]]:
    for shard in shards:
        for entry in shard.result()["left_out"]:
            yield shard.split, entry


def _finish(
    folder: Path,
    shards: list[Shard],
    features: Features,
    card: str,
    left_out: Sequence[tuple[str, LeftOut]],
    *,
    written: int,
) -> Built:
    """Gather what the shards report, and write the card last: a folder that has one is whole."""
    splits: dict[str, tuple[int, int]] = {}
    reasons: Counter[str] = Counter()
    first: list[LeftOut] = []
    partial = folder / f"{LEFT_OUT}.partial"
    with partial.open("w", encoding="utf-8") as lines:
        for split, (name, reason) in itertools.chain(left_out, _left_out_of(shards)):
            reasons[reason] += 1
            first += [LeftOut(name, reason)] if len(first) < 5 else []
            lines.write(json.dumps({"split": split, "name": name, "reason": reason}, ensure_ascii=True) + "\n")
    for shard in shards:
        result = shard.result()
        rows, size = splits.get(shard.split, (0, 0))
        splits[shard.split] = rows + result["rows"], size + result["bytes"]
    partial.replace(folder / LEFT_OUT)
    if not reasons:
        (folder / LEFT_OUT).unlink()
    kept = {split: sizes for split, sizes in splits.items() if sizes[0]}
    if not kept:
        for shard in shards:
            shard.record.unlink()  # the same call tries all of them again
        why = f" ({first[0].name}: {first[0].reason})" if first else ""
        raise ValueError(f"nothing was left to write to {folder}{why}; check the inputs.")
    for shard in shards:
        if shard.split not in kept:
            shard.path.unlink(missing_ok=True)  # `load_dataset` takes no split without rows
    write_card(folder / CARD, card, features, kept)
    return Built(
        folder=folder,
        rows={split: sizes[0] for split, sizes in splits.items()},
        shards=written,
        done_before=len(shards) - written,
        left_out=dict(reasons),
        first_left_out=first,
    )
