"""`tweetcap write` split among processes: one file at the end, whatever happens to them on the way."""

import json
import os
import shutil
import subprocess
import sys
import time
import types
from datetime import timedelta
from pathlib import Path

import pytest
from torch.distributed import TCPStore
from typer.testing import CliRunner

import tweetcap
from tweetcap import cli
from tweetcap.commands.processes import Processes

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path, lion, monkeypatch) -> Path:
    """The current folder: eight photos in `photos`, one of them broken, and room for the output beside it."""
    (tmp_path / "photos").mkdir()
    for number in range(8):
        shutil.copy(lion, tmp_path / "photos" / f"{number}.jpg")
    (tmp_path / "photos" / "2.jpg").write_bytes(lion.read_bytes()[:4000])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write(folder, fake_writer, monkeypatch):
    """Run the command as each of some processes in turn; return exit codes and standard errors by rank.

    The store is a real one, which the launcher serves; the first process asks it last, when the others answered.
    """
    writer_class = types.SimpleNamespace(from_pretrained=lambda *_, **__: fake_writer)
    monkeypatch.setitem(vars(tweetcap), "TweetWriter", writer_class)

    def write(output: str, processes: int = 1) -> list[tuple[int, str]]:
        store = TCPStore("127.0.0.1", 0, is_master=True, timeout=timedelta(seconds=30))
        ended = []
        with monkeypatch.context() as environment:
            if processes > 1:
                environment.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
                environment.setenv("MASTER_ADDR", "127.0.0.1")
                environment.setenv("MASTER_PORT", str(store.port))
                environment.setenv("WORLD_SIZE", str(processes))
            for rank in reversed(range(processes)):
                if processes > 1:
                    environment.setenv("RANK", str(rank))
                    environment.setenv("LOCAL_RANK", str(rank))
                result = CliRunner().invoke(cli.app, ["write", "photos", "--seed", "7", "--output", output])
                ended.append((result.exit_code, result.stderr))
        return ended[::-1]

    return write


@pytest.fixture
def whole(folder, write) -> bytes:
    """What one process writes."""
    assert write("whole.jsonl")[0][0] == 1
    return (folder / "whole.jsonl").read_bytes()


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def photos(path: Path) -> list[str]:
    return [row["photo"] for row in rows(path)]


@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_write_the_file_of_one_and_the_first_speaks_for_all(folder, write, whole, processes):
    (first, said), *others = write("tweets.jsonl", processes)
    assert (folder / "tweets.jsonl").read_bytes() == whole
    assert (first, [code for code, _ in others]) == (1, [0] * len(others))
    assert said.splitlines()[-1] == "tweets.jsonl: 7 photos written, 0 done before, 1 failed."
    assert not any("photos written" in said for _, said in others)
    assert not list(folder.glob("*.part*"))


@pytest.mark.parametrize("processes", [1, 3])
def test_any_number_of_processes_goes_on_with_what_two_left(folder, write, whole, fake_writer, processes):
    """Their parts, in one of which the end cut a line, and the file that one process began before them."""
    lines = whole.splitlines(keepends=True)
    (folder / "tweets.jsonl").write_bytes(lines[0])
    (folder / "tweets.jsonl.part0").write_bytes(lines[2] + lines[4])
    (folder / "tweets.jsonl.part1").write_bytes(lines[3] + lines[5][:100])
    fake_writer.calls.clear()
    write("tweets.jsonl", processes)
    assert (folder / "tweets.jsonl").read_bytes() == whole
    assert len(fake_writer.calls) == 4
    assert not list(folder.glob("*.part*"))


@pytest.mark.parametrize("merged", [0, 1, 700, 2000])
def test_a_cut_while_parts_are_brought_together_costs_and_doubles_nothing(folder, write, whole, merged):
    lines = whole.splitlines(keepends=True)
    (folder / "tweets.jsonl").write_bytes(whole[:merged])
    for rank in range(2):
        (folder / f"tweets.jsonl.part{rank}").write_bytes(b"".join(lines[rank::2]))
    write("tweets.jsonl", 2)
    assert (folder / "tweets.jsonl").read_bytes() == whole


def test_a_repaired_photo_is_added_once_whoever_failed_at_it_before(folder, write, whole):
    (folder / "tweets.jsonl").write_bytes(whole)
    shutil.copy(folder / "photos" / "1.jpg", folder / "photos" / "2.jpg")
    (first, said), _ = write("tweets.jsonl", 2)
    assert (first, said.splitlines()[-1]) == (0, "tweets.jsonl: 1 photos written, 7 done before, 0 failed.")
    assert photos(folder / "tweets.jsonl") == [*photos(folder / "whole.jsonl"), "photos/2.jpg"]


def test_parts_of_other_settings_are_refused_unchanged(folder, write, whole):
    part = folder / "tweets.jsonl.part1"
    part.write_bytes(whole.replace(b'"seed": 7,', b'"seed": 8,'))
    before = part.read_bytes()
    (code, said), _ = write("tweets.jsonl", 2)
    assert (code, part.read_bytes()) == (2, before)
    assert "part1 was written with seed 8 and not 7" in said


def test_parts_that_are_elsewhere_are_missed_in_one_sentence(folder, write, monkeypatch):
    monkeypatch.setattr(Processes, "sum_up", lambda self, *numbers: list(numbers) if self.leads else None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    ((code, said),) = write("tweets.jsonl")
    assert code == 1
    assert "the rows of 4 photos, such as photos/1.jpg, are not in" in said
    assert (folder / "tweets.jsonl.part0").exists()


def test_several_processes_without_a_file_are_refused(folder, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = CliRunner().invoke(cli.app, ["write", "photos"])
    assert (result.exit_code, result.stderr) == (
        2, "tweetcap: 2 processes print into each other; add --output FILE.jsonl.\n",
    )  # fmt: skip


def test_two_real_processes_one_of_them_killed_lose_nothing_that_was_written(folder, write, whole):
    script = """
import sys, time, types, tweetcap.cli
from tests.fake_writer import FakeWriter

class Hangs(FakeWriter):
    def write(self, photo, **settings):
        if photo.name == "5.jpg":
            time.sleep(600)
        return super().write(photo, **settings)

tweetcap.TweetWriter = types.SimpleNamespace(from_pretrained=lambda *_, **__: Hangs())
tweetcap.cli.main()
"""
    command = [sys.executable, "-c", script, "write", "photos", "--seed", "7", "--output", "tweets.jsonl"]
    running = []
    for rank in range(2):
        said = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **said}
        running.append(subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE))
    parts = [folder / f"tweets.jsonl.part{rank}" for rank in range(2)]
    try:
        while [part.exists() and part.read_bytes().count(b"\n") for part in parts] != [4, 2]:
            assert running[1].poll() is None, running[1].stderr.read().decode()
            time.sleep(0.1)
    finally:
        for process in running:
            process.kill()
            process.communicate()
    assert [photos(part) for part in parts] == [
        [f"photos/{number}.jpg" for number in numbers] for numbers in ((0, 2, 4, 6), (1, 3))
    ]
    write("tweets.jsonl", 2)
    assert (folder / "tweets.jsonl").read_bytes() == whole
