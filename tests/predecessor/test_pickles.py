"""A pickle is read as data or not at all: whatever it names, nothing of it runs."""

import builtins
import copyreg
import os
import pickle
import struct
import subprocess
from collections import OrderedDict

import numpy as np
import pytest
import torch

from tests.predecessor.original import pickled_vocabulary
from tweetcap.predecessor import pickles
from tweetcap.predecessor.pickles import MAX_BYTES, PickleError, read_pickle

ROWS = [{"screen_name": "neko", "text": "ねこ🐈\n二行目", "media_id": 1_340_000_000_000_000_001, "sizes": [1, 2, None]}]


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def read(folder, data: bytes):
    path = folder / "file.pickle"
    path.write_bytes(data)
    return read_pickle(path)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_plain_rows_come_back_as_they_were(tmp_path, protocol):
    assert read(tmp_path, pickle.dumps(ROWS, protocol=protocol)) == ROWS


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("module", ["__main__", "build_vocab", "os"])
def test_a_vocabulary_is_its_attributes_wherever_its_class_was(tmp_path, protocol, module):
    assert read(tmp_path, pickled_vocabulary(["ねこ", "いぬ"], protocol, module)) == {
        "word2idx": {"ねこ": 0, "いぬ": 1},
        "idx2word": {0: "ねこ", 1: "いぬ"},
        "idx": 2,
    }


def test_nothing_hostile_runs_and_each_is_refused_in_a_sentence(tmp_path):
    mark = tmp_path / "it_ran"
    touch = f"touch {mark}"
    code = f"open({str(mark)!r}, 'w').close()"
    calls = [
        Call(os.system, touch),
        Call(builtins.eval, code),
        Call(builtins.exec, code),
        Call(subprocess.Popen, ["touch", str(mark)]),
        Call(open, str(mark), "w"),
        Call(getattr, Call(__import__, "os"), "system"),
        Call(pickle.loads, pickle.dumps(Call(os.system, touch))),
        Call(torch.load, str(mark)),
        Call(copyreg._reconstructor, OrderedDict, object, None),
        {"word2idx": {"ねこ": Call(os.system, touch)}},
        [[[Call(Call, os.system, touch)]]],
        OrderedDict(a=1),
        np.zeros(3),
        torch.zeros(3),
        {1, 2},
        b"bytes",
        (1, 2),
        1.5,
        2**70,
    ]
    for hostile in calls:
        for protocol in (0, 2, 4, 5):
            with pytest.raises(PickleError) as refused:
                read(tmp_path, pickle.dumps(hostile, protocol=protocol))
            sentence = str(refused.value)
            assert str(tmp_path) in sentence
            assert sentence.endswith("nothing of it was run.") and "\n" not in sentence
    assert not mark.exists()


@pytest.mark.parametrize(
    "program",
    [
        b"cos\nsystem\n(S'touch MARK'\ntR.",  # REDUCE, as in 1995
        b"(S'touch MARK'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'touch MARK'\no.",  # OBJ
        b"\x80\x02cposix\nsystem\nX\x0a\x00\x00\x00touch MARK\x85R.",
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x0atouch MARK\x85R.",  # the name comes from the stack
        b"\x80\x04\x8c\x0abuild_vocab\x8c\x18Vocabulary.__init__.mro\x93.",
        b"\x80\x02csubprocess\nPopen\n)\x81.",  # NEWOBJ
        b"\x80\x02\x82\x01.",  # the extension registry
        b"\x80\x02X\x01\x00\x00\x001Q.",  # a persistent id
        b"\x80\x02cbuild_vocab\nVocabulary\n)R.",
        b"\x80\x02cbuild_vocab\nVocabulary\n}X\x01\x00\x00\x00aK\x01sb.",  # attributes for the class itself
    ],
)
def test_programs_written_by_hand_are_refused(tmp_path, monkeypatch, program):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PickleError):
        read(tmp_path, program)
    assert not (tmp_path / "MARK").exists()


def test_an_object_of_a_file_knows_nothing_of_the_file_before(tmp_path):
    tampering = b"\x80\x02cbuild_vocab\nVocabulary\n)\x81}X\x09\x00\x00\x00__class__K\x01sb."
    assert read(tmp_path, tampering) == {"__class__": 1}
    assert set(read(tmp_path, pickled_vocabulary(["ねこ"]))) == {"word2idx", "idx2word", "idx"}


def test_what_would_fill_the_memory_is_refused_or_stays_small(tmp_path, monkeypatch):
    laughs = b"\x80\x02]q\x00" + b"".join(
        b"](" + b"h" + bytes([level]) + (b"h" + bytes([level])) * 9 + b"e" + b"q" + bytes([level + 1])
        for level in range(60)
    )
    assert isinstance(read(tmp_path, laughs + b"."), list)  # ten to the sixtieth elements, none of which anyone counts
    depth = 200_000
    assert isinstance(read(tmp_path, b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"."), list)
    monkeypatch.setattr(pickles, "MAX_INSTRUCTIONS", 10_000)
    for program in (
        b"\x80\x02]r" + struct.pack("<I", 2**31 - 1) + b".",  # a memo of 16 GB
        b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x.",  # bytes of a terabyte
        b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x.",
        b"\x80\x02X" + struct.pack("<I", 2**31 - 1) + b"x.",
        b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"].",  # a frame
        b"\x80\x02" + b"}" * 10_000 + b".",
    ):
        with pytest.raises(PickleError):
            read(tmp_path, program)
    huge = tmp_path / "huge.pickle"
    with huge.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(PickleError, match="MB, more than"):
        read_pickle(huge)


def test_cut_and_garbled_pickles_are_refused_wherever_the_cut_is(tmp_path):
    whole = pickled_vocabulary(["ねこ", "いぬ", "とり"], 4)
    for length in range(len(whole)):
        with pytest.raises(PickleError):
            read(tmp_path, whole[:length])
    rng = np.random.default_rng(0)
    for _ in range(300):
        garbled = bytearray(whole)
        for place in rng.integers(len(whole), size=3):
            garbled[place] = rng.integers(256)
        try:
            read(tmp_path, bytes(garbled))
        except PickleError as error:
            assert "\n" not in str(error)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "none.pickle", tmp_path):
        with pytest.raises(PickleError, match="is no file"):
            read_pickle(path)
