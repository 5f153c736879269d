"""Training as a user runs it, on drawn shapes: it learns, and a run that was cut ends as one that was not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tweetcap import TweetWriter
from tweetcap.data.starter import read_starter

ROOT = Path(__file__).parents[2]
TRAINING = ROOT / "training"


def command(*arguments: object) -> list[str]:
    return [sys.executable, *map(str, arguments)]


def train_command(shapes: Path, output: Path, *more: object) -> list[str]:
    return command(
        TRAINING / "train.py",
        *("--config", TRAINING / "configs" / "tiny.yaml"),
        *("--corpus", shapes / "corpus", "--tokenizer", shapes / "tokenizer", "--output", output),
        *more,
    )


def run(arguments: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=800, cwd=ROOT)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    drawn = run(command(TRAINING / "draw_shapes.py", "--output", folder / "corpus"))
    assert drawn.returncode == 0, drawn.stderr
    arguments = ("--corpus", folder / "corpus", "--output", folder / "tokenizer", "--size", 600)
    tokenized = run(command(TRAINING / "train_tokenizer.py", *arguments))
    assert tokenized.returncode == 0, tokenized.stderr
    return folder


def test_the_tiny_config_learns_to_name_colours_and_shapes_and_leaves_everything_a_run_promises(shapes, tmp_path):
    output = tmp_path / "run"
    done = run(train_command(shapes, output))
    assert done.returncode == 0, done.stderr[-2000:]

    writer = TweetWriter.from_pretrained(output / "best")
    photos = read_starter(shapes / "corpus", "test")
    right = [writer.describe(photo.path) == photo.caption for photo in photos]
    assert sum(right) / len(right) > 0.8  # guessing gives one in six

    history = [json.loads(line) for line in (output / "history.jsonl").read_text().splitlines()]
    assert history[0]["stage"] == "language"
    assert {row["stage"] for row in history} == {"language", "captions", "thawed", "tweets"}
    last = history[-1]
    assert last["captions"] < last["captions/null"] - 0.1  # the photo is worth something
    assert {"config.yaml", "curves.png", "best", "last", "captions", "tweets"} <= {p.name for p in output.iterdir()}
    assert list(output.rglob("events.out.tfevents*"))


def test_a_killed_run_resumes_to_the_same_losses_and_weights(shapes, tmp_path):
    short = ("--stages", "captions,thawed", "--override", "stages.1.epochs=2", "--save-every", 2)
    uncut, cut = tmp_path / "uncut", tmp_path / "cut"
    assert run(train_command(shapes, uncut, *short)).returncode == 0

    process = subprocess.Popen(
        train_command(shapes, cut, *short), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT
    )
    deadline = time.monotonic() + 600
    progress = cut / "last" / "progress.json"
    while process.poll() is None and time.monotonic() < deadline and not progress.exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert progress.exists()
    assert run(train_command(shapes, cut, *short)).returncode == 0

    assert (cut / "history.jsonl").read_text() == (uncut / "history.jsonl").read_text()
    theirs, ours = (load_file(folder / "best" / "model.safetensors") for folder in (uncut, cut))
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (("--override", "stages.0.sources.songs=1"), "songs"),
        (("--override", "stages.0.epochs=many"), "stages.0.epochs"),
        (("--override", "stages.9.epochs=1"), "no training config"),
        (("--override", "colour=red"), "colour"),
        (("--stages", "poems"), "poems"),
        (("--override", "model.hiden_size=7"), "hiden_size"),
        (("--override", "stages.0.choose_by=[casual]"), "casual"),
        (("--corpus", "nowhere"), "nowhere"),
    ],
)
def test_a_wrong_value_is_named_in_one_sentence(shapes, tmp_path, more, named):
    environment = os.environ | {"COLUMNS": "1000"}
    done = subprocess.run(
        train_command(shapes, tmp_path / "run", *more),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr
