"""Rows survive any end of the process, and a folder has one writer."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tweetcap.collect.raw import AppendOnly, lock_folder, read_rows, write_atomically, write_rows

ROWS = [{"text": "猫 🐈\u2028次の行"}, {"text": "two\nlines"}, {"text": "\ud83d alone", "n": 1.5}, {}]


def test_what_is_appended_is_read_back(tmp_path):
    path = tmp_path / "raw" / "rows.jsonl"
    for row in ROWS:
        with AppendOnly(path) as rows:
            rows.append(row)
    assert list(read_rows(path)) == ROWS


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_file_cut_at_any_byte_loses_only_its_last_row_and_goes_on(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("cut") / "rows.jsonl"
    with AppendOnly(path) as rows:
        for row in ROWS:
            rows.append(row)
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    kept = whole[:cut].count(b"\n")
    assert list(read_rows(path)) == ROWS[:kept]
    with AppendOnly(path) as rows:
        rows.append({"next": True})
    assert list(read_rows(path)) == [*ROWS[:kept], {"next": True}]


def test_a_torn_row_longer_than_a_block_is_dropped(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n' + b"x" * 200_000)
    with AppendOnly(path) as rows:
        rows.append({"b": 2})
    assert list(read_rows(path)) == [{"a": 1}, {"b": 2}]


def test_a_broken_row_is_named_and_the_others_are_read(tmp_path, caplog):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\nnot json\n[1]\n\xff\xfe\n{"b": 2}\n')
    assert list(read_rows(path)) == [{"a": 1}, {"b": 2}]
    assert [record.getMessage() for record in caplog.records] == [
        f"{path} line {number} holds no JSON object and is left out." for number in (2, 3, 4)
    ]


def test_no_file_has_no_rows(tmp_path):
    assert list(read_rows(tmp_path / "none.jsonl")) == []


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    with AppendOnly(path) as rows:
        rows.append({"a": 1})

        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="No space"):
                rows.append({"b": 2})
        assert path.read_bytes() == b'{"a": 1}\n'
        rows.append({"c": 3})
    assert list(read_rows(path)) == [{"a": 1}, {"c": 3}]


def test_half_of_a_row_that_found_no_room_does_not_come_later(tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    with AppendOnly(path) as rows:
        rows.append({"a": 1})
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1][1]))
        try:
            with pytest.raises(OSError, match="too large"):
                rows.append({"b": "x" * 5000})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before[1])
            signal.signal(signal.SIGXFSZ, before[0])
        rows.append({"c": 3})
    assert path.read_bytes() == b'{"a": 1}\n{"c": 3}\n'


def test_a_replaced_file_is_the_old_or_the_new_one(tmp_path, monkeypatch):
    path = tmp_path / "posts.jsonl"
    write_rows(path, [{"old": 1}])

    def fail(*_) -> None:
        raise OSError("cut")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(OSError, match="cut"):
            write_atomically(path, b"new")
    assert list(read_rows(path)) == [{"old": 1}]
    assert os.listdir(tmp_path) == ["posts.jsonl"]


def test_two_processes_cannot_hold_one_folder(tmp_path):
    other = "import sys; from pathlib import Path; from tweetcap.collect.raw import lock_folder\n"
    other += "with lock_folder(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", other, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(ValueError, match="is in use by another tweetcap"), lock_folder(tmp_path):
            pass
        process.kill()  # any end of a process releases its lock
    with lock_folder(tmp_path):
        pass


def test_files_that_a_killed_process_left_unfinished_are_removed(tmp_path):
    (tmp_path / "photos" / "ab").mkdir(parents=True)
    unfinished = [tmp_path / ".posts.jsonl.77.unfinished", tmp_path / "photos/ab/.abc.jpg.77.unfinished"]
    for path in unfinished:
        path.write_bytes(b"half")
    with lock_folder(tmp_path):
        assert not any(path.exists() for path in unfinished)
