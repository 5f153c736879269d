"""What a run keeps on disk: where it is, its losses and validation figures, the texts that couldn't be used.

config.yaml      the run as it was
losses.jsonl     every optimiser step: loss, norm of the gradient, factor of the learning rate
history.jsonl    every evaluation; curves.png draws it
left_out.jsonl   photos and texts that could not be used, and why
last/            to go on after a cut
"""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

LOSSES, HISTORY, LEFT_OUT = "losses.jsonl", "history.jsonl", "left_out.jsonl"
LAST, PROGRESS, STATE = "last", "progress.json", "state.pt"


class Progress:
    """Where a run is: what has to survive a cut beside weights and optimiser.

    Attributes:
        step: optimiser steps of this stage; `epoch_step` those of this epoch, `all_steps` those of the run.
        bad_epochs: since the best one.
    """

    def __init__(self):
        self.stage = self.epoch = self.epoch_step = self.step = self.all_steps = self.bad_epochs = 0
        self.best = math.inf

    def state_dict(self) -> dict[str, float]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, float]) -> None:
        vars(self).update(state)

    def count_step(self) -> None:
        self.step += 1
        self.epoch_step += 1
        self.all_steps += 1

    def next_stage(self) -> None:
        self.stage += 1
        self.epoch = self.epoch_step = self.step = self.bad_epochs = 0
        self.best = math.inf


def replace_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a new folder and put it in the place of the old one, which stays until the new one is whole."""
    fresh, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    shutil.rmtree(fresh, ignore_errors=True)
    write(fresh)
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def read_progress(output: Path) -> dict[str, Any] | None:
    """Return where a run was, or None where nothing was saved."""
    last, old = output / LAST, output / f"{LAST}.old"
    if old.exists() and not last.exists():
        old.rename(last)  # the run was cut between two renames
    path = last / PROGRESS
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def trim_losses(output: Path, steps: int) -> None:
    """Drop the losses of steps behind the last saved one: they are about to come again."""
    path = output / LOSSES
    kept = path.read_bytes().splitlines(keepends=True)[:steps] if path.exists() else []
    path.write_bytes(b"".join(kept))


def append_row(path: Path, row: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def add_to_history(output: Path, row: dict[str, Any]) -> None:
    """Add an epoch to the history and draw it; one that a cut run measured twice stays once."""
    rows = [old for old in read_rows(output / HISTORY) if (old["stage"], old["epoch"]) != (row["stage"], row["epoch"])]
    rows.append(row)
    lines = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in rows)
    (output / HISTORY).write_text(lines, encoding="utf-8")
    draw_curves(rows, output / "curves.png")


def draw_curves(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw validation nats a token by source over the epochs of all stages."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    names = [name for name in rows[-1] if name not in ("stage", "epoch", "step", "score")]
    for index, name in enumerate(names):
        style = "--" if name.endswith("/null") else "-"
        axes.plot([row.get(name) for row in rows], style, marker=".", color=f"C{index // 2}", label=name)
    for place in range(1, len(rows)):
        if rows[place]["stage"] != rows[place - 1]["stage"]:
            axes.axvline(place - 0.5, color="grey", linewidth=0.8)
    axes.set(xlabel="epochs, stages divided by lines", ylabel="validation nats a token")
    axes.legend()
    figure.savefig(path, dpi=110)
