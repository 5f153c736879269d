"""What the page's listeners answer: messages for cards.js, in plain JSON types.

A message about tweets holds everything on the show; one about a single card repeats the number of its request. What
went wrong is a `problem` in the message, in both languages, rather than an exception: the page shows it near the photo.
What a browser sends is checked here, since it can be anything.
"""

import hashlib
import html
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from tweetcap.data.photo import PhotoError
from tweetcap.ui.texts import both, photo_problem
from tweetcap.ui.uploads import MAX_COUNT, MAX_SEED, number, read_upload, seed_number
from tweetcap.write.settings import RANGES
from tweetcap.write.writer import Draft

COMPARED = {"sober": 0.5, "medium": 1.0, "wild": 1.5}  # temperatures of the comparison
COMPARED_COUNT = 2
MORE_COUNT = 2
MORE_STEP = 0.15  # by which "more like this" moves the temperature
MAX_AVOID = 64  # texts on the page that a new one may not resemble
MAX_TEXT = 280  # characters
TOP_CONCEPTS = 3


class RequestError(Exception):
    """A request can't be met; `problem` says why, in both languages."""

    def __init__(self, problem: dict[str, str]):
        super().__init__(problem["en"])
        self.problem = problem


class Answers:
    """Answers what happens on the page with a writer's tweets."""

    def __init__(self, writer):
        self.writer = writer

    def write(self, upload, tone, count, temperature, guidance, top_p, seed) -> Iterator[dict[str, Any]]:
        """Yield the show while it is written, whole each time: {writing, photo, seed, draft, groups, description}.

        A show has one group; `draft` is a text that isn't finished, or None.
        """
        settings = {"temperature": temperature, "guidance": guidance, "top_p": top_p}
        groups = [{"name": None, "count": count, "settings": settings}]
        yield from self._show(upload, tone, seed, groups)

    def compare(self, upload, tone, guidance, top_p, seed) -> Iterator[dict[str, Any]]:
        """Yield a show of three groups, by temperature, from one seed."""
        groups = [
            {
                "name": name,
                "count": COMPARED_COUNT,
                "settings": {"temperature": temperature, "guidance": guidance, "top_p": top_p},
            }
            for name, temperature in COMPARED.items()
        ]
        yield from self._show(upload, tone, seed, groups)

    def _show(self, upload, tone, seed, groups) -> Iterator[dict[str, Any]]:
        show = {"kind": "show", "writing": True, "photo": None, "draft": None, "groups": [], "description": None}
        try:
            photo = read_photo(upload)
            seed = secrets.randbelow(MAX_SEED + 1) if seed in (None, "") else checked_seed(seed)
            show |= {"photo": hashlib.sha256(photo).hexdigest()[:16], "seed": seed}
            with told_in_both_languages():
                encoded = self.writer.encode([photo])
            for group in groups:
                settings = checked(count=group["count"], **group["settings"])
                before, heading = show["groups"], {"name": group["name"], "temperature": settings["temperature"]}
                show = show | {"groups": [*before, heading | {"cards": []}]}
                yield show
                cards = []
                with told_in_both_languages():
                    for piece in self.writer.stream(encoded, tone=tone or None, seed=seed, **settings):
                        if isinstance(piece, Draft):
                            yield show | {"draft": {"text": piece.text, "tone": piece.tone}}
                        else:
                            cards.append(card(piece, settings, seed))
                show = show | {"groups": [*before, heading | {"cards": cards}]}
            if not any(group["cards"] for group in show["groups"]):
                raise RequestError(both("no_tweet"))
            yield show | {"writing": False}
            with told_in_both_languages():
                yield show | {"writing": False, "description": self.writer.describe(encoded)}
        except RequestError as error:
            yield show | {"writing": False, "problem": error.problem}

    def reroll(self, upload, data) -> dict[str, Any]:
        """Write one card again: same tone and settings, another seed, nothing like what is on the page."""
        return self._cards(upload, data, 1, 0.0)

    def more(self, upload, data) -> dict[str, Any]:
        """Write more in a card's tone at a neighbouring temperature: a little wilder, or soberer at the end."""
        return self._cards(upload, data, MORE_COUNT, MORE_STEP)

    def _cards(self, upload, data, count: int, step: float) -> dict[str, Any]:
        answer = {"kind": "answer", "request": field(data, "request"), "cards": []}
        try:
            photo = read_photo(upload)
            settings = checked(
                count=count, **{name: field(data, name) for name in ("temperature", "guidance", "top_p")}
            )
            highest = RANGES["temperature"][1]
            warmer = settings["temperature"] + step
            settings["temperature"] = round(warmer if warmer <= highest else settings["temperature"] - step, 2)
            seed = secrets.randbelow(MAX_SEED + 1)
            with told_in_both_languages():
                tweets = self.writer.write(photo, tone=field(data, "tone"), seed=seed, avoid=texts_of(data), **settings)
            if not tweets:
                raise RequestError(both("no_more"))
            answer["cards"] = [card(tweet, settings, seed) for tweet in tweets]
        except RequestError as error:
            answer["problem"] = error.problem
        return answer

    def why(self, upload, data) -> dict[str, Any]:
        """Explain a text, the visitor's own wording too: {rows, columns, words}."""
        answer = {"kind": "answer", "request": field(data, "request")}
        try:
            photo = read_photo(upload)
            text, tone, register = (field(data, name) for name in ("text", "tone", "register"))
            if not isinstance(text, str) or not text.strip() or len(text) > MAX_TEXT:
                raise RequestError(both("bad_text"))
            with told_in_both_languages():
                explanation = self.writer.explain(photo, text, tone, register)
            answer["rows"], answer["columns"] = explanation.rows, explanation.columns
            answer["words"] = [shown_word(word) for word in explanation.words]
        except RequestError as error:
            answer["problem"] = error.problem
        return answer


