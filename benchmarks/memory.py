"""What a server holds that has answered many visitors: `app.py` with one request after the other."""

import asyncio
from collections.abc import Callable, Iterable

import httpx

from benchmarks.load import PATIENCE, ask_once, server
from benchmarks.material import lions
from benchmarks.processes import python, resident, slope
from benchmarks.results import BenchmarkError, Figure, Plan, Section

PHOTOS = 200
WARM = 10  # requests


def measure(plan: Plan, rounds: Callable[[Iterable[int]], Iterable[int]]) -> Section:
    photos = lions(PHOTOS)
    with server() as (address, pid):
        memory = [(0, resident(pid)), *asyncio.run(visit(address, pid, photos, rounds(range(1, plan.requests + 1))))]
    sizes = [size for _, size in memory]
    torch_alone = python("-c", "import torch").peak_mb
    return Section(
        [
            Figure("the page's server, before its first visitor", sizes[0], "MB"),
            Figure(f"after {WARM} requests", sizes[min(WARM, len(sizes) - 1)], "MB"),
            Figure(f"after {plan.requests:,} requests", sizes[-1], "MB"),
            Figure("most", max(sizes), "MB"),
            Figure("growth a 1,000 requests, in the second half", slope(memory), "MB"),
            Figure("a process that has imported torch and no more", torch_alone, "MB"),
        ]
    )


async def visit(address: str, pid: int, photos: list[bytes], rounds: Iterable[int]) -> list[tuple[int, float]]:
    """Ask for five tweets about a photo, again and again; return (requests, resident MB) after each."""
    memory = []
    async with httpx.AsyncClient(base_url=f"{address}/gradio_api/", timeout=PATIENCE) as http:
        for number in rounds:
            outcome = await ask_once(http, photos[number % len(photos)])
            if outcome != "tweets":
                raise BenchmarkError(f"app.py answered request {number} with {outcome!r}; run it by hand to see why.")
            memory.append((number, resident(pid)))
    return memory
