"""A fresh process: how soon it answers, and what it does until its first tweet.

Whole commands are timed from outside. What is imported is split by a run with `-X importtime`, whose bookkeeping costs
some of the time that it reports; what follows the imports is timed inside.
"""

import re
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.load import server
from benchmarks.material import lions
from benchmarks.processes import python
from benchmarks.results import Figure, Plan, Section
from benchmarks.timing import alternate, median, ratio

SHOWN = 8  # packages by name; the rest in one line
IMPORTED = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", re.MULTILINE)

INSIDE = """
import sys, time
marks = [time.perf_counter()]
from tweetcap import TweetWriter
marks.append(time.perf_counter())
writer = TweetWriter.from_pretrained()
marks.append(time.perf_counter())
for photo in sys.argv[1:]:
    writer.write(photo, count=1, seed=1)
    marks.append(time.perf_counter())
print(*(after - before for before, after in zip(marks, marks[1:])))
"""
INSIDE_NAMES = (
    "import tweetcap in a program of one's own",
    "load the checkpoint there",
    "first tweet",
    "second tweet, of another photo",
)


def measure(plan: Plan, rounds: Callable[[Iterable[int]], Iterable[int]]) -> Section:
    section = Section()
    with tempfile.TemporaryDirectory() as folder:
        photos = [str(Path(folder, f"{number}.jpg")) for number in range(2)]
        for path, data in zip(photos, lions(2), strict=True):
            Path(path).write_bytes(data)
        first: list[float] = []
        started: list[float] = []
        write = ("-m", "tweetcap", "write", photos[0], "--count", "1")
        jobs = {
            "python -c pass": lambda number: python("-c", "pass"),
            "tweetcap --help": lambda number: python("-m", "tweetcap", "--help"),
            "import torch": lambda number: python("-c", "import torch"),
            "tweetcap write cat.jpg": lambda number: first.append(python(*write).first_line),
            "app.py, until its page answers": lambda number: started.append(start_page()),
        }
        seconds = alternate(jobs, rounds(range(1, plan.starts + 1)))
        # Those of the warm-up aren't counted.
        seconds["tweetcap write cat.jpg, until its first line"] = first[1:]
        seconds["app.py, until its page answers"] = started[1:]
        for name, times in seconds.items():
            section.figures.append(Figure.of(name, median(times), "s"))
        inside = [python("-c", INSIDE, *photos).output.split() for _ in range(plan.starts)]
        for name, times in zip(INSIDE_NAMES, zip(*inside, strict=True), strict=True):
            section.figures.append(Figure.of(name, median([float(value) for value in times]), "s"))
        spent = [by_package(python("-X", "importtime", *write).errors) for _ in range(plan.starts)]
    whole = {name: statistics.median(each[name] for each in spent) for name in spent[0]}
    largest = sorted(whole, key=whole.get, reverse=True)
    for name in largest[:SHOWN]:
        section.figures.append(Figure(f"imports of {name}", whole[name], "s"))
    section.figures.append(Figure("imports of all others", sum(whole[name] for name in largest[SHOWN:]), "s"))
    section.ratios["--help ÷ bare Python"] = ratio(seconds["tweetcap --help"], seconds["python -c pass"])
    section.ratios["tweetcap write ÷ import torch"] = ratio(seconds["tweetcap write cat.jpg"], seconds["import torch"])
    return section


def start_page() -> float:
    """Start the page's server and end it; return the seconds until it answered."""
    begun = time.perf_counter()
    with server():
        return time.perf_counter() - begun


def by_package(importtime: str) -> Counter[str]:
    """Return seconds by top-level package from what `python -X importtime` writes, each import counted once."""
    spent: Counter[str] = Counter()
    for microseconds, module in IMPORTED.findall(importtime):
        spent[module.partition(".")[0]] += int(microseconds) / 1e6
    return spent
