"""A file server on loopback that knows ranges and misbehaves on a schedule."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Fault:
    """How one request goes wrong; the default is that it doesn't.

    Attributes:
        cut_after: close the connection after so many bytes of the body.
        status: answer with this and no file.
        headers: added, or dropped where None.
        ignore_range: send the whole file.
        shift: begin the range so many bytes later than asked.
        announce: Content-Length to claim.
        pause: seconds between pieces.
        replace: the file is this from now on.
    """

    cut_after: int | None = None
    status: int | None = None
    headers: dict[str, str | None] = field(default_factory=dict)
    ignore_range: bool = False
    shift: int = 0
    announce: int | None = None
    pause: float = 0.0
    replace: bytes | None = None


class FileServer(ThreadingHTTPServer):
    """Serves `files` (path → bytes); `faults` are used up one a request, then `always` goes on."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.faults_of: dict[str, list[Fault]] = {}
        self.always = Fault()
        self.etags = True
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.sent = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def next_fault(self, path: str) -> Fault:
        with self.lock:
            faults = self.faults_of.get(path) or self.faults
            return faults.pop(0) if faults else self.always

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients that hang up are the point


class _Handler(BaseHTTPRequestHandler):
    server: FileServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path
        self.server.requests.append((path, dict(self.headers)))
        fault = self.server.next_fault(path)
        if fault.replace is not None:
            self.server.files[path] = fault.replace
        data = self.server.files.get(path)
        if fault.status or data is None:
            return self.answer(fault.status or 404, fault.headers, b"")
        etag = f'"{hash(data) & 0xFFFFFFFF:x}"' if self.server.etags else None
        headers = {"ETag": etag, "Accept-Ranges": "bytes"}
        start, status = 0, 200
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range") in (None, etag)
        if asked and same and not fault.ignore_range:
            start, status = int(asked[1]) + fault.shift, 206
            if start >= len(data):
                return self.answer(416, {"Content-Range": f"bytes */{len(data)}"}, b"")
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self.answer(status, headers | fault.headers, data[start:], fault)

    def answer(self, status: int, headers: dict[str, str | None], body: bytes, fault: Fault | None = None) -> None:
        fault = fault or Fault()
        self.send_response(status)
        length = len(body) if fault.announce is None else fault.announce
        for name, value in ({"Content-Length": str(length)} | headers).items():
            if value is not None:
                self.send_header(name, value)
        cut = fault.cut_after is not None or fault.announce is not None or headers.get("Content-Length", "") is None
        if cut:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        body = body[: fault.cut_after]
        for begin in range(0, len(body), 2**14):
            piece = body[begin : begin + 2**14]
            self.wfile.write(piece)
            self.server.sent += len(piece)
            threading.Event().wait(fault.pause)  # time.sleep is what tests of a client replace


@contextmanager
def running(server: ThreadingHTTPServer) -> Iterator[Any]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
