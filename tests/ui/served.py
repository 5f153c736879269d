"""The writer's page, served to the tests of this folder."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import httpx

from tweetcap.ui.page import build_page
from tweetcap.ui.server import launch_page

JAPANESE = {"Accept-Language": "ja,en;q=0.5"}


@contextmanager
def served(writer, uploads: Path, feedback=None) -> Iterator[str]:
    """Serve a writer's page; yield its address, without a slash at the end."""
    # Read when components are built, when the server starts, and at each request.
    with mock.patch.dict(os.environ, GRADIO_TEMP_DIR=str(uploads)):
        page = build_page(writer, feedback)
        _, address, _ = launch_page(page, "127.0.0.1", free_port(), writer=writer, prevent_thread_lock=True, quiet=True)
        try:
            yield address.rstrip("/")
        finally:
            page.close(verbose=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def raw(address: str, request: bytes, seconds: float = 10) -> bytes:
    """Send bytes that no well-behaved client would; return what comes back until the server closes."""
    url = httpx.URL(address)
    with socket.create_connection((url.host, url.port), seconds) as connection:
        connection.sendall(request)
        try:
            return b"".join(iter(lambda: connection.recv(65536), b""))
        except ConnectionResetError:
            return b""


def upload(address: str, data: bytes, name: str = "photo.jpg", **options) -> httpx.Response:
    return httpx.post(f"{address}/gradio_api/upload", files={"files": (name, data)}, **options)


def call(address: str, endpoint: str, arguments: list | dict, **options) -> tuple[str, str]:
    """Call an endpoint over plain HTTP, by position or by name; return the last event's kind and data."""
    way = "call" if isinstance(arguments, list) else "call/v2"
    body = {"data": arguments} if isinstance(arguments, list) else arguments
    with httpx.Client(base_url=f"{address}/gradio_api/", timeout=60, **options) as http:
        answer = http.post(f"{way}/{endpoint}", json=body)
        if answer.status_code != 200:
            return str(answer.status_code), answer.text
        events = http.get(f"call/{endpoint}/{answer.json()['event_id']}").text.strip().split("\n\n")
    kind, _, data = events[-1].partition("\ndata: ")
    return kind.removeprefix("event: "), data
