"""`tweetcap evaluate` and `tweetcap sweep`: where a model stands, and how it is best drawn from."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tweetcap.commands.terminal import INTERRUPTED, Model, check_ranges, fail, one_sentence, range_help, say
from tweetcap.write.settings import DEFAULTS, RANGES

Corpus = Annotated[
    Path | None,
    typer.Option(
        help="Folder of a corpus: photos, references, training texts.",
        exists=True,
        file_okay=False,
        show_default=False,
    ),
]
Split = Annotated[str, typer.Option(help="validation or test.")]
First = Annotated[int | None, typer.Option(help="Take only so many photos.", min=1, show_default="all")]
Seed = Annotated[int, typer.Option(help="Repeat a run.", min=0)]


def evaluate(
    corpus: Corpus = None,
    dataset: Annotated[
        Path | None,
        typer.Option(
            help="In place of a corpus: a folder or file of Parquet with image and captions (or tweets), such as "
            "tweetcap dataset build makes.",
            exists=True,
            show_default=False,
        ),
    ] = None,
    model: Model = None,
    split: Split = "validation",
    photos: First = None,
    only: Annotated[
        Path | None,
        typer.Option(
            metavar="IDS.txt",
            help="Take only the photos whose ids are in this file, one a line.",
            exists=True,
            dir_okay=False,
            show_default="all",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for predictions.jsonl, metrics.json, metrics.csv, table.md, report.html and contact sheets. "
            "Run the same command again to go on after a cut.",
            file_okay=False,
            show_default="print only",
        ),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.jsonl",
            help="Score these predictions, of whatever system, and draw none. With --model, its likelihoods too.",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.jsonl",
            help="Compare with these predictions, photo by photo: is the first system better?",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ] = None,
    count: Annotated[
        int | None, typer.Option(help=range_help("Tweets a photo", "count"), show_default=str(DEFAULTS.count))
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            help=range_help("Low is safe, high is wild", "temperature"), show_default=str(DEFAULTS.temperature)
        ),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(
            help=range_help("Draw from the likeliest words up to this probability", "top_p"),
            show_default=str(DEFAULTS.top_p),
        ),
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(help=range_help("How strongly the photo steers", "guidance"), show_default=str(DEFAULTS.guidance)),
    ] = None,
    describe_only: Annotated[
        bool, typer.Option("--describe-only", help="Draw descriptions (説明) and no tweets.")
    ] = False,
    seed: Seed = 0,
) -> None:
    """Say where a model stands: draw predictions for a split, then score them.

    Prints the table. Ends with 0 when all is scored, 2 when the command or its input is wrong, 130 when it was
    interrupted.
    """
    given = {"count": count, "temperature": temperature, "top_p": top_p, "guidance": guidance}
    drawing = {name: value for name, value in given.items() if value is not None}
    check_ranges(drawing)
    if describe_only:
        drawing["describe_only"] = True
    if predictions is not None and drawing:
        option = "--" + next(iter(drawing)).replace("_", "-")
        fail(f"{option} is for drawing and --predictions were drawn already; leave one of them out.")
    if output is not None and predictions is not None and predictions.resolve().parent == output.resolve():
        say(f"{output}: figures of an earlier run there are replaced, {predictions.name} is kept.")
    options = {"corpus": corpus, "dataset": dataset, "model": model, "split": split, "photos": photos, "seed": seed}
    options |= {"only": only, "output": output, "predictions": predictions, "against": against}
    from tweetcap.evaluate.command import evaluate as measure

    quiet_libraries()
    try:
        typer.echo(measure(**options, **drawing, say=say))
    except ModuleNotFoundError as error:
        fail(f"{error.name} is not installed; pip install tweetcap[corpus,evaluation].")
    except (OSError, ValueError) as error:
        fail(one_sentence(error))
    except KeyboardInterrupt:
        fail(interrupted(output), INTERRUPTED)


def sweep(
    output: Annotated[
        Path,
        typer.Option(
            help="Folder for sweep.csv, sweep.md, sweep.png and each setting's predictions. Run the same command "
            "again to go on after a cut, or with more values to add settings.",
            file_okay=False,
        ),
    ],
    corpus: Corpus = None,
    model: Model = None,
    split: Split = "validation",
    photos: Annotated[int, typer.Option(help="Take only so many photos.", min=2)] = 40,
    temperature: Annotated[
        str, typer.Option(metavar="A,B,…", help=range_help("Values to try", "temperature"))
    ] = "0.6,0.8,1.0",
    guidance: Annotated[
        str, typer.Option(metavar="A,B,…", help=range_help("Values to try", "guidance"))
    ] = "0.25,0.5,1.0",
    top_p: Annotated[str, typer.Option(metavar="A,B,…", help=range_help("Values to try", "top_p"))] = "0.9,0.95",
    count: Annotated[int, typer.Option(help=range_help("Tweets a photo", "count"))] = DEFAULTS.count,
    seed: Seed = 0,
) -> None:
    """Draw at every combination of settings and show what diversity costs in accuracy.

    Prints the table and which setting is best. Ends as tweetcap evaluate does.
    """
    check_ranges({"count": count})
    if corpus is None:
        fail("a sweep needs references to measure against; give --corpus.")
    grid = {
        "temperature": numbers_of("temperature", temperature),
        "guidance": numbers_of("guidance", guidance),
        "top_p": numbers_of("top_p", top_p),
    }
    options: dict[str, Any] = {"model": model, "split": split, "photos": photos, "count": count, "seed": seed}
    from tweetcap.evaluate.sweep import sweep as measure

    quiet_libraries()
    try:
        typer.echo(measure(corpus, output, grid, **options, say=say))
    except ModuleNotFoundError as error:
        fail(f"{error.name} is not installed; pip install tweetcap[corpus,evaluation].")
    except (OSError, ValueError) as error:
        fail(one_sentence(error))
    except KeyboardInterrupt:
        fail(interrupted(output), INTERRUPTED)


def numbers_of(name: str, text: str) -> list[float]:
    """Return the numbers of a comma-separated list, each once, in order."""
    try:
        values = sorted({float(part) for part in text.split(",")})
    except ValueError:
        option, (low, high) = "--" + name.replace("_", "-"), RANGES[name]
        fail(f"{option} is {text}; give numbers from {low} to {high} with commas between, such as 0.6,0.8.")
    for value in values:
        check_ranges({name: value})
    return values


def interrupted(output: Path | None) -> str:
    again = "run the same command again" if output else "add --output to be able"
    return f"interrupted; {again} to go on where it stopped."


def quiet_libraries() -> None:
    """Keep transformers from talking: standard error is for what the user can act on."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
