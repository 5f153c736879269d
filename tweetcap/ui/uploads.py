"""What visitors and callers send: photos, kept for minutes under random names, and numbers.

An upload is a file of bytes that nobody has looked into but for its first few; the writer decodes it, with all the
checks of `tweetcap.data.photo`, and it is served back only under its random name.
"""

import base64
import binascii
import html
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote

import anyio
import gradio as gr
from gradio.route_utils import GradioMultiPartParser
from gradio.utils import get_upload_folder
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from tweetcap.data.photo import MAX_BYTES
from tweetcap.ui.doors import prefers_japanese
from tweetcap.write.settings import RANGES

MAX_COUNT = 10  # more tweets than this are a list to scroll, not a choice
MAX_SEED = 2**32 - 1

KEEP_SECONDS = 600  # since a photo's last use
SWEEP_SECONDS = 30
MAX_STORED = 2 * 2**30  # bytes of all uploads together
MAX_FILES = 4000
FILE_ADDRESS = "/gradio_api/file="

SUFFIXES = {b"\xff\xd8\xff": ".jpg", b"\x89PNG\r\n\x1a\n": ".png", b"GIF8": ".gif", b"RIFF": ".webp"}

SENTENCES = {
    "full": {
        "ja": "いまは写真が多すぎて受けとれません。少ししてからもう一度お試しください。",
        "en": "There are too many photos here at the moment; try again in a minute.",
    },
    "big": {
        "ja": f"写真が {MAX_BYTES // 2**20} MB を超えています。小さくして保存し直してください。",
        "en": f"The photo has more than {MAX_BYTES // 2**20} MB: save it smaller.",
    },
}


class Uploads:
    """The folder of uploads, and the route that fills it in place of gradio's.

    gradio's own takes a thousand files in a request, leaves those behind whose upload was cut, and forgets all when its
    process is killed. Several processes can share the folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or Path(get_upload_folder())) / "tweetcap"
        self._arriving = 0  # bytes that uploads on their way may still write

    async def take(self, request: Request) -> Response:
        """Answer a multipart request with one file by a list of its path, as gradio does."""
        language = "ja" if prefers_japanese(request) else "en"
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            return PlainTextResponse("Send the photo as multipart/form-data, in the field `files`.", 400)
        expected = min(int(request.headers.get("content-length", MAX_BYTES)), MAX_BYTES)
        files, stored = await anyio.to_thread.run_sync(self.measure)
        if files >= MAX_FILES or stored + self._arriving + expected > MAX_STORED:
            return PlainTextResponse(SENTENCES["full"][language], 503)
        self._arriving += expected
        try:
            return JSONResponse([str(await self._receive(request))])
        except MultiPartException as error:
            if "maximum allowed size" in error.message and "File" in error.message:
                return PlainTextResponse(SENTENCES["big"][language], 413)
            return PlainTextResponse(f"{error.message.rstrip('.')}: send one photo, in the field `files`.", 400)
        except ClientDisconnect:
            return Response(status_code=400)
        finally:
            self._arriving -= expected

    async def _receive(self, request: Request) -> Path:
        """Write the request's file to the folder and return its path."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=self.folder, ignore_cleanup_errors=True) as arriving:
            parser = GradioMultiPartParser(
                request.headers,
                request.stream(),
                max_files=1,
                max_fields=0,
                upload_dir=arriving,
                max_file_size=MAX_BYTES,
            )
            form = await parser.parse()
            file = form.get("files")
            if file is None:
                raise MultiPartException("There is no file in the request.")
            path = self.folder / (secrets.token_hex(16) + suffix_of(await file.read(16)))
            await file.close()
            os.rename(file.file.name, path)
        return path

    def measure(self) -> tuple[int, int]:
        """Return how many files there are and their bytes."""
        sizes = [status.st_size for _, status in self._entries()]
        return len(sizes), sum(sizes)

    def sweep(self) -> None:
        """Delete what nobody used for KEEP_SECONDS, of any process that ever wrote here."""
        oldest = time.time() - KEEP_SECONDS
        for entry, status in self._entries():
            if status.st_mtime < oldest:
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    Path(entry.path).unlink(missing_ok=True)

    async def keep_sweeping(self) -> None:
        while True:
            await anyio.to_thread.run_sync(self.sweep)
            await anyio.sleep(SWEEP_SECONDS)

    def _entries(self) -> Iterator[tuple[os.DirEntry, os.stat_result]]:
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    try:
                        yield entry, entry.stat(follow_symlinks=False)
                    except FileNotFoundError:  # swept by another process
                        continue
        except FileNotFoundError:  # nobody has uploaded anything yet
            return


