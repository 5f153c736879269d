"""What a run of the benchmarks found: figures by section, on which machine, kept as results.json."""

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.timing import Estimate

RESULTS = "results.json"


class BenchmarkError(ValueError):
    """A benchmark can't be run; the message is one sentence that says why and what to do."""


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: of the writer's stages and whole calls.
        peer_rounds: of the peers; a round of theirs takes half a minute.
        starts: fresh processes of each kind.
        photos: in the folder.
        requests: to the resident server.
        training_photos: in the corpus that training runs on; each has about nine texts.
        thawed_steps: of training with the encoder thawed, in twenties, since train.py logs as often.
    """

    rounds: int = 25
    peer_rounds: int = 7
    starts: int = 7
    photos: int = 1000
    requests: int = 1000
    training_photos: int = 600
    thawed_steps: int = 40


QUICK = Plan(rounds=2, peer_rounds=1, starts=1, photos=8, requests=20, training_photos=96, thawed_steps=20)


@dataclass(frozen=True)
class Figure:
    """One line of the table; low and high, where there are any, bound it with 95 % confidence."""

    name: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, name: str, estimate: Estimate, unit: str, scale: float = 1.0) -> "Figure":
        return cls(name, estimate.value * scale, unit, estimate.low * scale, estimate.high * scale)


@dataclass
class Section:
    """What one section found.

    Attributes:
        ratios: what a later run is compared by: ours ÷ something in the same run, so that more is slower.
    """

    figures: list[Figure] = field(default_factory=list)
    ratios: dict[str, Estimate] = field(default_factory=dict)
    taken: str = ""
    others: float | None = None  # share of the processors that other programs used meanwhile


@dataclass
class Results:
    """Sections of one machine; `quick` ones are good for nothing but trying the benchmarks."""

    machine: dict[str, Any]
    quick: bool = False
    sections: dict[str, Section] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        text = json.dumps(asdict(self), ensure_ascii=False, indent=1)
        (folder / RESULTS).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Results":
        tree = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
        sections = {
            name: Section(
                [Figure(**figure) for figure in section["figures"]],
                {ratio: Estimate(**value) for ratio, value in section["ratios"].items()},
                section["taken"],
                section["others"],
            )
            for name, section in tree.pop("sections").items()
        }
        return cls(**tree, sections=sections)

    @classmethod
    def go_on(cls, folder: Path, quick: bool) -> "Results":
        """Return what the folder has of the same machine and size, so that one section can be taken again."""
        fresh = cls(machine(), quick)
        if not (folder / RESULTS).is_file():
            return fresh
        try:
            found = cls.load(folder)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BenchmarkError(f"{folder / RESULTS} was not written by the benchmarks; delete it.") from None
        return found if (found.machine, found.quick) == (fresh.machine, quick) else fresh


def machine() -> dict[str, Any]:
    """Return what figures hang on; ratios are compared between runs with the same."""
    import torch

    from tweetcap.data.precision import supports_bfloat16

    cpu = torch.device("cpu")
    return {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "bfloat16": supports_bfloat16(cpu),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "transformers")},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


@contextmanager
def observed(section: Section) -> Iterator[None]:
    """Note when a section was taken, and how much of the processors other programs used meanwhile (Linux)."""
    begun, busy, own = time.monotonic(), _busy(), _own()
    yield
    passed = (time.monotonic() - begun) * (os.cpu_count() or 1)
    section.taken = datetime.now(UTC).isoformat(timespec="seconds")
    if busy is not None and passed > 0:
        section.others = round(max(0.0, _busy() - busy - (_own() - own)) / passed, 3)


def _busy() -> float | None:
    """Return the seconds that all processors together have worked so far, for anybody."""
    try:
        user, nice, system = Path("/proc/stat").read_text(encoding="ascii").split()[1:4]
    except OSError:
        return None
    return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    """Return the seconds of this process and of those that it started and that have ended."""
    return sum(os.times()[:4])
