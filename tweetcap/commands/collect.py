"""`tweetcap collect`: posts with photos over the X API, or from an own archive, into a folder that resumes."""

import sys
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from tqdm import tqdm

from tweetcap.commands.terminal import FAILED, INTERRUPTED, MISUSED, fail, one_sentence, say

if TYPE_CHECKING:
    from tweetcap.collect.accounts import Accounts
    from tweetcap.collect.budget import Budget, Prices
    from tweetcap.collect.posts import Photo, Post
    from tweetcap.collect.timelines import Estimate, Outcome


def collect(
    output: Annotated[
        Path,
        typer.Option(metavar="DIR", help="The collection. Run the same command again to go on after a cut."),
    ],
    accounts: Annotated[
        Path | None,
        typer.Argument(metavar="ACCOUNTS.yaml", help="Whose posts; see dataset_cards/animal_tweets/."),
    ] = None,
    archive: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.zip", help="Read your own archive, as X exports it, or its folder, instead of asking the API."
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(help="The most that DIR may cost in all its runs: 5.00usd or 1000posts.", show_default="ask"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the estimate; ask X nothing.")] = False,
    since: Annotated[
        str | None, typer.Option(metavar="DAY", help="Posts from this day on, such as 2025-01-31, for all accounts.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="DAY", help="Posts before this day, for all accounts.")] = None,
    no_photos: Annotated[bool, typer.Option("--no-photos", help="Leave the photos for a later run.")] = False,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Holds the bearer token.", show_default="the variable X_BEARER_TOKEN"),
    ] = None,
    prices: Annotated[
        Path | None,
        typer.Option(metavar="FILE.yaml", help="What X asks for a read.", show_default="the package's"),
    ] = None,
) -> None:
    """Collect posts with photos, over the X API or from your own archive.

    Reading over the API costs money. Each page is on the disk before the next is asked for, and is never asked
    for again. Ends with 0 when everything was read, 1 when accounts or photos are missing or
    the budget was used up, 2 when the command itself is wrong, 130 when it was interrupted.
    """
    if (accounts is None) == (archive is None):
        fail("name an accounts.yaml, or --archive with the zip file that X gave you.")
    if output.exists() and not output.is_dir():
        fail(f"{output} is a file; --output names a folder.")
    try:
        if archive is not None:
            others = {
                "--budget": budget,
                "--dry-run": dry_run,
                "--since": since,
                "--until": until,
                "--no-photos": no_photos,
                "--token-file": token_file,
                "--prices": prices,
            }
            given = [option for option, value in others.items() if value]
            if given:
                fail(f"--archive reads a file and asks X nothing; leave out {' and '.join(given)}.")
            complete = _collect_archive(archive, output)
        else:
            complete = _collect_timelines(
                accounts,
                output,
                since=since,
                until=until,
                budget=budget,
                dry_run=dry_run,
                no_photos=no_photos,
                token_file=token_file,
                prices=prices,
            )
    except KeyboardInterrupt:
        fail(f"interrupted; what came is in {output}. Run the same command again to go on.", INTERRUPTED)
    except ValueError as error:
        for sentence in getattr(error, "sentences", [one_sentence(error)]):
            say(f"tweetcap: {sentence}")
        raise typer.Exit(MISUSED) from None
    except OSError as error:
        fail(f"{output} can't be written: {one_sentence(error)}; then run the same command again.", FAILED)
    if not complete:
        raise typer.Exit(FAILED)


def _collect_archive(archive: Path, output: Path) -> bool:
    from tweetcap.collect.archive import read_archive
    from tweetcap.collect.posts import write_posts
    from tweetcap.collect.raw import lock_folder

    with lock_folder(output):
        summary = read_archive(archive, output)
        posts = write_posts(output)
    say(f"{archive}: {summary}")
    say(f"{output}: {len(posts)} posts with photos.")
    return not summary.failed


def _collect_timelines(
    path: Path,
    output: Path,
    *,
    since: str | None,
    until: str | None,
    budget: str | None,
    dry_run: bool,
    no_photos: bool,
    token_file: Path | None,
    prices: Path | None,
) -> bool:
    """Return whether everything that was asked for is there."""
    from tweetcap.collect.accounts import read_accounts
    from tweetcap.collect.budget import Budget, Ledger, load_prices
    from tweetcap.collect.client import API, Client, read_token
    from tweetcap.collect.posts import write_posts
    from tweetcap.collect.raw import lock_folder, write_atomically
    from tweetcap.collect.timelines import collect_timelines, estimate

    limit = Budget.parse(budget) if budget is not None else None
    price_list = load_prices(prices)
    accounts = read_accounts(path, since=_day("--since", since), until=_day("--until", until))
    if dry_run:
        with Ledger(output, price_list, limit) as ledger:
            expected = estimate(accounts, output)
            for name, posts, requests in expected.accounts:
                typer.echo(f"{name}\tup to {posts} posts\tup to {requests} requests")
            for sentence in _estimate_sentences(expected, price_list, limit, ledger.cost):
                typer.echo(sentence)
        return True

    token = read_token(token_file)
    with lock_folder(output):
        with Ledger(output, price_list, limit) as ledger:
            for sentence in _estimate_sentences(estimate(accounts, output), price_list, limit, ledger.cost):
                say(sentence)
            if limit is None:
                _confirm()
            write_atomically(output / "accounts.yaml", path.read_bytes())
            with (
                Client(output, token, ledger, api=API, report=say) as client,
                tqdm(total=len(accounts.accounts), unit="account", disable=None, file=sys.stderr) as bar,
            ):
                ledger.changed = lambda: bar.set_postfix_str(_spent(ledger.cost))

                def done(name: str, posts: int, reason: str | None) -> None:
                    bar.update()
                    if reason is not None:
                        say(f"{name} is set aside until the next run: {reason}")

                outcome = collect_timelines(accounts, output, client, done=done)
            cost, lost = ledger.cost, ledger.lost
        posts = write_posts(output)
        gone, failed = (0, 0) if no_photos else _fetch_photos(output, posts, accounts)
        _summarise(output, accounts, outcome, posts, gone, failed)
    money = f"{output}: {_spent(cost)} in all"
    say(f"{money}, {lost} lost requests counted at their most." if lost else f"{money}.")
    if outcome.stopped:
        say(f"tweetcap: {outcome.stopped}")
    return not (outcome.stopped or outcome.set_aside or failed)


def _day(option: str, text: str | None):
    from tweetcap.collect.accounts import read_time

    try:
        return read_time(text)
    except ValueError as error:
        fail(f"{option}: {error}.")


def _confirm() -> None:
    if not sys.stdin.isatty():
        fail("reading costs money: give --budget, such as --budget 5.00usd, or look with --dry-run first.")
    if not typer.confirm("Go on without a budget?", err=True):
        fail("nothing was asked of X.")


def _estimate_sentences(
    expected: "Estimate", prices: "Prices", budget: "Budget | None", cost: Decimal
) -> Iterable[str]:
    dollars = prices.post * expected.posts + prices.user * expected.lookups
    yield (
        f"Estimate: up to {expected.posts} posts of {len(expected.accounts)} accounts in {expected.requests} requests, "
        f"at most {dollars:.2f} USD (prices of {prices.as_of}, {prices.source})."
    )
    if prices.media:
        yield (
            f"With each post X describes its photos and may charge {prices.media} USD for each: "
            f"{prices.media * expected.posts:.2f} USD more with one photo a post. The budget counts them."
        )
    if expected.read_before:
        yield (
            f"{expected.read_before} of the accounts were read before: only what they posted since is missing, "
            "counted as one page each."
        )
    limit = f"the budget is {budget} for all runs" if budget else "no budget is set"
    yield f"Spent before: {_spent(cost)}; {limit}."


def _spent(cost: Decimal) -> str:
    return f"up to {cost:.2f} USD"


def _fetch_photos(output: Path, posts: "list[Post]", accounts: "Accounts") -> tuple[int, int]:
    """Fetch the photos of posts in the wanted languages; return how many are gone and how many failed."""
    from tweetcap.collect.photos import PHOTO_ORIGINS, fetch_photos, missing_photos
    from tweetcap.collect.posts import read_photos

    wanted = [photo for post in posts if _speaks(post, accounts) for photo in post.photos]
    missing: list[Photo] = missing_photos(wanted, read_photos(output))
    with tqdm(total=len(missing), unit="photo", disable=None, file=sys.stderr) as bar:
        records = fetch_photos(output, missing, origins=PHOTO_ORIGINS, done=lambda record: bar.update())
    failed = [record for record in records.values() if record.error and not record.gone]
    for record in failed[:10]:
        say(f"photo {record.media_key}: {record.error}")
    if len(failed) > 10:
        say(f"and {len(failed) - 10} more photos; {output}/photos.jsonl has them all.")
    return sum(record.gone for record in records.values()), len(failed)


def _speaks(post: "Post", accounts: "Accounts") -> bool:
    return accounts.languages is None or post.lang is None or post.lang in accounts.languages


def _summarise(
    output: Path, accounts: "Accounts", outcome: "Outcome", posts: "list[Post]", gone: int, failed: int
) -> None:
    from tweetcap.collect.posts import read_photos

    there = sum(record.path is not None for record in read_photos(output).values())
    say(
        f"{output}: {outcome.posts} posts read now; {len(posts)} posts with photos and {there} photos in all, "
        f"{gone} photos gone now and {failed} failed."
    )
    if outcome.full:
        say(f"{len(outcome.full)} accounts have reached their max_posts: {', '.join(outcome.full[:10])}.")
    if outcome.set_aside:
        say(f"{len(outcome.set_aside)} of {len(accounts.accounts)} accounts are set aside: {output}/set_aside.jsonl")
