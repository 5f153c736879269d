"""A stand-in for the Hub on loopback: enough of its API for a small dataset to be pushed."""

import base64
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hub(ThreadingHTTPServer):
    """Keeps what is pushed.

    Attributes:
        repositories: id → whether it is private.
        files: (id, branch) → path → bytes.
        card_errors: what the Hub finds wrong with a card.
        refuse: (status, path) of a request to refuse.
        log: method and path of each request.
    """

    daemon_threads = True

    def __init__(self, token: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.token = token
        self.repositories: dict[str, bool] = {}
        self.files: dict[tuple[str, str], dict[str, bytes]] = {}
        self.card_errors: list[str] = []
        self.refuse: tuple[int, str] | None = None
        self.log: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.handle_request(b"")

    def do_POST(self) -> None:
        self.handle_request(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def handle_request(self, body: bytes) -> None:
        hub, path = self.server, self.path.split("?")[0]
        hub.log.append(f"{self.command} {path}")
        if hub.refuse and re.search(hub.refuse[1], path):
            return self.answer(hub.refuse[0], {"error": "refused"})
        if path == "/api/validate-yaml":
            return self.answer(400 if hub.card_errors else 200, {"errors": hub.card_errors, "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {hub.token}":
            return self.answer(401, {"error": "Invalid username or password."})
        if path == "/api/repos/create":
            wanted = json.loads(body)
            name = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
            status = 409 if name in hub.repositories else 200
            hub.repositories.setdefault(name, wanted.get("visibility") == "private" or bool(wanted.get("private")))
            hub.files.setdefault((name, "main"), {})
            return self.answer(status, {"url": f"{hub.url}/datasets/{name}", "name": name, "id": name})
        match = re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/(\w+)/(.+)", path)
        if not match:
            return self.answer(404, {"error": f"nothing at {path}"})
        name, verb, revision = match.groups()
        if verb == "branch":
            hub.files.setdefault((name, revision), {})
            return self.answer(200, {})
        if (name, revision) not in hub.files:
            return self.answer(404, {"error": "no such revision"}, {"X-Error-Code": "RevisionNotFound"})
        if verb == "tree":
            files = hub.files[name, revision]
            tree = [{"type": "file", "path": path, "size": len(data), "oid": "0" * 40} for path, data in files.items()]
            return self.answer(200, tree)
        if verb == "preupload":
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            return self.answer(200, {"files": files})
        if verb == "commit":
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "deletedFile":
                    hub.files[name, revision].pop(entry["value"]["path"])
                if entry["key"] == "file":
                    hub.files[name, revision][entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            commit = f"{hub.url}/datasets/{name}/commit/{'0' * 40}"
            return self.answer(200, {"success": True, "commitOid": "0" * 40, "commitUrl": commit, "hookOutput": ""})
        self.answer(200, {"id": name, "sha": "0" * 40, "siblings": []})

    def answer(
        self, status: int, content: dict[str, Any] | list[dict[str, Any]], headers: dict[str, str] | None = None
    ) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
