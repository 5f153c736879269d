"""`tweetcap dataset`: build corpora as Parquet, bring photos and posts back, and push to the Hub."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tweetcap.commands.posts import build_tweets, dehydrate, forget, hydrate_posts, refresh
from tweetcap.commands.terminal import FAILED, fail, say, sentences

if TYPE_CHECKING:
    from tweetcap.data.shards import Built

CARDS = Path(__file__).parents[2] / "dataset_cards"

options = {"no_args_is_help": True, "rich_markup_mode": None}
app = typer.Typer(help="Build, fetch and publish the corpora.", **options)
build = typer.Typer(help="Write a corpus as sharded Parquet with a card, for `load_dataset`.", **options)
hydrate = typer.Typer(help="Bring back what a published dataset only refers to.", **options)
app.add_typer(build, name="build")
app.add_typer(hydrate, name="hydrate")

Output = Annotated[Path, typer.Option(help="Folder for the dataset; the same command goes on after a cut.")]
Processes = Annotated[int, typer.Option(min=1, help="Processes that work at once.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Begin anew where it was built from something else.")]


@build.command("stair")
def build_stair(
    output: Output,
    config: Annotated[str, typer.Option(help="Release: v1.2, v1.2_tokenized, v1.1 or v1.0.")] = "v1.2",
    images: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of COCO's photos (2014 or 2017), or a zip of them; several may be given.",
            show_default="download 20 GB from COCO",
        ),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(
            help="The authors' archive or JSON file, or a folder with it.", show_default="download from the authors"
        ),
    ] = None,
    embed: Annotated[
        bool,
        typer.Option(
            "--embed/--reference",
            help="Store the photos, or only their addresses on COCO's server (datasets 5 then needs aiohttp).",
        ),
    ] = True,
    rows: Annotated[
        str,
        typer.Option(help="What a row is: an image with all its captions, or a caption, with its photo each time."),
    ] = "image",
    split: Annotated[list[str] | None, typer.Option(help="train or validation.", show_default="both")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many images a split.", show_default="all")] = None,
    num_proc: Processes = 1,
    downloads: Annotated[
        Path | None,
        typer.Option(help="Folder for what is downloaded and tables made of it.", show_default="the cache of datasets"),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Build STAIR Captions: Japanese captions by people for the photos of COCO.

    Photos and entries that can't be had are left out, counted, and named in left_out.jsonl. Ends with 0 when the
    dataset is whole, 1 when something was left out, 2 when it can't be built, 130 when it was interrupted.
    """
    with sentences():
        from tweetcap.data.stair import SPLITS, StairConfig
        from tweetcap.data.stair import build_stair as write

        settings = StairConfig(
            name=config,
            annotations=annotations,
            images=images or None,
            rows=rows,
            photos="embed" if embed else "reference",
            splits=[name for name in dict.fromkeys([*SPLITS, *(split or [])]) if name in (split or SPLITS)],
            limit=limit,
            downloads=downloads,
        )
        if embed and not images:
            say(f"COCO's photos are kept in {settings.download_folder}; what is missing of their 20 GB comes first.")
        built = write(output, settings, card=read_card("stair_captions"), num_proc=num_proc, overwrite=overwrite)
    _report(built)


@build.command("starter")
def build_starter(
    corpus: Annotated[Path, typer.Option(help="Folder with starter.jsonl and photos/, as `hydrate starter` makes.")],
    output: Output,
    num_proc: Processes = 1,
    overwrite: Overwrite = False,
) -> None:
    """Build the starter corpus with its photos, for your own use."""
    with sentences():
        from tweetcap.data.starter_photos import build_starter as write

        card = read_card("animal_tweets_starter")
        built = write(corpus, output, card=card, num_proc=num_proc, overwrite=overwrite)
    _report(built)


