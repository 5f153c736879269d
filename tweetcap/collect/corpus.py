"""Turn a collection into a corpus for training: Parquet with photo, text, tone, likes and split, and a report.

    built, report = build_corpus(Path("collection"), Path("corpus"))
    load_dataset("corpus")

A row is a post with its first photo, or with each of its photos. What a row needs is decided for the whole collection
first (`plan_corpus`: texts cleaned, copies found, splits assigned), then the shards are written. A corpus is for its
maker alone: it holds texts and photos of posts, its card says so, and `tweetcap dataset push` refuses it.
"""

import csv
import functools
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Features, Image, List, Value

from tweetcap.collect.duplicates import MAX_DISTANCE, cluster_photos, cluster_texts
from tweetcap.collect.posts import Photo, PhotoRecord, Post, derive_posts, read_photos
from tweetcap.collect.raw import read_rows, write_atomically, write_rows
from tweetcap.collect.splits import SHARES, SPLITS, SplitPost, Splits, assign_splits, check_shares
from tweetcap.collect.text import Cleaned, PostText, TextSettings, clean_posts, clean_text
from tweetcap.data.shards import BUILD, Built, LeftOut, write_shards
from tweetcap.model import TONES
from tweetcap.write.filters import fold

# Of a collection: what a dehydrated corpus decided for its posts, the accounts' splits, and the corpora made of it.
LABELS = Path("labels.jsonl")
ACCOUNT_SPLITS = Path("splits.json")
CORPORA = Path("corpora.jsonl")
# Of a corpus.
REPORT = Path("report.json")

# A text that was good when its labels were made is taken as it is now, whatever these settings were then.
LENIENT = TextSettings(any_language=True, min_length=1, max_length=10_000)


@dataclass(frozen=True)
class CorpusSettings:
    """What a corpus is made by.

    Attributes:
        all_photos: a row for each photo of a post; otherwise for its first.
        max_distance: bits in which the perceptual hashes of two copies of a photo may differ.
        seed: of the splits.
    """

    text: TextSettings = field(default_factory=TextSettings)
    shares: Mapping[str, float] = field(default_factory=lambda: dict(SHARES))
    all_photos: bool = False
    max_distance: int = MAX_DISTANCE
    seed: int = 0


@dataclass(frozen=True)
class Plan:
    """What a corpus will hold.

    Attributes:
        rows: split → a row each, without its image, and the `path` and `sha256` of that in the collection.
        accounts: account → split, to be kept for the next time.
        report: counts, and no text, name or id.
    """

    rows: dict[str, list[dict[str, Any]]]
    accounts: dict[str, str]
    report: dict[str, Any]