@contextmanager
def told_in_both_languages() -> Iterator[None]:
    """Turn what the writer says of a photo or a value into a RequestError."""
    try:
        yield
    except PhotoError as error:
        raise RequestError(photo_problem(str(error))) from None
    except ValueError as error:  # of a value that the page's own controls can't send
        raise RequestError({"ja": str(error), "en": str(error)}) from None


def card(tweet, settings: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return a tweet with what it was made by."""
    made_by = {name: settings[name] for name in ("temperature", "guidance", "top_p")}
    return asdict(tweet) | made_by | {"seed": seed}


def shown_word(word) -> dict[str, Any]:
    """Return an explained word in numbers that are short to send: nats, shares of attention."""
    concepts = sorted(word.concepts.items(), key=lambda pair: -pair[1])
    return {
        "text": word.text,
        "log_prob": round(word.log_prob, 4),
        "null_log_prob": round(word.null_log_prob, 4),
        "attention": [[round(share, 4) for share in row] for row in word.attention],
        "concepts": [[name, round(share, 4)] for name, share in concepts[:TOP_CONCEPTS] if share >= 0.005],
        "on_concepts": round(sum(word.concepts.values()), 4),
    }


def read_photo(upload: dict | None) -> bytes:
    if not upload:
        raise RequestError(both("no_photo"))
    try:
        return read_upload(upload, get_upload_folder())
    except gr.Error:
        raise RequestError(both("gone")) from None


def checked_seed(seed: Any) -> int:
    try:
        return seed_number(seed)
    except gr.Error:
        raise RequestError(both("bad_seed", value=str(seed)[:40])) from None


def checked(**settings: Any) -> dict[str, int | float]:
    try:
        return {
            name: number(value, name, name, MAX_COUNT if name == "count" else None) for name, value in settings.items()
        }
    except gr.Error as error:
        sentence = html.unescape(str(error.message))
        raise RequestError({"ja": sentence, "en": sentence}) from None


def texts_of(data: Any) -> list[str]:
    """Return the texts that a browser wants avoided."""
    texts = field(data, "avoid")
    texts = texts if isinstance(texts, list) else []
    return [text[:MAX_TEXT] for text in texts[:MAX_AVOID] if isinstance(text, str)]


def field(data: Any, name: str) -> Any:
    return data.get(name) if isinstance(data, dict) else None
