"""The server under the page: which paths exist, what nonsense gets, /health, the waiting line, the Space's files."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import gradio as gr
import httpx
import pytest
from gradio.routes import App
from huggingface_hub import SpaceCardData, metadata_load
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import tweetcap
from tests.fake_writer import FakeWriter
from tests.ui.served import JAPANESE, call, free_port, raw, served, upload
from tweetcap.ui.identity import identify
from tweetcap.ui.page import build_page
from tweetcap.ui.waiting import WaitingLine

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def uploads(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def address(uploads):
    with served(FakeWriter(), uploads) as address:
        yield address


# --- Doors ----------------------------------------------------------------------------------------

OPEN = {
    *("/", "/config", "/config/", "/theme.css", "/favicon.ico", "/robots.txt", "/manifest.json"),
    *("/svelte/x", "/static/x", "/assets/x", "/gradio_api/file=x", "/gradio_api/heartbeat/x", "/gradio_api/app_id"),
    *("/gradio_api/app_id/", "/gradio_api/info", "/gradio_api/info/", "/gradio_api/openapi.json"),
    *("/gradio_api/startup-events", "/gradio_api/queue/join", "/gradio_api/queue/data", "/gradio_api/upload"),
    *("/gradio_api/upload_progress", "/gradio_api/cancel", "/gradio_api/reset", "/gradio_api/reset/"),
    *("/gradio_api/component_server", "/gradio_api/component_server/"),
}


def test_of_all_that_gradio_can_only_what_the_page_needs_is_there(address):
    routes = App.create_app(build_page(FakeWriter())).routes
    paths = {re.sub(r"\{[^}]*\}", "x", route.path): route.methods for route in flat(routes)}
    assert len(paths) > 70
    assert OPEN < set(paths)
    with httpx.Client(base_url=address) as http:
        for path, methods in paths.items():
            if path not in OPEN:
                for method in methods:
                    assert http.request(method, path).status_code == 404, (method, path)


def flat(routes):
    """Yield the routes, those of routers that FastAPI keeps whole too."""
    for route in routes:
        if hasattr(route, "methods") and hasattr(route, "path"):
            yield route
        elif hasattr(route, "original_router"):
            yield from flat(route.original_router.routes)


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/gradio_api/file=http://127.0.0.1:9/x",
            "/gradio_api/file=HTTPS://example.com/x",
            "/gradio_api/file=file:///etc",
        ),
        *(
            "/gradio_api/proxy=https://x.hf.space/",
            "/gradio_api/run/write",
            "/gradio_api/api/describe",
            "/gradio_api/run/2",
        ),
        *(
            "/gradio_api/call/report",
            "/gradio_api/mcp/sse",
            "/gradio_api/mcp/messages/",
            "/monitoring",
            "/docs",
            "/redoc",
        ),
        *(
            "/openapi.json",
            "/gradio_api/vibe-edit",
            "/gradio_api/runs",
            "/gradio_api/queue/status",
            "/static",
            "//config",
        ),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_gradio_s_other_doors_are_shut(address, path, method):
    head = f"{method} {path} HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    assert raw(address, head.encode()).split(b" ")[1] in (b"404", b"400")


def test_the_page_and_what_it_loads_from_its_own_server_are_there(address):
    with httpx.Client(base_url=address) as http:
        page = http.get("/")
        assert page.status_code == 200
        for path in set(re.findall(r'(?:src|href)="\./((?:assets|static)/[^"]+)"', page.text)):
            assert http.get(f"/{path}").status_code == 200, path
        assert page.headers["x-content-type-options"] == "nosniff"
        config = http.get("/config").json()
        assert config["analytics_enabled"] is False
        assert "fonts.googleapis" not in json.dumps(config)


def test_no_path_of_this_machine_is_told_but_those_of_uploads_and_examples(address, uploads):
    with httpx.Client(base_url=address) as http:
        told = [
            http.get(path).text for path in ("/", "/config", "/gradio_api/info", "/health", "/gradio_api/mcp/schema")
        ]
    for text in told:
        assert str(ROOT) not in text
        assert str(Path(gr.__file__).parent) not in text.replace(str(uploads), "")


# --- Nonsense -------------------------------------------------------------------------------------

BODIES = [
    b"",
    b"null",
    b"[]",
    b"7",
    b'"x"',
    b"{",
    b"\xff\xfe",
    b"{}",
    b'{"data": null}',
    b'{"data": []}',
    b'{"data": "x"}',
    b'{"data": [[], {}, null, 1e400, NaN]}',
    b'{"data": [], "fn_index": 0}',
    b'{"data": [], "fn_index": -1, "session_hash": "a"}',
    b'{"data": [], "fn_index": 99999, "session_hash": "a"}',
    b'{"data": [], "fn_index": "write", "session_hash": {}}',
    b'{"data": [], "fn_index": 0, "session_hash": "' + b"a" * 1000 + b'"}',
    b'{"data": {}, "component_id": 0, "session_hash": "a", "fn_name": "postprocess"}',
    b'{"data": {}, "component_id": [], "session_hash": [], "fn_name": 7}',
    b'{"data": {}, "component_id": 99999, "session_hash": "a", "fn_name": "x"}',
    b'{"photo": 7, "__proto__": 1}',
    b'{"data": ' + b"[" * 3000 + b"]" * 3000 + b"}",
    b'{"data": ' + b'{"a":' * 50 + b"1" + b"}" * 50 + b"}",
    b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "rm"}}',
    b'{"jsonrpc": "2.0", "id": 1, "method": 7}',
]
ENDPOINTS = [
    *("/gradio_api/queue/join", "/gradio_api/call/write", "/gradio_api/call/describe", "/gradio_api/call/v2/write"),
    *(
        "/gradio_api/component_server",
        "/gradio_api/cancel",
        "/gradio_api/reset",
        "/gradio_api/upload",
        "/gradio_api/mcp/",
    ),
]


@pytest.mark.parametrize("path", ENDPOINTS)
def test_nonsense_gets_an_answer_without_a_trace_of_code(address, path):
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    with httpx.Client(base_url=address, headers=headers, timeout=30) as http:
        for body in BODIES:
            answer = http.post(path, content=body)
            assert answer.status_code in (200, 400, 404, 405, 413, 422, 500), body
            assert not re.search(r'Traceback|File "|\.py\b|site-packages', answer.text), body


def test_a_thousand_requests_of_nothing_leave_the_page_as_it_was(address, uploads, lion):
    """`benchmarks/load.py --nonsense` sends ten thousand and watches the memory."""
    paths = [
        "/",
        "/config",
        "/health",
        "/nothing",
        "/gradio_api/heartbeat/../x",
        "/gradio_api/queue/data?session_hash=x",
    ]

    def ask(number: int) -> int:
        if number % 2:
            return http.get(paths[number // 2 % len(paths)]).status_code
        return http.post(ENDPOINTS[number // 2 % len(ENDPOINTS)], content=BODIES[number % len(BODIES)]).status_code

    before = sorted(uploads.rglob("*"))
    with httpx.Client(base_url=address, timeout=30) as http, ThreadPoolExecutor(4) as pool:
        statuses = set(pool.map(ask, range(1000)))
    assert statuses <= {200, 400, 404, 405, 406, 413, 415, 422, 500}
    assert sorted(uploads.rglob("*")) == before
    (path,) = upload(address, lion.read_bytes()).json()
    assert call(address, "describe", {"photo": path})[0] == "complete"
    assert httpx.get(f"{address}/health").json()["status"] == "ok"


def test_an_error_nobody_foresaw_is_not_described_to_the_visitor(tmp_path, lion):
    class BrokenWriter(FakeWriter):
        def describe(self, photo):
            raise RuntimeError("secret of the server at /root/secret.py")

    with served(BrokenWriter(), tmp_path) as address:
        (path,) = upload(address, lion.read_bytes()).json()
        kind, answer = call(address, "describe", {"photo": path})
    assert kind == "error"
    assert "secret" not in answer


# --- /health and the waiting line -----------------------------------------------------------------


def test_health_names_the_model_the_version_and_how_long_it_is_up(address):
    answer = httpx.get(f"{address}/health")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    health = answer.json()
    assert health.pop("uptime_seconds") >= 0
    assert health == {
        "status": "ok",
        "model": "FakeWriter",
        "revision": None,
        "version": tweetcap.__version__,
        "waiting": 0,
        "max_waiting": 32,
    }


def test_the_embedded_checkpoint_is_named_without_a_path_and_with_its_hash():
    who = identify(tweetcap.TweetWriter.from_pretrained())
    assert who["model"] == "tweetcap/checkpoint"
    assert re.fullmatch(r"sha256:[0-9a-f]{12}", who["revision"])


class SlowWriter(FakeWriter):
    """Describes nothing until it may."""

    def __init__(self):
        super().__init__()
        self.may = threading.Event()

    def describe(self, photo):
        self.may.wait(60)
        return super().describe(photo)


def wait_for_line(address: str, length: int) -> None:
    deadline = time.monotonic() + 20
    while httpx.get(f"{address}/health").json()["waiting"] < length:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_who_waits_is_told_how_many_are_before_and_who_comes_too_late_that_it_is_full(tmp_path, lion, monkeypatch):
    monkeypatch.setattr("tweetcap.ui.server.MAX_WAITING", 4)
    writer = SlowWriter()
    with served(writer, tmp_path) as address, ThreadPoolExecutor(8) as pool:
        (path,) = upload(address, lion.read_bytes()).json()
        index = next(
            part["id"]
            for part in httpx.get(f"{address}/config").json()["dependencies"]
            if part["api_name"] == "describe"
        )

        def join(number: int, language: dict, **headers) -> httpx.Response:
            body = {"data": [path], "fn_index": index, "session_hash": f"visitor{number}"}
            return httpx.post(f"{address}/gradio_api/queue/join", json=body, headers=language | headers)

        def told(number: int) -> list[dict]:
            """Return all that a visitor's page is told until the answer is there."""
            url = f"{address}/gradio_api/queue/data?session_hash=visitor{number}"
            with httpx.stream("GET", url, timeout=60) as answer:
                lines = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]
            return lines

        try:
            for number in range(5):  # one is served, four wait
                assert join(number, JAPANESE if number % 2 else {}).status_code == 200
                wait_for_line(address, number)
            answers = [pool.submit(told, number) for number in range(5)]
            assert httpx.get(f"{address}/health").json()["status"] == "busy"

            late = join(9, JAPANESE, **{"x-gradio-user": "app"})
            assert (late.status_code, late.headers["retry-after"]) == (429, "10")
            assert late.json()["detail"].startswith("ただいま混み合っています。4人が待っているので")
            assert join(9, {}).json() == {"detail": "Busy: 4 are waiting already. Please try again in a moment."}
            assert call(address, "describe", {"photo": path})[0] == "503"
        finally:
            writer.may.set()
        messages = [answer.result(60) for answer in answers]
    sentences = [[part["log"] for part in message if part["msg"] == "log"] for message in messages]
    assert sentences == [
        [],
        [],
        ["Busy: 2 before you."],
        ["混み合っています。あなたの前に3人います。"],
        ["Busy: 4 before you."],
    ]
    assert all(message[-2]["msg"] == "process_completed" and message[-2]["success"] for message in messages)


