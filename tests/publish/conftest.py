"""A small checkpoint as a training run leaves it, with the card's hand-written part and its figures; and a Hub."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.data.file_server import running
from tests.hub import Hub
from tests.tiny import TEXTS, tiny_model, tiny_processor, tiny_tokenizer
from tweetcap.evaluate.predictions import revision_of
from tweetcap.model import save_checkpoint
from tweetcap.write.filters import SeenTexts

TOKEN = "hf_secret" + "0" * 20
NOTES = """---
license: cc-by-4.0
datasets:
- org/made
tags:
- cats
training:
  hours: 3
  watts: 200
  grams_per_kwh: 400
  hardware: one box
  assumption: The meter was read.
---

# A small voice

It says what the cat says.

## Training data

Six texts of these tests.

## Intended use

To be pushed.

## Limits

It makes no sense.
"""
FIGURES = {
    "説明 names the right animal": ("The animal", 0.875, 0.8, 0.95, "percent", "≥ 90 %", "higher"),
    "説明: BLEU-4": ("Against references", 12.5, 11.0, 14.25, "number", "", "higher"),
    "tweets: CIDEr-D": ("Against references", 0.123456, 0.1, 0.15, "fine", "", "higher"),
    "words a tweet": ("Diversity", 7.9, 7.8, 8.0, "number", "", ""),
    "photos with 5 different tweets": ("Diversity", None, None, None, "percent", "100 %", "higher"),
}
KEYS = ("group", "value", "low", "high", "style", "bar", "better")


def made_metrics(checkpoint: Path) -> dict:
    """Return what `tweetcap evaluate` writes, paths and all."""
    return {
        "model": str(checkpoint),
        "revision": revision_of(str(checkpoint), None),
        "corpus": "/home/somebody/corpora/made",
        "split": "test",
        "photos": 40,
        "parameters": {"count": 5, "temperature": 0.8, "top_p": 0.9, "guidance": 0.5},
        "seed": 0,
        "left_out": ["/home/somebody/photo.jpg can't be read"],
        "method": {"intervals": "95 %"},
        "figures": {name: dict(zip(KEYS, values, strict=True)) for name, values in FIGURES.items()},
    }


def make_checkpoint(folder: Path, scratch: Path) -> Path:
    processor = tiny_processor(tiny_tokenizer(scratch))
    save_checkpoint(tiny_model(processor.tokenizer), processor, folder)
    SeenTexts.from_texts(TEXTS).save(folder / "seen_texts.bin")
    (folder / "notes.md").write_text(NOTES, encoding="utf-8")
    (folder / "metrics.json").write_text(json.dumps(made_metrics(folder)), encoding="utf-8")
    return folder


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    (tmp_path / "words").mkdir()
    return make_checkpoint(tmp_path / "best", tmp_path / "words")


@pytest.fixture(scope="session")
def hub():
    with running(Hub(TOKEN)) as hub:
        yield hub


COMMANDS = """
import json, sys
from typer.testing import CliRunner
from tweetcap.cli import app
for arguments in json.loads(sys.argv[1]):
    result = CliRunner().invoke(app, arguments)
    print(json.dumps([result.exit_code, result.stdout, result.stderr]))
"""


def run(hub: Hub, home: Path, program: str, *arguments: str, token: str = TOKEN) -> list:
    """Run a program that prints JSON lines in a fresh process with this Hub; return what they hold."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=home,
        env=hub.environment(home, token),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert TOKEN not in done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith(("{", "["))]


@dataclass(frozen=True)
class Pushed:
    """What one process pushed, and how the commands ended: exit code, output, errors."""

    checkpoint: Path
    model: list
    branch: list
    space: list


@pytest.fixture(scope="session")
def pushed(hub, tmp_path_factory) -> Pushed:
    """Push `me/tiny`, a branch of `me/old` and the Space `me/page` from a process of its own."""
    scratch = tmp_path_factory.mktemp("pushed")
    folder = make_checkpoint(scratch / "best", scratch)
    (folder / "predictions.jsonl").write_text('{"post_id": "1", "text": "猫"}\n', encoding="utf-8")
    hub.add("me/old", {"old_code.py": b"", "model-00001-of-00002.safetensors": b"", "cat.jpg": b"mine"})
    commands = [
        ["push", str(folder), "me/tiny", "--private"],
        ["push", str(folder), "me/old", "--revision", "next"],
        ["push", "--space", "me/page", "--model", "me/tiny"],
    ]
    results = run(hub, scratch, COMMANDS, json.dumps(commands))
    for exit_code, _, errors in results:
        assert exit_code == 0, errors
    return Pushed(folder, *results)
