"""`tweetcap demo`: the page on this machine."""

import os
from typing import Annotated

import typer

from tweetcap.commands.startup import quick_start, share_one_heap
from tweetcap.commands.terminal import FAILED, Model, fail, load_writer, one_sentence


def demo(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 7860,
    model: Model = None,
) -> None:
    """Open the page on this machine."""
    share_one_heap()
    with quick_start():
        writer = load_writer(model)
        from tweetcap.ui.feedback import feedback_from_environment
        from tweetcap.ui.server import serve_writer

    try:
        feedback = feedback_from_environment(os.environ)
    except ValueError as error:
        fail(one_sentence(error))
    try:
        serve_writer(writer, host, port, feedback)
    except OSError as error:
        fail(f"the page cannot be served at {host}:{port}: {one_sentence(error)}", FAILED)