def test_the_line_is_full_when_the_last_would_wait_too_long():
    page = build_page(FakeWriter())
    line = WaitingLine(page, 32)
    (write,) = [fn for fn in page.fns.values() if fn.api_name == "write"]
    line.create_event_queue_for_fn(write)
    group = line.event_queue_per_concurrency_id[write.concurrency_id]
    group.current_concurrency = 7
    assert (line.expected_wait(), line.is_full()) == (0, False)  # nothing was measured yet
    line.process_time_per_fn[write].add(8)
    assert (line.expected_wait(), line.is_full()) == (56, False)
    line.process_time_per_fn[write].add(10)
    assert (line.expected_wait(), line.is_full()) == (63, True)
    group.current_concurrency = 0  # however slow it was, an empty line takes the next one
    assert (line.expected_wait(), line.is_full()) == (0, False)


def test_who_leaves_the_line_makes_room_and_a_line_that_stands_still_is_stuck(tmp_path, lion, monkeypatch):
    writer = SlowWriter()
    with served(writer, tmp_path) as address:
        (path,) = upload(address, lion.read_bytes()).json()
        try:
            with httpx.Client(base_url=f"{address}/gradio_api/", timeout=60) as http:
                for number in range(3):
                    event = http.post("call/v2/describe", json={"photo": path}).json()["event_id"]
                    wait_for_line(address, number)
                with http.stream("GET", f"call/describe/{event}"):
                    pass  # hangs up at once
            deadline = time.monotonic() + 20
            while httpx.get(f"{address}/health").json()["waiting"] > 1:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            monkeypatch.setattr("tweetcap.ui.server.STUCK_SECONDS", 0)
            stuck = httpx.get(f"{address}/health")
            assert (stuck.status_code, stuck.json()["status"]) == (503, "stuck")
        finally:
            writer.may.set()


