"""Commands in processes of their own, watched: when they say something, when they end, how much memory they hold."""

import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.results import BenchmarkError

ROOT = Path(__file__).parents[1]
POLL_SECONDS = 0.2
# As the Makefile has it: nothing is looked up anywhere while times are taken.
QUIET = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_ANALYTICS_ENABLED": "False"}


@dataclass
class Finished:
    """A process that has ended well.

    Attributes:
        seconds: from its start to its end.
        first_line: seconds until its first line on standard output; None where it wrote none.
        peak_mb: most resident memory, of it or of the largest process that it started.
        memory: (work done, resident MB) while it ran.
    """

    seconds: float
    first_line: float | None
    peak_mb: float
    output: str
    errors: str
    memory: list[tuple[int, float]] = field(default_factory=list)


def run(*command: str, work_done: Callable[[], int] | None = None) -> Finished:
    """Run a command to its end; `work_done` is asked while it runs, for the memory by the work.

    Raises:
        BenchmarkError: it failed.
    """
    with tempfile.TemporaryFile("w+") as errors:
        begun = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | QUIET, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        heard: list[tuple[float, str]] = []
        listener = threading.Thread(
            target=lambda: heard.extend((time.perf_counter() - begun, line) for line in process.stdout)
        )
        listener.start()
        memory, peaks = [], [0.0]
        ending = os.pidfd_open(process.pid)  # tells the end to the millisecond, where asking again and again would not
        try:
            while not select.select([ending], [], [], POLL_SECONDS)[0]:
                peaks.append(peak(process.pid))
                if work_done is not None:
                    memory.append((work_done(), resident(process.pid)))
            seconds = time.perf_counter() - begun
            process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            os.close(ending)
        listener.join()
        process.stdout.close()
        errors.seek(0)
        said = errors.read()
    if process.returncode:
        last = (said.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        raise BenchmarkError(f"{' '.join(command)} failed ({last}); run it by hand to see why.")
    output = "".join(line for _, line in heard)
    return Finished(seconds, heard[0][0] if heard else None, max(peaks), output, said, memory)


def python(*arguments: str, **options) -> Finished:
    return run(sys.executable, *arguments, **options)


def resident(pid: int) -> float:
    """Return the resident memory of a process in MB; 0 where it has just ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def private(pid: int) -> float:
    """Return what of the resident memory is the process's own, in MB; 0 where it has just ended.

    The rest are pages of files, libraries for the most part, that the kernel may drop and read again at any time.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("RssAnon")), 0.0)


def peak(pid: int) -> float:
    """Return the most resident memory so far, in MB, of a process or of the largest one below it.

    `ru_maxrss` won't do: it counts what the process held that started this one.
    """
    most = 0.0
    try:
        for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
            most = max(most, *(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")))
    except (OSError, psutil.Error, TypeError):  # one of them has just ended
        pass
    return most


def slope(memory: list[tuple[int, float]]) -> float:
    """Return by how many MB memory grows in a thousand pieces of work, once the first half has warmed all up."""
    import numpy as np

    most = max((work for work, _ in memory), default=0)
    late = np.array([(work, size) for work, size in memory if work >= most / 2 and size])
    if len(late) < 2 or np.ptp(late[:, 0]) == 0:
        return float("nan")
    return float(np.polyfit(late[:, 0], late[:, 1], 1)[0] * 1000)