def build_corpus(
    collection: Path,
    output: Path,
    settings: CorpusSettings | None = None,
    *,
    tones: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> tuple[Built, dict[str, Any]]:
    """Write the corpus of a collection, or what a cut call left to write of it; return what was built and the report.

    Args:
        collection: the caller holds its lock.
        tones: post_id → tone; see `read_tones`.
        overwrite: as in `write_shards`.

    Raises:
        ValueError: there is nothing to build from, or the output belongs to something else.
    """
    settings = settings or CorpusSettings()
    plan = plan_corpus(collection, settings, tones=tones)
    remember_corpus(collection, output)
    features = Features(
        {
            "image": Image(),
            "text": Value("string"),
            "tone": Value("string"),
            "likes": Value("int64"),
            "weight": Value("float32"),
            "split": Value("string"),
            "post_id": Value("string"),
            "user_id": Value("string"),
            "created_at": Value("string"),
            "media_key": Value("string"),
            "photo_index": Value("int32"),
            "alt_text": Value("string"),
            "boilerplate": List(Value("string")),
        }
    )
    built = write_shards(
        output,
        {split: rows for split, rows in plan.rows.items() if rows},
        functools.partial(read_photo_rows, str(collection)),
        features,
        settings={"tweetcap": "posts", **_as_json(settings)},
        card=CARD,
        rows_per_shard=1000,
        overwrite=overwrite,
    )
    report = plan.report | {"rows": built.rows, "left_out": built.left_out}
    write_atomically(output / REPORT, json.dumps(report, ensure_ascii=False, indent=2).encode())
    if plan.accounts:
        kept = {"shares": dict(settings.shares), "seed": settings.seed, "accounts": plan.accounts}
        write_atomically(collection / ACCOUNT_SPLITS, json.dumps(kept, indent=1).encode())
    return built, report


def plan_corpus(collection: Path, settings: CorpusSettings, *, tones: Mapping[str, str] | None = None) -> Plan:
    """Decide which posts go where, without writing anything.

    Raises:
        ValueError: the folder is no collection, or no post is left.
    """
    check_shares(settings.shares)
    if not (collection / "raw").is_dir():
        raise ValueError(f"{collection} is no collection; make one with `tweetcap collect`.")
    posts = derive_posts(collection)
    if not posts:
        raise ValueError(f"{collection} holds no post with a photo; collect some first.")
    photos = read_photos(collection)
    labels = read_labels(collection / LABELS)
    choice = _chosen_before(posts, photos, labels) if labels else _choose(collection, posts, photos, settings)
    rows: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for post in choice.posts:
        for index, photo in choice.photos[post.post_id]:
            label = labels.get((post.post_id, photo.media_key), {})
            split = choice.splits.posts[post.post_id]
            record = photos[photo.media_key]
            rows[split].append(
                {
                    "path": record.path,
                    "sha256": record.sha256,
                    "text": choice.texts[post.post_id].text,
                    "tone": (tones or {}).get(post.post_id, label.get("tone")),
                    "likes": post.likes,
                    "weight": label.get("weight", choice.weights[post.post_id]),
                    "split": split,
                    "post_id": post.post_id,
                    "user_id": post.user_id,
                    "created_at": post.created_at,
                    "media_key": photo.media_key,
                    "photo_index": index,
                    "alt_text": _storable(photo.alt_text),
                    "boilerplate": list(choice.texts[post.post_id].boilerplate),
                }
            )
    report = _report(posts, choice, settings, labelled=bool(labels))
    if tones:
        report["tones_without_a_row"] = len(tones.keys() - {post.post_id for post in choice.posts})
    if not any(rows.values()):
        reasons = ", ".join(f"{reason} {count}" for reason, count in report["dropped"].items())
        raise ValueError(f"no post of {collection} is left ({reasons}); collect more or choose other settings.")
    return Plan(rows, choice.splits.accounts if not labels else {}, report)


# --- Which posts, which text, which split ----------------------------------------------------------


@dataclass
class _Choice:
    """Posts that are kept, the oldest first, and why the others are not.

    Attributes:
        photos: post_id → the photos that get a row, with their place in the post.
        clusters: of photos and texts: name → number of members, for those of two and more.
    """

    posts: list[Post]
    photos: dict[str, list[tuple[int, Photo]]]
    texts: dict[str, Cleaned]
    splits: Splits
    weights: dict[str, float]
    dropped: Counter[str]
    photo_clusters: Counter[str] = field(default_factory=Counter)
    text_clusters: Counter[str] = field(default_factory=Counter)


def _choose(collection: Path, posts: list[Post], photos: dict[str, PhotoRecord], settings: CorpusSettings) -> _Choice:
    posts = sorted(posts, key=_age)
    texts = clean_posts([PostText(post.post_id, post.user_id, post.text, post.lang) for post in posts], settings.text)
    dropped: Counter[str] = Counter()
    usable: dict[str, list[tuple[int, Photo]]] = {}
    for post in posts:
        found = [(index, photo) for index, photo in enumerate(post.photos) if _has_file(photos.get(photo.media_key))]
        if texts[post.post_id].text is None:
            dropped[texts[post.post_id].reason] += 1
        elif not found:
            dropped["no_photo"] += 1
        else:
            usable[post.post_id] = found if settings.all_photos else found[:1]
    kept = [post for post in posts if post.post_id in usable]
    used = {photo.media_key: photos[photo.media_key] for found in usable.values() for _, photo in found}
    photo_cluster = cluster_photos(used, settings.max_distance)
    text_cluster = cluster_texts({post.post_id: texts[post.post_id].text for post in kept})
    clusters = {
        post.post_id: (
            *(f"photo {photo_cluster[photo.media_key]}" for _, photo in usable[post.post_id]),
            *([f"text {text_cluster[post.post_id]}"] if post.post_id in text_cluster else []),
        )
        for post in kept
    }
    repeated = _repeated(kept, texts, clusters)
    dropped["repeated"] += len(repeated)
    kept = [post for post in kept if post.post_id not in repeated]
    splits = assign_splits(
        [SplitPost(post.post_id, post.user_id, post.created_at, clusters[post.post_id]) for post in kept],
        settings.shares,
        _previous_splits(collection, settings),
        settings.seed,
    )
    dropped["copy"] += len(splits.dropped)
    kept = [post for post in kept if post.post_id in splits.posts]
    return _Choice(
        posts=kept,
        photos=usable,
        texts=texts,
        splits=splits,
        weights=weights(kept),
        dropped=+dropped,
        photo_clusters=_larger_than_one(photo_cluster),
        text_clusters=_larger_than_one(text_cluster),
    )


def _chosen_before(posts: list[Post], photos: dict[str, PhotoRecord], labels: "Labels") -> _Choice:
    """Keep what a dehydrated corpus kept: the same posts, photos, splits, weights and cuts."""
    posts = sorted(posts, key=_age)
    by_post: defaultdict[str, set[str]] = defaultdict(set)
    for post_id, media_key in labels:
        by_post[post_id].add(media_key)
    dropped: Counter[str] = Counter()
    usable, texts, splits = {}, {}, {}
    for post in posts:
        wanted = by_post.get(post.post_id, set())
        found = [(index, photo) for index, photo in enumerate(post.photos) if photo.media_key in wanted]
        if not wanted:
            dropped["no_label"] += 1
            continue
        label = next(labels[post.post_id, key] for key in sorted(wanted))
        cleaned = clean_text(post.text, post.lang, frozenset(label.get("boilerplate") or ()), LENIENT)
        found = [(index, photo) for index, photo in found if _has_file(photos.get(photo.media_key))]
        if cleaned.text is None:
            dropped[cleaned.reason] += 1
        elif not found:
            dropped["no_photo"] += 1
        else:
            usable[post.post_id], texts[post.post_id], splits[post.post_id] = found, cleaned, label["split"]
    kept = [post for post in posts if post.post_id in usable]
    return _Choice(
        posts=kept,
        photos=usable,
        texts=texts,
        splits=Splits(posts=splits, accounts={}, dropped={}, by="labels", groups=[]),
        weights=weights(kept),
        dropped=dropped,
    )


def _storable(text: Any) -> str | None:
    """Return a text as Parquet takes it: X's files may hold half an emoji, or no text at all."""
    return text.encode("utf-8", "replace").decode() if isinstance(text, str) else None


def _age(post: Post) -> tuple[str, int, str]:
    return SplitPost(post.post_id, post.user_id, post.created_at).age


def _has_file(record: PhotoRecord | None) -> bool:
    return record is not None and bool(record.path)


def _repeated(posts: Sequence[Post], texts: Mapping[str, Cleaned], clusters: Mapping[str, tuple[str, ...]]) -> set[str]:
    """Return the posts in which an account says the same about the same photo again; the first of them stays."""
    seen: set[tuple[str, str, str]] = set()
    repeated = set()
    for post in posts:
        wording = fold(texts[post.post_id].text) or texts[post.post_id].text
        said = {(post.user_id, wording, cluster) for cluster in clusters[post.post_id] if cluster.startswith("photo")}
        if said <= seen:
            repeated.add(post.post_id)
        seen |= said
    return repeated


def _larger_than_one(clusters: Mapping[str, str]) -> Counter[str]:
    return Counter({name: count for name, count in Counter(clusters.values()).items() if count > 1})


def _previous_splits(collection: Path, settings: CorpusSettings) -> dict[str, str]:
    """Return the accounts' splits of the last corpus, if it was divided by the same shares."""
    try:
        kept = json.loads((collection / ACCOUNT_SPLITS).read_text("utf-8"))
        same = kept["shares"] == dict(settings.shares) and kept["seed"] == settings.seed
        return dict(kept["accounts"]) if same else {}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"{collection / ACCOUNT_SPLITS} is broken; delete it to have the accounts divided anew."
        ) from None


