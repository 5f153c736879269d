"""What stands between the network and gradio: which paths exist, how long a request may be, how slowly it may come.

Gradio 6.31 has some eighty routes, among them a proxy, a file server that fetches addresses, direct calls that pass the
queue by, recordings, traces and an editor of the app's code. A page needs a dozen; the others answer 404 here.
"""

import asyncio
import logging
import re
import time
import traceback
from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

IDLE_SECONDS = 20  # between two pieces of a request's body
BODY_SECONDS = 180  # for the whole body: 20 MB at 1 Mbit/s

logger = logging.getLogger(__name__)


class Doors:
    """ASGI middleware that lets through what a page needs, within limits, and adds headers to the answers."""

    def __init__(
        self, app: ASGIApp, limits: Mapping[str, int], headers: Mapping[str, Sequence[tuple[bytes, bytes]]]
    ) -> None:
        """Guard an app.

        Args:
            limits: regular expression of the paths that exist → most bytes of a request's body.
            headers: regular expression of paths → what their answers are given besides.
        """
        self.app = app
        self.limits = [(re.compile(pattern, re.DOTALL), limit) for pattern, limit in limits.items()]
        self.headers = [(re.compile(pattern, re.DOTALL), pairs) for pattern, pairs in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        path = scope["path"]
        headers = [pair for pattern, pairs in self.headers if pattern.fullmatch(path) for pair in pairs]
        limit = next((limit for pattern, limit in self.limits if pattern.fullmatch(path)), None)
        exchange = Exchange(receive, send, limit or 0, headers)
        if limit is None:
            exchange.refusal = (404, "Not Found")
        elif length := dict(scope["headers"]).get(b"content-length"):
            exchange.check_length(length)
        if not exchange.refusal:
            try:
                await self.app(scope, exchange.receive, exchange.send)
            except Exception as error:
                if exchange.started:
                    await exchange.end_stream(error)
                elif not exchange.refusal:
                    log(scope, error)
                    exchange.refusal = (500, "Internal Server Error")
        if exchange.refusal and not exchange.started:
            status, sentence = exchange.refusal
            exchange.refusal = None
            await PlainTextResponse(sentence, status)(scope, receive, exchange.send)


class Exchange:
    """One request and its answer.

    Attributes:
        refusal: (status, sentence) that takes the place of the app's answer.
        started: whether an answer has begun.
    """

    def __init__(self, receive: Receive, send: Send, limit: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self._receive, self._send, self._limit, self._headers = receive, send, limit, headers
        self._received = 0
        self._complete = False
        self._deadline = time.monotonic() + BODY_SECONDS
        self.refusal: tuple[int, str] | None = None
        self.started = False
        self._open_ended = False

    def check_length(self, length: bytes) -> None:
        if not length.isdigit():
            self.refusal = (400, "Content-Length is not a number.")
        elif int(length) > self._limit:
            self.refusal = (413, too_long(self._limit))

    async def receive(self) -> Message:
        if self._complete:  # what comes now says that the visitor has left, however late
            return await self._receive()
        seconds = min(IDLE_SECONDS, self._deadline - time.monotonic())
        try:
            message = await asyncio.wait_for(self._receive(), max(seconds, 0))
        except TimeoutError:
            self.refusal = (408, "The request came too slowly.")
            raise BodyRefusedError from None
        self._received += len(message.get("body", b""))
        if self._received > self._limit:
            self.refusal = (413, too_long(self._limit))
            raise BodyRefusedError
        self._complete = not message.get("more_body")
        return message

    async def send(self, message: Message) -> None:
        if self.refusal and not self.started:
            return
        if message["type"] == "http.response.start":
            self.started = True
            self._open_ended = not any(name == b"content-length" for name, _ in message["headers"])
            message = {**message, "headers": [*message["headers"], *self._headers]}
        await self._send(message)

    async def end_stream(self, error: Exception) -> None:
        """End an answer that broke off: gradio's event streams end by an exception where a session is unknown."""
        if not self._open_ended:
            raise error
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


class BodyRefusedError(Exception):
    """Ends the reading of a body that is too long or comes too slowly."""


def log(scope: Scope, error: Exception) -> None:
    """Log an error in one line: nonsense raises all kinds of them in gradio, and traces would fill a disk."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    logger.error(
        "%s %.200r failed at %s:%s: %.200r", scope["method"], scope["path"], frame.filename, frame.lineno, error
    )


def too_long(limit: int) -> str:
    return f"The request is too long: this address takes {limit / 2**20:.1f} MB at most."


def prefers_japanese(request: Request) -> bool:
    """Return whether a browser asks for Japanese before English."""
    languages = re.findall(r"\b(ja|en)\b", request.headers.get("accept-language", "").lower())
    return languages[:1] == ["ja"]
