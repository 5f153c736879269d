"""`tweetcap push`: a checkpoint or the Space to the Hub; datasets go with `tweetcap dataset push`."""

from pathlib import Path
from typing import Annotated

import typer

from tweetcap.commands.terminal import fail, say, sentences


def push(
    checkpoint: Annotated[Path | None, typer.Argument(help="Folder of a checkpoint.")] = None,
    name: Annotated[str | None, typer.Argument(metavar="ORG/NAME", help="The model's name on the Hub.")] = None,
    notes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.md",
            help="The card's hand-written part: licence, training data, intended use, limits.",
            show_default="CHECKPOINT/notes.md",
        ),
    ] = None,
    metrics: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="What `tweetcap evaluate` measured, for the card.",
            show_default="CHECKPOINT/metrics.json",
        ),
    ] = None,
    space: Annotated[
        str | None, typer.Option(metavar="ORG/NAME", help="Push the page as this Space, instead of a checkpoint.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="ORG/MODEL[@REVISION]", help="The model that the Space shows.", show_default="the embedded"
        ),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch to push to.", show_default="main")] = None,
) -> None:
    """Push a checkpoint with its code and card to the Hub, or the page as a Space.

    With the token of `hf auth login` or HF_TOKEN. Everything is checked before anything is sent. The code, weights and
    configs that the branch already has are replaced; its history keeps them. Prints the address.
    """
    if space is None and (checkpoint is None or name is None):
        fail("name a checkpoint and ORG/NAME, or --space ORG/NAME.")
    if space is None and model is not None:
        fail("--model names what a Space shows; give --space too.")
    others = {"CHECKPOINT": checkpoint, "--notes": notes, "--metrics": metrics, "--revision": revision}
    given = [option for option, value in others.items() if value is not None]
    if space is not None and given:
        fail(f"--space pushes the page alone; leave out {' and '.join(given)}.")
    with sentences():
        if space is not None:
            from tweetcap.publish.space import push_space

            address, remarks = push_space(space, model=model, private=private)
        else:
            from tweetcap.publish.model import push_model

            options = {"notes": notes, "metrics": metrics, "private": private, "revision": revision}
            address, remarks = push_model(checkpoint, name, **options)
    for remark in remarks:
        say(f"tweetcap: {remark}.")
    typer.echo(address)