def _report(built: "Built") -> None:
    """Say what was written and what was left out, which ends the command with 1."""
    rows = ", ".join(f"{split} {count:,}" for split, count in built.rows.items())
    before = (
        f" ({built.done_before} of {built.done_before + built.shards} files were there)" if built.done_before else ""
    )
    say(f"{built.folder}: {rows} rows{before}.")
    if built.left_out:
        for reason, count in built.left_out.items():
            say(f"tweetcap: left out, {reason}: {count:,}")
        names = ", ".join(name for name, _ in built.first_left_out)
        say(f"tweetcap: such as {names}; all of them are in {built.folder / 'left_out.jsonl'}.")
        raise typer.Exit(FAILED)


@hydrate.command("starter")
def hydrate_starter(
    output: Annotated[Path, typer.Option(help="Folder for the corpus; the same command goes on after a cut.")],
    texts: Annotated[
        Path | None,
        typer.Option(help="Folder with the published texts.", show_default="dataset_cards/animal_tweets_starter"),
    ] = None,
    longest_side: Annotated[
        int,
        typer.Option(min=0, help="Shrink larger photos to this many pixels; 0 keeps the files as they are."),
    ] = 360,
    at_once: Annotated[int, typer.Option(min=1, max=32, help="Photos fetched at once.")] = 8,
    source_url: Annotated[
        str | None,
        typer.Option(
            help="Where a photo lies, with {repository}, {commit} and {path} in it.",
            show_default="raw.githubusercontent.com",
        ),
    ] = None,
    lfs_url: Annotated[
        str | None,
        typer.Option(help="The same for files in Git LFS.", show_default="media.githubusercontent.com"),
    ] = None,
) -> None:
    """Fetch the photos of the starter corpus from the public repositories that hold them.

    Each is checked against its SHA-256. What is gone or was changed is left out of starter.jsonl and named, with the
    reason, in missing.jsonl. Ends with 0 when every photo is there, 1 when some are missing.
    """
    with sentences():
        from tweetcap.data import starter_photos

        urls = {"source_url": source_url or starter_photos.SOURCE_URL, "lfs_url": lfs_url or starter_photos.LFS_URL}
        hydrated = starter_photos.hydrate_starter(
            texts or card_folder("animal_tweets_starter"),
            output,
            longest_side=longest_side,
            at_once=at_once,
            say=say,
            **urls,
        )
    say(f"{output}: {hydrated.photos:,} photos, {hydrated.fetched:,} of them fetched now.")
    if hydrated.missing:
        for reason, count in hydrated.missing.items():
            say(f"tweetcap: missing, {reason}: {count:,}")
        names = ", ".join(photo_id for photo_id, _ in hydrated.first_missing)
        say(f"tweetcap: such as {names}; all of them are in {output / starter_photos.MISSING}.")
        raise typer.Exit(FAILED)


@app.command("push")
def push(
    folder: Annotated[Path, typer.Argument(help="Folder of a dataset, with its card.")],
    name: Annotated[str, typer.Argument(metavar="ORG/NAME", help="The dataset's name on the Hub.")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch to push to.", show_default="main")] = None,
) -> None:
    """Upload a dataset with its card to the Hub, with the token of `hf auth login`.

    Texts of posts and photos that are others' are refused.
    """
    with sentences():
        from tweetcap.data.publish import push_dataset

        address, remark = push_dataset(folder, name, private=private, revision=revision)
    if remark:
        say(f"tweetcap: {remark}.")
    typer.echo(address)


def card_folder(name: str) -> Path:
    folder = CARDS / name
    if not folder.is_dir():
        fail(f"{folder} does not exist; run this from a copy of the project's repository.")
    return folder


def read_card(name: str) -> str:
    return (card_folder(name) / "README.md").read_text(encoding="utf-8")


build.command("tweets")(build_tweets)
hydrate.command("posts")(hydrate_posts)
app.command("dehydrate")(dehydrate)
app.command("forget")(forget)
app.command("refresh")(refresh)