def weights(posts: Sequence[Post]) -> dict[str, float]:
    """Return a weight for each post from its likes among those of its account: 0.5 + (rank - 0.5) / count.

    The rank is 1 for the fewest likes, ties share the mean of theirs. So every account has the mean weight 1, its best
    post counts nearly three times its worst, and neither fame nor one viral post outweighs everything else.
    """
    likes: defaultdict[str, list[int]] = defaultdict(list)
    for post in posts:
        likes[post.user_id].append(post.likes)
    ordered = {account: np.sort(values) for account, values in likes.items()}

    def weight(post: Post) -> float:
        values = ordered[post.user_id]
        below, up_to = np.searchsorted(values, post.likes, "left"), np.searchsorted(values, post.likes, "right")
        return round(float(0.5 + (below + up_to) / 2 / len(values)), 6)

    return {post.post_id: weight(post) for post in posts}


def _report(posts: Sequence[Post], choice: _Choice, settings: CorpusSettings, labelled: bool) -> dict[str, Any]:
    """Count; nothing here names or quotes anyone, so that it may stay when posts are forgotten."""
    kept = [choice.texts[post.post_id] for post in choice.posts]
    cut = defaultdict(set)
    for post in choice.posts:
        cut[post.user_id].update(choice.texts[post.post_id].boilerplate)
    cut = {account: phrases for account, phrases in cut.items() if phrases}
    return {
        "posts": len(posts),
        "accounts": len({post.user_id for post in posts}),
        "kept": len(choice.posts),
        "dropped": {str(reason): count for reason, count in choice.dropped.most_common()},
        "removed_from_texts": dict(Counter(kind for text in kept for kind in text.removed).most_common()),
        "boilerplate": {
            "accounts": len(cut),
            "phrases": sum(len(phrases) for phrases in cut.values()),
            "posts": sum(bool(text.boilerplate) for text in kept),
        },
        "photo_clusters": {"clusters": len(choice.photo_clusters), "photos": choice.photo_clusters.total()},
        "text_clusters": {"clusters": len(choice.text_clusters), "posts": choice.text_clusters.total()},
        "splits": {
            "by": choice.splits.by,
            "shares": {split: round(share, 4) for split, share in choice.splits.shares().items()},
            "accounts": dict(Counter(choice.splits.accounts.values())),
            "groups_of_accounts": sorted((len(group) for group in choice.splits.groups), reverse=True),
        },
        "notes": [*choice.splits.notes, *(["The labels of a dehydrated corpus decided what is kept."] * labelled)],
        "settings": _as_json(settings),
    }