def suffix_of(start: bytes) -> str:
    """Return the suffix that a file's first bytes give it: by it alone gradio decides as what a file is served."""
    return next((suffix for magic, suffix in SUFFIXES.items() if start.startswith(magic)), ".bin")


def refusal(sentence: str) -> gr.Error:
    """Return the error that shows a sentence; gradio renders it as HTML, so it is escaped."""
    return gr.Error(html.escape(sentence), print_exception=False)


def read_upload(upload: dict | None, folder: str) -> bytes:
    """Return the bytes of an upload, so that no sentence about it can name a path on the server.

    Gradio 6.31 checks that a path lies in its folder of uploads only where the caller marks it as a file;
    callers of the API write what they like, so it is checked here.
    """
    path = upload.get("path") if isinstance(upload, dict) else None
    if not path or not isinstance(path, str):
        raise refusal("写真を入れてください。")
    try:
        path = Path(path).resolve()
        if not path.is_relative_to(Path(folder).resolve()):
            raise refusal("写真を入れてください。")
        os.utime(path)  # a photo that is in use stays
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)  # one byte too many is enough for the writer to refuse it
    except (OSError, ValueError):
        raise refusal("写真はもう消されています。もう一度入れてください。") from None


def photo_bytes(photo: Any) -> bytes:
    """Return the photo that a caller of the API means.

    Args:
        photo: an upload, as gradio's clients send it; its path, or its address on this server; or a data URL.

    Raises:
        gr.Error: in one sentence.
    """
    if isinstance(photo, dict):
        photo = photo.get("path")
    if not isinstance(photo, str) or not photo:
        raise gr.Error("There is no photo: upload one, or send it as a data: URL in base64.", print_exception=False)
    if photo.startswith("data:"):
        return decode_data_url(photo)
    path = unquote(photo.partition(FILE_ADDRESS)[2]) if FILE_ADDRESS in photo else photo
    try:
        return read_upload({"path": path}, get_upload_folder())
    except gr.Error:
        sentence = (
            f"{photo:.80} is no upload of this server, or was deleted after {KEEP_SECONDS // 60} minutes; addresses "
            "are not fetched. Upload the photo to /gradio_api/upload, or send it as a data: URL in base64."
        )
        raise gr.Error(sentence, print_exception=False) from None


def decode_data_url(address: str) -> bytes:
    head, comma, body = address.partition(",")
    try:
        if not comma or not head.endswith(";base64"):
            raise ValueError
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        sentence = "The data: URL is not in base64; it starts with data:image/jpeg;base64, and has the photo after it."
        raise gr.Error(sentence, print_exception=False) from None


def number(value: Any, name: str, label: str, highest: float | None = None) -> int | float:
    """Return a control's value; callers of the API can send anything."""
    low, high = RANGES[name][0], highest or RANGES[name][1]
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise refusal(f"「{label}」は {low} から {high} までの数にしてください({str(value)[:40]})。")
    return type(low)(value)


def seed_number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_SEED:
        raise refusal(f"「シード」は 0 から {MAX_SEED} までの整数にしてください({str(value)[:40]})。")
    return int(value)
