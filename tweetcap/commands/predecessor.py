"""`tweetcap import`: what Twitter Image Captioning of 2021 left, as a checkpoint and as a collection."""

from pathlib import Path
from typing import Annotated

import typer

from tweetcap.commands.terminal import FAILED, say, sentences

Project = Annotated[Path, typer.Argument(metavar="FOLDER", help="The project's folder, with models/ and data/ in it.")]

app = typer.Typer(
    help="Bring over what Twitter Image Captioning of 2021 left: its network, its tweets.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("model")
def import_model(
    folder: Project,
    output: Annotated[Path, typer.Option(metavar="CHECKPOINT", help="Folder for the checkpoint; it may not be there.")],
    name: Annotated[
        str | None,
        typer.Option(help="Which network: NAME of encoder-NAME.ckpt.", show_default="the only one"),
    ] = None,
    vocabulary: Annotated[
        Path | None, typer.Option(metavar="FILE.pkl", help="Its vocabulary.", show_default="the only data/vocab*.pkl")
    ] = None,
) -> None:
    """Turn encoder-NAME.ckpt, decoder-NAME.ckpt and vocab.pkl into a checkpoint that writes the same, word for word.

    Nothing of the files is run. Where the project's tweets lie beside it, their hashes go along, so that copies of them
    are never offered. Ends with 0 when the checkpoint is whole, 2 when the files can't be used, 1 when it can't be
    written.
    """
    with sentences():
        from transformers.utils import logging

        from tweetcap.predecessor.network import import_network
        from tweetcap.predecessor.project import find_annotations, find_network, read_annotations

        logging.disable_progress_bar()
        files = find_network(folder, name, vocabulary)
        rows = (row for path in find_annotations(folder) for row in read_annotations(path))
        config = import_network(files, output, [row.text for row in rows if row is not None])
    say(f"{output}: {config.encoder_name} and {config.vocab_size:,} tokens of {files.encoder.name}.")


@app.command("tweets")
def import_tweets(
    folder: Project,
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="The collection. Run the same command again to go on after a cut.")
    ],
) -> None:
    """Bring data/annos/*.pickle and data/images/ into a collection, for `tweetcap dataset build tweets`.

    Nothing of the files is run. They hold other people's posts: what is made of them is for you alone. Ends with 0
    when every tweet and photo is there, 1 when some are missing, 2 when the files can't be used, 130 when it was
    interrupted.
    """
    with sentences():
        from tweetcap.collect.posts import write_posts
        from tweetcap.collect.raw import lock_folder
        from tweetcap.predecessor.tweets import import_tweets as bring

        with lock_folder(output):
            summary = bring(folder, output)
            write_posts(output)
    say(
        f"{output}: {summary.posts:,} tweets of {summary.accounts:,} accounts, {summary.new:,} of them new, "
        f"{summary.photos:,} photos."
    )
    for reason, count in summary.left_out.items():
        say(f"tweetcap: left out, {reason}: {count:,}")
    if summary.failed:
        say(f"tweetcap: {len(summary.failed):,} photos could not be had: {' '.join(summary.failed[:3])}")
        raise typer.Exit(FAILED)
    if summary.left_out["broken"]:
        raise typer.Exit(FAILED)