def _as_json(settings: CorpusSettings) -> dict[str, Any]:
    return json.loads(json.dumps(asdict(settings)))


# --- Files ----------------------------------------------------------------------------------------

Labels = dict[tuple[str, str], dict[str, Any]]


def read_labels(path: Path) -> Labels:
    """Return the labels that a dehydrated corpus gave, by post id and media key; empty where there is no file."""
    return {(row["post_id"], row["media_key"]): row for row in read_rows(path)}


def read_tones(path: Path) -> dict[str, str]:
    """Read a CSV file with the columns post_id and tone.

    Raises:
        ValueError: it has other columns, or a tone that no model knows; the message names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if not {"post_id", "tone"} <= set(rows.fieldnames or ()):
                raise ValueError(f"{path} needs a first line with the columns post_id and tone.")
            tones = {}
            for row in rows:
                post_id, tone = (row["post_id"] or "").strip(), (row["tone"] or "").strip()
                if tone and tone not in TONES:
                    raise ValueError(
                        f"{path} line {rows.line_num} has the tone {tone!r}; choose one of {', '.join(TONES)}."
                    )
                if tone:
                    tones[post_id] = tone
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no CSV file in UTF-8 ({error}).") from None
    except OSError as error:
        raise ValueError(f"{path} can't be read ({error.strerror}); check the path.") from None
    return tones


def read_photo_rows(collection: str, rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any] | LeftOut]:
    """Yield each row with its photo's bytes in place of `path` and `sha256`."""
    for row in rows:
        path = Path(collection) / row["path"]
        try:
            data = path.read_bytes()
        except OSError:
            yield LeftOut(row["media_key"], "the photo's file is missing")
            continue
        if hashlib.sha256(data).hexdigest() != row["sha256"]:
            yield LeftOut(row["media_key"], "the photo's file was changed")
            continue
        columns = {name: value for name, value in row.items() if name not in ("path", "sha256")}
        yield {"image": {"bytes": data, "path": path.name}, **columns}


