"""`tweetcap evaluate`: the figures of a checkpoint."""

from pathlib import Path
from typing import Annotated

import typer

from tweetcap.commands.terminal import Model, check_ranges, fail, one_sentence, range_help
from tweetcap.write.settings import DEFAULTS


def evaluate(
    corpus: Annotated[Path, typer.Option(help="Folder of the corpus.", exists=True, file_okay=False)],
    model: Model = None,
    split: Annotated[str, typer.Option(help="validation or test.")] = "validation",
    photos: Annotated[int | None, typer.Option(help="Take only so many photos.", min=1, show_default="all")] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for the figures, predictions and contact sheets.", show_default="print only"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Repeat a run.")] = 0,
    count: Annotated[int, typer.Option(help=range_help("Tweets a photo", "count"))] = DEFAULTS.count,
) -> None:
    """Measure a checkpoint on a corpus with references."""
    check_ranges({"count": count})
    from tweetcap.evaluate.command import evaluate as measure

    try:
        options = {"split": split, "photos": photos, "output": output, "seed": seed, "count": count}
        typer.echo(measure(model=model, corpus=corpus, **options))
    except (OSError, ValueError) as error:
        fail(one_sentence(error))
