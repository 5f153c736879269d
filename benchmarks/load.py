"""Many visitors at once on a freshly started `app.py`, on this machine alone.

    python benchmarks/load.py                       # 50 visitors for two minutes
    python benchmarks/load.py --nonsense 10000      # requests that make no sense, then one that does

Each visitor uploads a photo, asks `/write` for five tweets, reads them for a while, and begins again; who is told that
the line is full comes back after the same while. It ends by itself. The server's memory is read from /proc: Linux only.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import gradio
import httpx
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
PHOTOS = [Path(gradio.__file__).parent / "media_assets" / "images" / name for name in ("lion.jpg", "cheetah1.jpg")]
START_SECONDS = 180
PATIENCE = 120  # seconds for one answer

NONSENSE = (
    ("GET", "/nothing", b""),
    ("GET", "/gradio_api/proxy=http://127.0.0.1:9/", b""),
    ("GET", "/gradio_api/file=/etc/passwd", b""),
    ("GET", "/gradio_api/queue/data?session_hash=nobody", b""),
    ("POST", "/gradio_api/queue/join", b'{"data": [], "fn_index": 99999, "session_hash": "%d"}'),
    ("POST", "/gradio_api/call/write", b'{"data": [%d]}'),
    ("POST", "/gradio_api/call/v2/write", b'{"colour": %d}'),
    ("POST", "/gradio_api/component_server", b'{"data": %d, "component_id": [], "session_hash": 7, "fn_name": "x"}'),
    ("POST", "/gradio_api/upload", b"%d"),
    ("POST", "/gradio_api/mcp/", b'{"id": %d}'),
)


@dataclass
class Tally:
    """What happened.

    Attributes:
        seconds: from the start of each upload to its tweets.
        memory: (seconds since the start, MB) of the server.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)


@contextmanager
def server() -> Iterator[tuple[str, int]]:
    """Start app.py with folders of its own; yield its address and process id, and end it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {
            "GRADIO_SERVER_NAME": "127.0.0.1",
            "GRADIO_SERVER_PORT": str(port),
            "GRADIO_TEMP_DIR": f"{folder}/uploads",
            "TWEETCAP_FEEDBACK": f"{folder}/feedback.sqlite3",
            "HF_HUB_OFFLINE": "1",
        }
        with open(f"{folder}/log", "w+") as log:
            command = [sys.executable, "app.py"]
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
            try:
                address = f"http://127.0.0.1:{port}"
                deadline = time.monotonic() + START_SECONDS
                while not answers(address):
                    if process.poll() is not None or time.monotonic() > deadline:
                        log.seek(0)
                        raise SystemExit(f"app.py did not start:\n{log.read()}")
                    time.sleep(0.1)
                yield address, process.pid
            finally:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()


def answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def memory(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def ask_once(http: httpx.AsyncClient, photo: bytes) -> str:
    """Upload a photo and write about it; return `tweets`, `line full`, or what went wrong."""
    answer = await http.post("upload", files={"files": ("photo.jpg", photo)})
    if answer.status_code != 200:
        return f"upload: HTTP {answer.status_code}"
    answer = await http.post("call/v2/write", json={"photo": answer.json()[0]})
    if answer.status_code == 503:
        return "line full"
    if answer.status_code != 200:
        return f"write: HTTP {answer.status_code}"
    events = (await http.get(f"call/write/{answer.json()['event_id']}")).text.strip().split("\n\n")
    kind, _, data = events[-1].partition("\ndata: ")
    if kind != "event: complete":
        return f"write: {kind} {data:.80}"
    return "tweets" if json.loads(data)[0]["tweets"] else "no tweet"


async def visit(address: str, ends: float, think: float, tally: Tally, chance: random.Random) -> None:
    async with httpx.AsyncClient(base_url=f"{address}/gradio_api/", timeout=PATIENCE) as http:
        await asyncio.sleep(chance.uniform(0, think))
        while time.monotonic() < ends:
            start = time.monotonic()
            try:
                outcome = await ask_once(http, chance.choice(PHOTOS).read_bytes())
            except httpx.HTTPError as error:
                outcome = type(error).__name__
            tally.outcomes[outcome] += 1
            if outcome == "tweets":
                tally.seconds.append(time.monotonic() - start)
            await asyncio.sleep(chance.uniform(0.5, 1.5) * think)


async def watch(pid: int, start: float, ends: float, tally: Tally) -> None:
    with tqdm(total=round(ends - start), unit="s", disable=None) as bar:
        while time.monotonic() < ends:
            tally.memory.append((time.monotonic() - start, memory(pid)))
            await asyncio.sleep(1)
            bar.update()


async def load(address: str, pid: int, visitors: int, seconds: float, think: float) -> Tally:
    tally, start = Tally(), time.monotonic()
    ends = start + seconds
    visits = [visit(address, ends, think, tally, random.Random(number)) for number in range(visitors)]
    await asyncio.gather(watch(pid, start, ends, tally), *visits)
    tally.memory.append((time.monotonic() - start, memory(pid)))
    return tally


def summary(tally: Tally) -> dict:
    """Return the figures; memory is compared between the second quarter and the last, once all is warm."""
    quarter = len(tally.memory) // 4
    warm, late = (
        [size for _, size in part] for part in (tally.memory[quarter : 2 * quarter], tally.memory[3 * quarter :])
    )
    times = sorted(tally.seconds)
    figures = {"outcomes": dict(tally.outcomes.most_common()), "answers": len(times)}
    if len(times) > 1:
        figures |= {
            "median_s": statistics.median(times),
            "p95_s": statistics.quantiles(times, n=20, method="inclusive")[-1],
            "max_s": times[-1],
        }
    if warm:
        figures |= {"warm_mb": statistics.median(warm), "late_mb": statistics.median(late), "peak_mb": max(late + warm)}
    return {name: round(value, 2) if isinstance(value, float) else value for name, value in figures.items()}


def send_nonsense(address: str, pid: int, count: int) -> dict:
    """Send requests that make no sense, one after the other; return what came back, and the memory meanwhile."""
    statuses, sizes = Counter(), []
    with httpx.Client(base_url=address, timeout=PATIENCE) as http:
        for number in tqdm(range(count), unit="request", disable=None):
            method, path, body = NONSENSE[number % len(NONSENSE)]
            content = body % number if b"%d" in body else body
            answer = http.request(method, path, content=content, headers={"Content-Type": "application/json"})
            statuses[f"HTTP {answer.status_code}"] += 1
            if number % max(count // 100, 1) == 0:
                sizes.append(memory(pid))
    tally = asyncio.run(load(address, pid, visitors=1, seconds=1, think=0.1))
    tenth = max(len(sizes) // 10, 1)
    figures = {
        "warm_mb": statistics.median(sizes[tenth : 2 * tenth] or sizes),
        "late_mb": statistics.median(sizes[-tenth:]),
    }
    rounded = {name: round(size, 1) for name, size in figures.items()}
    return {"statuses": dict(statuses.most_common()), **rounded, "afterwards": dict(tally.outcomes)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visitors", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--think", type=float, default=2, help="seconds that a visitor reads, on average")
    parser.add_argument("--nonsense", type=int, default=0, help="send so many requests of nonsense instead")
    options = parser.parse_args()
    with server() as (address, pid):
        if options.nonsense:
            figures = send_nonsense(address, pid, options.nonsense)
        else:
            tally = asyncio.run(load(address, pid, options.visitors, options.seconds, options.think))
            figures = vars(options) | summary(tally)
    print(json.dumps(figures, ensure_ascii=False, indent=2))


if __name__ == "__main__":
    main()