# --- The Space ------------------------------------------------------------------------------------


def test_the_header_of_the_readme_is_one_that_a_space_understands():
    header = metadata_load(ROOT / "README.md")
    card = SpaceCardData(**header)
    pins = dict(line.split("==") for line in (ROOT / "requirements.txt").read_text().splitlines() if "==" in line)
    assert (card.sdk, card.sdk_version) == ("gradio", pins["gradio"])
    assert (ROOT / card.app_file).exists()
    assert card.license == "apache-2.0"
    assert len(card.short_description) <= 60
    colours = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
    assert {card.colorFrom, card.colorTo} <= colours
    assert card.title and len(card.emoji) == 1
    assert re.fullmatch(r"3\.\d+", header["python_version"])
    for name in [*(card.models or []), *(card.datasets or [])]:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", name)
    if thumbnail := header.get("thumbnail"):
        assert thumbnail.startswith("https://") or (ROOT / thumbnail).exists()


WITHOUT = """
import importlib.machinery, sys

class Finder(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if path is None and name in hidden else super().find_spec(name, path, target)

hidden = set(sys.argv[1].split(","))
sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = Finder
import app, mcp
with app.quick_start():
    from tweetcap import TweetWriter
    from tweetcap.ui.server import writers_page
    writer = TweetWriter.from_pretrained()
writers_page.build_page(writer)
print(writer.describe(sys.argv[2]))
"""


