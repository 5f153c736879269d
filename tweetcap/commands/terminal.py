"""What the commands share: how they fail, what they print, and the options that mean the same everywhere.

Torch, transformers and gradio are imported inside the functions that need them: --help answers at once.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer
from tqdm import tqdm

from tweetcap.write.settings import RANGES

FAILED, MISUSED, INTERRUPTED = 1, 2, 130  # exit codes; 0 says that everything asked for was done

Model = Annotated[
    str | None,
    typer.Option(help="Folder or Hub id of a checkpoint.", show_default="the embedded one"),
]


def fail(message: str, code: int = MISUSED) -> NoReturn:
    say(f"tweetcap: {message}")
    raise typer.Exit(code)


def say(message: str) -> None:
    """Print to standard error, above the progress bar where there is one."""
    tqdm.write(printable(message), file=sys.stderr)


def printable(text: str) -> str:
    """Return text that can be encoded; a file name that isn't UTF-8 comes with lone surrogates in it."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def one_sentence(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def sentences() -> Iterator[None]:
    """Turn what goes wrong in a command that can go on where it stopped into one sentence and an exit code."""
    try:
        yield
    except KeyboardInterrupt:
        fail("interrupted; run the same command again to go on where it stopped.", INTERRUPTED)
    except ValueError as error:
        fail(one_sentence(error))
    except OSError as error:
        fail(f"{one_sentence(error)}; then run the same command again.", FAILED)


def range_help(text: str, name: str) -> str:
    low, high = RANGES[name]
    return f"{text} ({low} to {high})."


def check_ranges(sampling: dict[str, Any]) -> None:
    for name in (name for name in RANGES if name in sampling):
        low, high = RANGES[name]
        if not low <= sampling[name] <= high:  # written so that nan fails too
            option = "--" + name.replace("_", "-")
            fail(f"{option} is {sampling[name]}; it goes from {low} to {high}.")


def load_writer(model: str | None, tone: str | None = None, device: str | None = None):
    from transformers.utils import logging

    from tweetcap import TweetWriter

    # Standard error is for what the user can act on.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        writer = TweetWriter.from_pretrained(model, device=device)
    except (OSError, ValueError) as error:
        fail(one_sentence(error))
    if tone is not None and tone not in writer.tones:
        fail(f"--tone is {tone}; this model knows {', '.join(writer.tones)}.")
    return writer
