"""What a server holds that has answered many visitors: `app.py` with one request after the other."""

import asyncio
from collections.abc import Callable, Iterable

import httpx

from benchmarks.load import PATIENCE, ask_once, server
from benchmarks.material import lions
from benchmarks.processes import private, python, resident, slope
from benchmarks.results import BenchmarkError, Figure, Plan, Section

PHOTOS = 200
WARM = 10  # requests
TORCH = """
import os, torch
from benchmarks.processes import private, resident
print(resident(os.getpid()), private(os.getpid()))
"""


def measure(plan: Plan, rounds: Callable[[Iterable[int]], Iterable[int]]) -> Section:
    photos = lions(PHOTOS)
    with server() as (address, pid):
        before = (0, resident(pid), private(pid))
        memory = [before, *asyncio.run(visit(address, pid, photos, rounds(range(1, plan.requests + 1))))]
    section = Section()

    def note(name: str, whole: float, own: float) -> None:
        section.figures += [Figure(name, whole, "MB"), Figure(f"{name}: its own", own, "MB")]

    note("the page's server, before its first visitor", *before[1:])
    note(f"after {WARM} requests", *memory[min(WARM, len(memory) - 1)][1:])
    note(f"after {plan.requests:,} requests", *memory[-1][1:])
    note("most", max(whole for _, whole, _ in memory), max(own for _, _, own in memory))
    growth = (slope([(row[0], row[column]) for row in memory]) for column in (1, 2))
    note("growth a 1,000 requests, in the second half", *growth)
    note("a process that has imported torch and no more", *map(float, python("-c", TORCH).output.split()))
    return section


async def visit(address: str, pid: int, photos: list[bytes], rounds: Iterable[int]) -> list[tuple[int, float, float]]:
    """Ask for five tweets about a photo, again and again; return (requests, resident MB, its own) after each."""
    memory = []
    async with httpx.AsyncClient(base_url=f"{address}/gradio_api/", timeout=PATIENCE) as http:
        for number in rounds:
            outcome = await ask_once(http, photos[number % len(photos)])
            if outcome != "tweets":
                raise BenchmarkError(f"app.py answered request {number} with {outcome!r}; run it by hand to see why.")
            memory.append((number, resident(pid), private(pid)))
    return memory
