"""A stand-in for the Hub on loopback that huggingface_hub 2.4's own client, and what is built on it, can't tell apart.

    with running(Hub(token)) as hub:
        subprocess.run([...], env=hub.environment(home))  # whatever reads HF_ENDPOINT

Models, datasets and Spaces: create, branches, tags, preupload, commits (ndjson), LFS (batch, basic and multipart
uploads, verify), resolve with the headers that the cache is built on, trees, ranges, private repositories, Spaces'
variables, and faults on demand. Large files come from another host name, as from the Hub's CDN. Xet, the Hub's newer
transport, is switched off in the client.
"""

import base64
import hashlib
import json
import os
import re
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (".safetensors", ".bin", ".parquet", ".jpg", ".png")
MULTIPART_BYTES = 4_000_000  # from this size on the client is asked for parts
PIECE = 16_384


@dataclass
class Fault:
    """How requests go wrong whose `METHOD path` the pattern is found in.

    Attributes:
        status, headers: answer with these and no content.
        cut_after, pause: close the connection after so many bytes; seconds between pieces.
        times: how many requests.
    """

    pattern: str
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    pause: float = 0.0
    times: int = 1_000_000


class Request(NamedTuple):
    method: str
    path: str
    authorized: bool
    range: str | None


@dataclass
class Repository:
    """Commits (id → path → content), and refs: branches and tags (name → commit)."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        content = json.dumps([len(self.commits), sorted((path, oid(data)) for path, data in files.items())])
        self.refs[branch] = commit = hashlib.sha1(content.encode()).hexdigest()
        self.commits[commit] = files
        return commit

    def resolve(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.refs.get(revision)


class Hub(ThreadingHTTPServer):
    """Keeps what is pushed; `token` may write, `reader` may read what is private.

    Attributes:
        repositories, objects: by (kind, id); large files by SHA-256.
        card_errors: what the Hub finds wrong with a card.
        faults: the first that fits a request counts.
        requests, sent: all that came; bytes of files.
    """

    daemon_threads = True
    reader = "hf_reader" + "0" * 20

    def __init__(self, token: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.token = token
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.parts: dict[tuple[str, int], bytes] = {}
        self.card_errors: list[str] = []
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.sent = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def files(self, name: str, kind: str = "model", revision: str = "main") -> dict[str, bytes]:
        repository = self.repositories[kind, name]
        return repository.commits[repository.resolve(revision)]

    def add(self, name: str, files: dict[str, bytes], kind: str = "model", private: bool = False) -> str:
        """Commit files to `main` without a client; return the commit."""
        large = [data for path, data in files.items() if is_large(path, len(data))]
        self.objects |= {hashlib.sha256(data).hexdigest(): data for data in large}
        return self.repositories.setdefault((kind, name), Repository(private)).commit("main", dict(files))

    def asked(self, pattern: str) -> list[Request]:
        return [request for request in self.requests if re.search(pattern, f"{request.method} {request.path}")]

    def environment(self, home: Path, token: str | None = None) -> dict[str, str]:
        """Return the environment of a process that has this Hub, a cache of its own, and perhaps a token."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "PYTHONPATH"))}
        kept |= {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
        kept |= {"HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1", "NO_PROXY": "127.0.0.1,localhost"}
        return kept | ({"HF_TOKEN": token} if token else {})

    def fault(self, request: str) -> Fault:
        for fault in self.faults:
            if fault.times and re.search(fault.pattern, request):
                fault.times -= 1
                return fault
        return Fault("")


def is_large(path: str, size: int) -> bool:
    return path.endswith(LARGE) or size > 1_000_000


def oid(data: bytes) -> str:
    """Return git's name of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def listing(files: dict[str, bytes], start: str) -> dict[str, dict[str, Any]]:
    """Return what the Hub says of the files and folders whose path begins so."""
    rows: dict[str, dict[str, Any]] = {}
    for path, data in files.items():
        if not path.startswith(start):
            continue
        for end in (place.start() for place in re.finditer("/", path) if place.start() >= len(start)):
            rows[path[:end]] = {"type": "directory", "path": path[:end], "oid": "0" * 40}
        rows[path] = {"type": "file", "path": path, "size": len(data), "oid": oid(data)}
        if is_large(path, len(data)):
            rows[path]["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return rows


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def handle_request(self) -> None:
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        length = int(self.headers.get("Content-Length") or 0)
        self.body = b"".join(iter(self.read_chunk, b"")) if chunked else self.rfile.read(length)
        self.path, self.query = unquote(urlsplit(self.path).path), parse_qs(urlsplit(self.path).query)
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.may_write, self.may_read = bearer == self.server.token, bearer in (self.server.token, self.server.reader)
        wanted = self.headers.get("Range")
        self.server.requests.append(Request(self.command, self.path, bool(bearer), wanted))
        self.fault = self.server.fault(f"{self.command} {self.path}")
        if self.fault.status:
            return self.answer(self.fault.status, {"error": "so it was asked"}, self.fault.headers)
        if bearer and not self.may_read:
            return self.refuse(401, "Invalid credentials in Authorization header")
        for pattern, handler in ROUTES:
            if match := re.fullmatch(pattern, f"{self.command} {self.path}"):
                return handler(self, **match.groupdict())
        return self.refuse(404, f"nothing at {self.path}")

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_request  # noqa: N815

    def read_chunk(self) -> bytes:
        data = self.rfile.read(int(self.rfile.readline().split(b";")[0], 16))
        self.rfile.readline()
        return data

    # --- Answers ---

    def answer(self, status: int, content: Any = None, headers: dict[str, str] | None = None) -> None:
        data = b"" if content is None else json.dumps(content).encode()
        self.head(status, {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(data)

    def head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def refuse(self, status: int, message: str, code: str = "", headers: dict[str, str] | None = None) -> None:
        given = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **(headers or {})}
        self.answer(status, {"error": message}, given)

    def send_file(self, data: bytes, headers: dict[str, str]) -> None:
        """Send a file or the range asked for, in pieces, and perhaps not to its end."""
        status, first, last = 200, 0, len(data) - 1
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(asked[1]), min(int(asked[2] or last), last)
            if first > last:
                return self.answer(416, None, {"Content-Range": f"bytes */{len(data)}"})
            status, headers = 206, {**headers, "Content-Range": f"bytes {first}-{last}/{len(data)}"}
        body = data[first : last + 1]
        self.head(status, {**headers, "Accept-Ranges": "bytes", "Content-Length": str(len(body))})
        if self.command == "HEAD":
            return
        self.close_connection = self.fault.cut_after is not None
        body = body[: self.fault.cut_after]
        for start in range(0, len(body), PIECE):
            try:
                self.wfile.write(body[start : start + PIECE])
            except OSError:  # the other side was killed
                self.close_connection = True
                return
            self.server.sent += len(body[start : start + PIECE])
            time.sleep(self.fault.pause)

    # --- Repositories ---

    def repository(self, kind: str, name: str, writing: bool = False) -> Repository | None:
        """Return a repository that this request may see, or refuse it as the Hub does."""
        found = self.server.repositories.get((kind, name))
        if writing and not self.may_read:
            self.refuse(401, "Invalid username or password.")
        elif found is None or (found.private and not self.may_read):
            self.refuse(404 if self.may_read else 401, "Repository not found", "RepoNotFound")
        elif writing and not self.may_write:
            self.refuse(403, "this token can't write")
        else:
            return found
        return None

    def commit_of(self, repository: Repository, revision: str) -> str | None:
        commit = repository.resolve(revision)
        if commit is None:
            self.refuse(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    def validate_yaml(self) -> None:
        errors = self.server.card_errors
        self.answer(400 if errors else 200, {"errors": [{"message": error} for error in errors], "warnings": []})

    def create(self) -> None:
        if not self.may_write:
            return self.refuse(403 if self.may_read else 401, "this token can't write")
        asked = json.loads(self.body)
        kind, name = asked.get("type", "model"), f"{asked.get('organization') or 'me'}/{asked['name']}"
        known = (kind, name) in self.server.repositories
        if not known:
            self.server.add(name, {".gitattributes": b""}, kind, private=asked.get("visibility") == "private")
        address = f"{self.server.url}/{'' if kind == 'model' else kind + 's/'}{name}"
        self.answer(409 if known else 200, {"url": address, "name": name, "id": name})

    def info(self, kinds: str, name: str, revision: str = "main") -> None:
        if (repository := self.repository(kinds[:-1], name)) and (commit := self.commit_of(repository, revision)):
            siblings = [{"rfilename": path} for path in repository.commits[commit]]
            self.answer(200, {"id": name, "sha": commit, "private": repository.private, "siblings": siblings})

    def make_ref(self, kinds: str, name: str, kind: str, ref: str) -> None:
        if repository := self.repository(kinds[:-1], name, writing=True):
            asked = json.loads(self.body or b"{}")
            new, start = (ref, asked.get("startingPoint", "main")) if kind == "branch" else (asked["tag"], ref)
            self.answer(409 if new in repository.refs else 200, {})
            repository.refs.setdefault(new, repository.resolve(start))

    def tree(self, kinds: str, name: str, revision: str, folder: str = "") -> None:
        if (repository := self.repository(kinds[:-1], name)) and (commit := self.commit_of(repository, revision)):
            rows = listing(repository.commits[commit], f"{folder}/" if folder else "")
            deep = self.query.get("recursive") in (["true"], ["True"])
            rows = [row for path, row in rows.items() if deep or "/" not in path[len(folder) + 1 if folder else 0 :]]
            self.answer(200, rows)

    def paths_info(self, kinds: str, name: str, revision: str) -> None:
        if (repository := self.repository(kinds[:-1], name)) and (commit := self.commit_of(repository, revision)):
            known = listing(repository.commits[commit], "")
            self.answer(200, [known[path] for path in parse_qs(self.body.decode()).get("paths", []) if path in known])

    def variables(self, name: str) -> None:
        if repository := self.repository("space", name, writing=True):
            asked = json.loads(self.body or b"{}")
            if self.command == "POST":
                repository.variables[asked["key"]] = asked["value"]
            elif self.command == "DELETE":
                del repository.variables[asked["key"]]
            self.answer(200, {key: {"value": value} for key, value in repository.variables.items()})

    # --- Up ---

    def preupload(self, kinds: str, name: str, revision: str) -> None:
        if (repository := self.repository(kinds[:-1], name, writing=True)) and self.commit_of(repository, revision):
            known = self.server.files(name, kinds[:-1], revision)
            rows = []
            for file in json.loads(self.body)["files"]:
                mode, old = "lfs" if is_large(file["path"], file["size"]) else "regular", known.get(file["path"])
                row = {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}
                rows.append({**row, "oid": oid(old) if old is not None else None})
            self.answer(200, {"files": rows})

    def commit(self, kinds: str, name: str, revision: str) -> None:
        if not (repository := self.repository(kinds[:-1], name, writing=True)):
            return
        if revision not in repository.refs:
            return self.refuse(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        files = dict(self.server.files(name, kinds[:-1], revision))
        for line in self.body.splitlines():
            operation = json.loads(line)
            key, value = operation["key"], operation["value"]
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                if value["oid"] not in self.server.objects:
                    return self.refuse(400, f"{value['path']} was not uploaded")
                files[value["path"]] = self.server.objects[value["oid"]]
            elif key == "deletedFile":
                files.pop(value["path"])
        commit = repository.commit(revision, files)
        address = f"{self.server.url}/{kinds}/{name}/commit/{commit}"
        self.answer(200, {"success": True, "commitOid": commit, "commitUrl": address, "hookOutput": ""})

    def lfs_batch(self, kinds: str | None, name: str) -> None:
        if self.repository((kinds or "models")[:-1], name, writing=True) is None:
            return
        rows = []
        for wanted in json.loads(self.body)["objects"]:
            row = dict(wanted)
            if wanted["oid"] not in self.server.objects:
                address = f"{self.server.url}/lfs/{wanted['oid']}"
                upload = {"href": address, "header": {}}
                if wanted["size"] > MULTIPART_BYTES:
                    parts = -(-wanted["size"] // MULTIPART_BYTES)
                    upload["header"] |= {str(part + 1): f"{address}/{part}" for part in range(parts)}
                    upload["header"] |= {"chunk_size": str(MULTIPART_BYTES)}
                row["actions"] = {"upload": upload, "verify": {"href": f"{self.server.url}/verify"}}
            rows.append(row)
        self.answer(200, {"transfer": "basic", "objects": rows})

    def lfs_upload(self, digest: str, part: str | None = None) -> None:
        if part is not None:
            self.server.parts[digest, int(part)] = self.body
            return self.answer(200, None, {"ETag": f'"{digest}-{part}"'})
        if self.command == "POST":  # all parts are there
            count = len(json.loads(self.body)["parts"])
            self.body = b"".join(self.server.parts.pop((digest, number)) for number in range(count))
        if hashlib.sha256(self.body).hexdigest() != digest:
            return self.refuse(400, "these are other bytes")
        self.server.objects[digest] = self.body
        self.answer(200)

    def verify(self) -> None:
        asked = json.loads(self.body)
        self.answer(200 if len(self.server.objects.get(asked["oid"], b"")) == asked["size"] else 404, {})

    # --- Down ---

    def resolve(self, kinds: str | None, name: str, revision: str, path: str) -> None:
        repository = self.repository((kinds or "models")[:-1], name)
        if repository is None or (commit := self.commit_of(repository, revision)) is None:
            return
        data, headers = repository.commits[commit].get(path), {"X-Repo-Commit": commit}
        if data is None:
            return self.refuse(404, "Entry not found", "EntryNotFound", headers)
        if not is_large(path, len(data)):
            return self.send_file(data, headers | {"ETag": f'"{oid(data)}"'})
        digest = hashlib.sha256(data).hexdigest()
        headers |= {"X-Linked-ETag": f'"{digest}"', "X-Linked-Size": str(len(data)), "ETag": f'"{digest}"'}
        self.answer(
            302, None, headers | {"Location": f"{self.server.url.replace('127.0.0.1', 'localhost')}/cdn/{digest}"}
        )

    def from_cdn(self, digest: str) -> None:
        if digest not in self.server.objects:
            return self.refuse(404, "no such object")
        self.send_file(self.server.objects[digest], {"ETag": f'"{digest}"'})


_API = r"/api/(?P<kinds>models|datasets|spaces)/(?P<name>[^/]+/[^/]+)"
_REPOSITORY = r"/(?:(?P<kinds>datasets|spaces)/)?(?P<name>[^/]+/[^/]+)"
_FILE = r"/(?P<revision>[^/]+)/(?P<path>.+)"
ROUTES = [
    (r"POST /api/validate-yaml", _Handler.validate_yaml),
    (r"POST /api/repos/create", _Handler.create),
    (rf"GET {_API}", _Handler.info),
    (rf"GET {_API}/revision/(?P<revision>.+)", _Handler.info),
    (rf"POST {_API}/(?P<kind>branch|tag)/(?P<ref>.+)", _Handler.make_ref),
    (rf"GET {_API}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.+))?", _Handler.tree),
    (rf"POST {_API}/paths-info/(?P<revision>.+)", _Handler.paths_info),
    (r"(?:GET|POST|DELETE) /api/spaces/(?P<name>[^/]+/[^/]+)/variables", _Handler.variables),
    (rf"POST {_API}/preupload/(?P<revision>.+)", _Handler.preupload),
    (rf"POST {_API}/commit/(?P<revision>.+)", _Handler.commit),
    (rf"POST {_REPOSITORY}\.git/info/lfs/objects/batch", _Handler.lfs_batch),
    (r"(?:PUT|POST) /lfs/(?P<digest>[0-9a-f]+)(?:/(?P<part>\d+))?", _Handler.lfs_upload),
    (r"POST /verify", _Handler.verify),
    (rf"(?:GET|HEAD) {_REPOSITORY}/resolve{_FILE}", _Handler.resolve),
    (r"(?:GET|HEAD) /cdn/(?P<digest>[0-9a-f]+)", _Handler.from_cdn),
]
