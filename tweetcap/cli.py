"""The command line: tweets for photos and folders, the page, corpora, the figures of a checkpoint, questionnaires.

    tweetcap write cat.jpg
    tweetcap write photos/ --output tweets.jsonl

Each command is a function of its own file in `tweetcap/commands/`.
"""

from typing import Annotated

import typer

from tweetcap import __version__
from tweetcap.commands.collect import collect
from tweetcap.commands.dataset import app as dataset
from tweetcap.commands.demo import demo
from tweetcap.commands.evaluate import evaluate, sweep
from tweetcap.commands.predecessor import app as predecessor
from tweetcap.commands.push import push
from tweetcap.commands.survey import app as survey
from tweetcap.commands.write import write

app = typer.Typer(
    help="Write the tweet that belongs to a photo of an animal.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(write)
app.command()(demo)
app.command()(collect)
app.add_typer(dataset, name="dataset")
app.command()(evaluate)
app.command()(sweep)
app.add_typer(survey, name="survey")
app.command()(push)
app.add_typer(predecessor, name="import")


def main() -> None:
    app()


def show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tweetcap {__version__}")
        raise typer.Exit()


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=show_version, is_eager=True)
    ] = False,
) -> None:
    pass


if __name__ == "__main__":  # accelerate launch -m tweetcap.cli
    main()
