"""The page's named endpoints, `/write` and `/describe`: for gradio_client, for plain HTTP, and as tools over MCP.

The docstrings below are what an assistant is told of the tools, and what the page's API description says.
"""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypedDict

import gradio as gr

from tweetcap.model import TWEET_TONES
from tweetcap.ui.identity import model_name
from tweetcap.ui.uploads import MAX_COUNT, MAX_SEED, photo_bytes
from tweetcap.ui.waiting import WRITER_QUEUE
from tweetcap.write.settings import DEFAULTS, RANGES
from tweetcap.write.writer import check_settings

ENDPOINTS = ("write", "describe")

# What an endpoint takes as a photo; gradio turns the first of them into "a file" in its descriptions.
Photo = gr.FileData | str


class WrittenTweet(TypedDict):
    text: str
    tone: str
    register: str
    grounding: float
    log_likelihood: float


class Writing(TypedDict):
    tweets: list[WrittenTweet]
    seed: int
    description: str
    model: str


class Description(TypedDict):
    description: str
    model: str


def add_endpoints(writer) -> None:
    """Register /write and /describe; call it inside `with gr.Blocks()`."""
    model = model_name(writer)

    def write(
        photo: Photo,
        count: int = DEFAULTS.count,
        tone: Literal[TWEET_TONES] | None = None,
        temperature: float = DEFAULTS.temperature,
        guidance: float = DEFAULTS.guidance,
        top_p: float = DEFAULTS.top_p,
        seed: int | None = None,
    ) -> Writing:
        """Write short, funny or warm Japanese tweets about a photo of an animal, several to choose from, best first.

        A small neural network writes them: it invents details and can be wrong about the animal, so show the user more
        than one. Photos are JPEG, PNG, WEBP or GIF, up to 20 MB and 25 megapixels. Addresses elsewhere are not fetched.

        Args:
            photo: the address that POST /gradio_api/upload of this server gave, or a data: URL in base64 (up to 6 MB).
            count: how many tweets, 1 to 10.
            tone: つぶやき muttering, ツッコミ retort, アフレコ the animal talks, ほっこり warm, 大喜利 joke; or null.
            temperature: 0.1 (plain) to 2.0 (wild).
            guidance: 0 (free) to 3 (keeps to the photo).
            top_p: 0.1 to 1; only the likeliest words that together reach this probability are used.
            seed: 0 to 4294967295; the same photo, settings and seed give the same tweets. null draws afresh.

        Returns:
            tweets, each with text, tone, register, grounding (nats by which the photo makes the text likelier)
            and log_likelihood (mean nats a token); the seed; a sober description of the photo in Japanese; the model.
        """
        settings = {
            "count": in_range("count", count, (1, MAX_COUNT)),
            "temperature": in_range("temperature", temperature, RANGES["temperature"]),
            "guidance": in_range("guidance", guidance, RANGES["guidance"]),
            "top_p": in_range("top_p", top_p, RANGES["top_p"]),
        }
        seed = secrets.randbelow(MAX_SEED + 1) if seed is None else in_range("seed", seed, (0, MAX_SEED))
        data = photo_bytes(photo)
        with sentences():
            check_settings(tone=tone, tones=writer.tones)
            tweets = writer.write(data, tone=tone, seed=seed, **settings)
            description = writer.describe(data)
        return {
            "tweets": [{name: getattr(tweet, name) for name in WrittenTweet.__annotations__} for tweet in tweets],
            "seed": seed,
            "description": description,
            "model": model,
        }

    def describe(photo: Photo) -> Description:
        """Say soberly, in one Japanese sentence, what a photo of an animal shows.

        Always the same for the same photo. Photos are JPEG, PNG, WEBP or GIF, up to 20 MB and 25 megapixels.

        Args:
            photo: the address that POST /gradio_api/upload of this server gave, or a data: URL in base64 (up to 6 MB).

        Returns:
            the description and the model.
        """
        data = photo_bytes(photo)
        with sentences():
            return {"description": writer.describe(data), "model": model}

    for endpoint in (write, describe):
        gr.api(endpoint, api_name=endpoint.__name__, **WRITER_QUEUE)


@contextmanager
def sentences() -> Iterator[None]:
    """Turn what the writer says of a photo or a value into an answer."""
    try:
        yield
    except (ValueError, TypeError) as error:
        sentence = str(error).replace("The photo in the given bytes", "The photo")
        raise gr.Error(sentence, print_exception=False) from None


def in_range(name: str, value: Any, limits: tuple[int | float, int | float]) -> int | float:
    """Return a setting as the number that it is; callers can send anything."""
    low, high = limits
    whole = isinstance(low, int)
    fits = not isinstance(value, bool) and isinstance(value, int | float) and low <= value <= high
    if not fits or (whole and value != int(value)):
        kind = "a whole number" if whole else "a number"
        raise gr.Error(f"{name} is {value!r:.40}; give {kind} from {low} to {high}.", print_exception=False)
    return type(low)(value)


def tool_answer(data: list, root_url: str) -> list:
    """Return an endpoint's answer as MCP's text in JSON; gradio would write Python's notation."""
    from mcp.types import TextContent

    return [TextContent(type="text", text=json.dumps(value, ensure_ascii=False)) for value in data]
