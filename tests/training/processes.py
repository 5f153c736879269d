"""Runs of train.py in processes of their own that can be cut with SIGKILL, and shared among several.

A server that has imported everything once forks them: a run then takes what it trains, not what it imports.
"""

import json
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
TRAINING = ROOT / "training"
sys.path.append(str(TRAINING))

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["tests.training.processes", "accelerate", "tests.data.made_corpora", "tensorboard", "timm", "tweetcap.data.tables"]
)
LONGEST = 300  # seconds

Change = Callable[[ModuleType, int], None]


@dataclass(frozen=True)
class Ended:
    """How a run ended: the exit codes of its processes and what they printed."""

    codes: list[int]
    printed: str

    @property
    def well(self) -> bool:
        return not any(self.codes)


def train(*arguments: object, folder: Path, processes: int = 1, change: Change | None = None) -> Ended:
    """Run train.py to its end.

    Args:
        folder: for what the processes print.
        change: done to train.py's module, with the process's rank, before it runs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    logs = [folder / f"process-{rank}.log" for rank in range(processes)]
    started = [
        CONTEXT.Process(target=_run, args=([*map(str, arguments)], rank, processes, port, change, log))
        for rank, log in enumerate(logs)
    ]
    for process in started:
        process.start()
    _wait(started)
    printed = "\n".join(log.read_text(errors="replace") for log in logs if log.exists())
    return Ended([process.exitcode for process in started], printed)


def _wait(started: Sequence) -> None:
    """As a launcher does: when one process falls, the others are ended too."""
    deadline = time.monotonic() + LONGEST
    while any(process.is_alive() for process in started):
        if any(process.exitcode for process in started) or time.monotonic() > deadline:
            time.sleep(0.5)  # so that another one that fails for the same reason can say so
            for process in started:
                process.kill()
        time.sleep(0.02)
    for process in started:
        process.join()


def _run(arguments: list[str], rank: int, processes: int, port: int, change: Change | None, log: Path) -> None:
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if processes > 1:
        # What `accelerate launch` sets.
        os.environ |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(processes),
            "LOCAL_WORLD_SIZE": str(processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "ACCELERATE_USE_CPU": "true",
            "OMP_NUM_THREADS": "1",
        }
    os.environ["COLUMNS"] = "1000"
    import torch
    import train as script
    import typer

    torch.set_num_threads(1)
    if change:
        change(script, rank)
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(script.main)
    app(arguments)


def cut(script: ModuleType, rank: int, *, after: int) -> None:
    """Kill the first process when it has done so many steps."""
    log_step, steps = script.Run.log_step, 0

    def log_and_die(*args, **kwargs) -> None:
        nonlocal steps
        log_step(*args, **kwargs)
        steps += 1
        if steps == after and rank == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    script.Run.log_step = log_and_die


def poison(script: ModuleType, rank: int, *, text: str) -> None:
    """Let the features of photos be no numbers where a text holds `text`."""
    to_inputs = script.to_inputs

    def poisoned(model, batch):
        inputs = to_inputs(model, batch)
        for row, name in enumerate(batch["names"]):
            if text in name:
                inputs["encoder_outputs"].last_hidden_state[row] = float("nan")
                inputs["photo_mask"][row] = True
        return inputs

    script.to_inputs = poisoned


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
