"""The commands of `tweetcap dataset` that deal with collected posts: corpus, ids, and what people want forgotten."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from tqdm import tqdm

from tweetcap.commands.terminal import FAILED, fail, say, sentences

if TYPE_CHECKING:
    from tweetcap.collect.client import Client
    from tweetcap.collect.consent import Forgotten

CARD = Path(__file__).parents[2] / "dataset_cards" / "animal_tweets" / "README.md"

Collection = Annotated[Path, typer.Argument(metavar="DIR", help="The collection that `tweetcap collect` made.")]
Derived = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="[PARQUET]...",
        help="Parquet or ID files made of it, or folders of them; corpora that lie where they were built are known.",
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(help="The most that DIR may cost in all its runs: 5.00usd or 1000posts.", show_default="ask"),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Holds the bearer token.", show_default="the variable X_BEARER_TOKEN"),
]
Prices = Annotated[
    Path | None, typer.Option(metavar="FILE.yaml", help="What X asks for a read.", show_default="the package's")
]


def build_tweets(
    collection: Annotated[Path, typer.Option(metavar="DIR", help="The collection that `tweetcap collect` made.")],
    output: Annotated[Path, typer.Option(help="Folder for the corpus; the same command goes on after a cut.")],
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Tones of posts: a CSV file with the columns post_id and tone."),
    ] = None,
    all_photos: Annotated[
        bool, typer.Option("--all-photos", help="A row for each photo of a post, not for its first alone.")
    ] = False,
    any_language: Annotated[bool, typer.Option("--any-language", help="Keep texts that aren't Japanese.")] = False,
    max_length: Annotated[int, typer.Option(min=1, max=280, help="Longest text in characters.")] = 140,
    validation: Annotated[float, typer.Option(min=0, max=0.5, help="Share of the posts for validation.")] = 0.1,
    test: Annotated[float, typer.Option(min=0, max=0.49, help="Share of the posts for test.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Of the splits, where accounts are equal.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew where it was built from something else.")
    ] = False,
) -> None:
    """Build a corpus of collected posts: photo, cleaned text, tone, likes, weight and split, as Parquet.

    Neither an account nor a near-duplicate stands in two splits, and an account keeps its split when the collection
    grows. The corpus is for you alone: what may be published, `dehydrate` makes of it. Ends with 0 when it is
    whole, 1 when photos were missing, 2 when it can't be built, 130 when it was interrupted.
    """
    with sentences():
        from tweetcap.collect.corpus import REPORT, CorpusSettings, build_corpus, read_tones
        from tweetcap.collect.raw import lock_folder
        from tweetcap.collect.text import TextSettings

        settings = CorpusSettings(
            text=TextSettings(any_language=any_language, max_length=max_length),
            shares={"train": round(1 - validation - test, 6), "validation": validation, "test": test},
            all_photos=all_photos,
            seed=seed,
        )
        tones = read_tones(labels) if labels else None
        _check_collection(collection)
        with lock_folder(collection):
            built, report = build_corpus(collection, output, settings, tones=tones, overwrite=overwrite)
    rows = ", ".join(f"{split} {count:,}" for split, count in built.rows.items())
    say(f"{output}: {rows} rows of {report['kept']:,} of {report['posts']:,} posts.")
    if report["dropped"]:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in report["dropped"].items())
        say(f"Dropped: {reasons}; {output / REPORT} has all counts.")
    for note in report["notes"]:
        say(note)
    if report.get("tones_without_a_row"):
        say(f"tweetcap: {labels} names {report['tones_without_a_row']} posts that the corpus doesn't have.")
    if built.left_out:
        for reason, count in built.left_out.items():
            say(f"tweetcap: left out, {reason}: {count:,}")
        raise typer.Exit(FAILED)


def dehydrate(
    source: Annotated[Path, typer.Argument(metavar="DIR|PARQUET", help="A corpus, its Parquet, or a collection.")],
    output: Annotated[Path, typer.Option(help="A file that ends with .jsonl, or a folder for Parquet with a card.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew where the folder was made of something else.")
    ] = False,
) -> None:
    """Write what may be published of a corpus: post IDs, media keys, and our own splits, tones and weights.

    No text, no photo, no name. `push` takes the folder; `hydrate posts` brings the texts and photos back.
    """
    with sentences():
        from tweetcap.collect.hydration import dehydrate as write

        card = CARD.read_text(encoding="utf-8") if CARD.is_file() else None
        counts = write(source, output, card=card, overwrite=overwrite)
    say(f"{output}: {', '.join(f'{split} {count:,}' for split, count in counts.items())} rows.")


def hydrate_posts(
    ids: Annotated[Path, typer.Argument(metavar="IDS", help="What `dehydrate` wrote: JSONL, Parquet or a folder.")],
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for the collection; the same command goes on after a cut.")
    ],
    budget: Budget = None,
    token_file: TokenFile = None,
    prices: Prices = None,
) -> None:
    """Bring back the posts of published IDs over the X API, with their photos, as a collection.

    Reading over the API costs money. `build tweets` then makes the same corpus of it, without what was deleted
    since. Ends with 0 when every post was answered for, 1 when some are still missing, 130 when it was
    interrupted.
    """
    with sentences():
        from tweetcap.collect.hydration import hydrate, read_ids
        from tweetcap.collect.photos import PHOTO_ORIGINS, fetch_photos, missing_photos
        from tweetcap.collect.posts import read_photos, write_posts
        from tweetcap.collect.raw import lock_folder

        posts = len({row["post_id"] for row in read_ids(ids)})
        if budget is None:
            _confirm(posts, prices)
        with lock_folder(output), _client(output, budget, token_file, prices) as client:
            with tqdm(total=posts, unit="post", disable=None, file=sys.stderr) as bar:
                outcome = hydrate(ids, output, client, done=bar.update)
            found = write_posts(output)
            missing = missing_photos([photo for post in found for photo in post.photos], read_photos(output))
            with tqdm(total=len(missing), unit="photo", disable=None, file=sys.stderr) as bar:
                fetch_photos(output, missing, origins=PHOTO_ORIGINS, done=lambda record: bar.update())
            records = read_photos(output).values()
    failed = sum(record.error is not None and not record.gone for record in records)
    say(f"{output}: {outcome.found:,} of {outcome.wanted:,} posts, {sum(bool(r.path) for r in records):,} photos.")
    for reason, count in outcome.gone.items():
        say(f"Gone, {reason}: {count:,}")
    if outcome.stopped:
        say(f"tweetcap: {outcome.stopped}")
    if outcome.unanswered or failed:
        say(f"tweetcap: {outcome.unanswered:,} posts and {failed:,} photos are missing; run the same command again.")
        raise typer.Exit(FAILED)


def forget(
    collection: Collection,
    derived: Derived = None,
    post_id: Annotated[list[str] | None, typer.Option(help="A post's id; may be given often.")] = None,
    user: Annotated[list[str] | None, typer.Option(help="A user's name or id; may be given often.")] = None,
) -> None:
    """Take posts and users out of a collection and of everything made of it, and keep them out.

    Raw pages, photos, Parquet and ID files are rewritten, each at once; after a cut the next `forget` completes it.
    Without --post-id and --user it does that alone, for what was forgotten before. Ends with 0 when all is done, 1
    when a name is unknown, 2 when nothing was done, 130 when it was interrupted.
    """
    with sentences():
        from tweetcap.collect.consent import forget as take_out
        from tweetcap.collect.raw import lock_folder

        _check_collection(collection)
        with lock_folder(collection):
            forgotten = take_out(collection, post_ids=post_id or (), users=user or (), derived=derived or ())
    _report(collection, forgotten)
    if forgotten.unknown:
        names = ", ".join(forgotten.unknown)
        say(f"tweetcap: {collection} knows nobody called {names}; give the numeric id if it should hold their posts.")
        raise typer.Exit(FAILED)


def refresh(
    collection: Collection,
    derived: Derived = None,
    token_file: TokenFile = None,
) -> None:
    """Ask X which posts and users were deleted, protected or suspended since, and forget them.

    Uses X's batch compliance jobs. Run it daily while you hold posts. Ends with 0 when all is done, 1 when X is still
    at work (run it again), 130 when it was interrupted.
    """
    with sentences():
        from tweetcap.collect.compliance import refresh as ask
        from tweetcap.collect.raw import lock_folder

        _check_collection(collection)
        with lock_folder(collection), _client(collection, None, token_file, None) as client:
            refreshed = ask(collection, client, derived=derived or (), report=say)
    for kind, count in refreshed.checked.items():
        say(f"X looked at {count:,} {'posts' if kind == 'tweets' else 'users'}.")
    for reason, count in refreshed.reasons.most_common():
        say(f"To be removed, {reason}: {count:,}")
    for forgotten in refreshed.forgotten.values():
        _report(collection, forgotten)
    if refreshed.waiting:
        say(f"tweetcap: X still works on {', '.join(refreshed.waiting)}; run the same command again later.")
        raise typer.Exit(FAILED)


# --- What they share -------------------------------------------------------------------------------


def _check_collection(folder: Path) -> None:
    if not (folder / "raw").is_dir():
        fail(f"{folder} is no collection; name the folder that `tweetcap collect` made.")


def _report(collection: Path, forgotten: "Forgotten") -> None:
    rows = sum(forgotten.rows.values())
    say(
        f"{collection}: {forgotten.posts:,} posts and {forgotten.users:,} users forgotten, {forgotten.photos:,} photos "
        f"and {rows:,} rows of {len(forgotten.rows)} files removed."
    )
    for note in forgotten.notes:
        say(note)
    if rows:
        say("`datasets` keeps copies of what it loaded, in ~/.cache/huggingface/datasets: delete them too.")


def _confirm(posts: int, prices: Path | None) -> None:
    from tweetcap.collect.budget import Reads, load_prices

    cost = load_prices(prices).cost(Reads(posts=posts, media=posts))
    say(f"Reading {posts:,} posts costs up to {cost:.2f} USD with one photo each.")
    if not sys.stdin.isatty():
        fail("reading costs money: give --budget, such as --budget 5.00usd.")
    if not typer.confirm("Go on without a budget?", err=True):
        fail("nothing was asked of X.")


@contextmanager
def _client(folder: Path, budget: str | None, token_file: Path | None, prices: Path | None) -> "Iterator[Client]":
    from tweetcap.collect import client as x
    from tweetcap.collect.budget import Budget, Ledger, load_prices

    limit = Budget.parse(budget) if budget is not None else None
    token = x.read_token(token_file)
    with (
        Ledger(folder, load_prices(prices), limit) as ledger,
        x.Client(folder, token, ledger, api=x.API, report=say) as client,
    ):
        yield client