def remember_corpus(collection: Path, output: Path) -> None:
    """Note where a corpus is made, so that `forget` finds it; not a folder that `write_shards` will refuse."""
    if output.is_dir() and any(output.iterdir()) and not (output / BUILD).is_dir():
        return
    known = {row["path"] for row in read_rows(collection / CORPORA)}
    if str(output.resolve()) not in known:
        write_rows(collection / CORPORA, [{"path": path} for path in sorted({*known, str(output.resolve())})])


CARD = """\
---
license: other
license_name: private-x-posts
language:
- ja
pretty_name: Tweets with photos, a private corpus
task_categories:
- image-to-text
size_categories:
- n<1K
tweetcap:
  content: posts
---

# Tweets with photos, a private corpus

Made by `tweetcap dataset build tweets`. It holds texts and photos of posts on X: **it may not be passed on**. X lets a
published dataset carry post IDs only; `tweetcap dataset dehydrate` makes one of this corpus. Posts that were deleted
must go within 24 hours: run `tweetcap dataset refresh` regularly, and `tweetcap dataset forget` when someone asks.
X's Developer Agreement bars training foundation or frontier models on it.

```python
from datasets import load_dataset

corpus = load_dataset("path/of/this/folder")
```

## Fields

- `image`: the photo's file as X gave it.
- `text`: what is left of the post: no links, handles, trailing hashtags, footers or repeated phrases.
- `tone`: つぶやき, ツッコミ, アフレコ, ほっこり or 大喜利 where somebody labelled it, else null.
- `likes`: when it was last read.
- `weight`: 0.5 + (rank - 0.5) / count of the post's likes among the kept posts of its account; mean 1 in each account.
- `split`: train, validation or test. Neither an account nor a near-duplicate photo or text stands in two of them,
  unless `report.json` says that there were too few accounts: then posts are divided, with their duplicates together.
- `post_id`, `user_id`: X's ids. No names are kept. A hash in place of `user_id` would protect nobody, since `post_id`
  leads to the author, and `forget --user` must find these rows in any copy.
- `created_at`, `media_key`, `photo_index` (place of the photo in the post, from 0), `alt_text` (the author's).
- `boilerplate`: digests of the account's repeated phrases that were cut out of the text.

`report.json` beside this card counts what was kept, dropped and why.
"""