def test_requirements_alone_are_enough_to_run_the_space(lion):
    """The page is built and the writer writes where no package is seen but those of requirements.txt, and theirs."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    wanted = [Requirement(line) for line in lines if line and not line.startswith("#")]
    allowed = set()
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        if name in allowed:
            continue
        allowed.add(name)
        with suppress(PackageNotFoundError):  # it is for another platform
            needed = [Requirement(line) for line in requires(name) or []]
            extras = [*requirement.extras, ""]
            wanted += [
                need for need in needed if not need.marker or any(need.marker.evaluate({"extra": e}) for e in extras)
            ]
    homes = packages_distributions()
    hidden = {module for module, names in homes.items() if not allowed & {canonicalize_name(name) for name in names}}
    assert {"pytest", "playwright", "datasets", "accelerate"} <= hidden
    command = [sys.executable, "-c", WITHOUT, ",".join(hidden - {"tweetcap"}), str(lion)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "ライオン" in done.stdout


def test_a_model_that_is_none_is_said_in_one_sentence(tmp_path):
    environment = os.environ | {"TWEETCAP_MODEL": str(tmp_path / "nowhere"), "GRADIO_SERVER_PORT": str(free_port())}
    done = subprocess.run([sys.executable, "app.py"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"tweetcap: {tmp_path / 'nowhere'} ")
    assert "Traceback" not in done.stderr
