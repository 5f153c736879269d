"""Read pickles of plain data without running anything that they name.

A pickle is a program. Of its instructions only those are let through that build strings, whole numbers, lists and
dicts, and one empty class for objects called `Vocabulary`; they are looked at before the first of them is carried out
(https://docs.python.org/3/library/pickle.html#restricting-globals, and stricter). Size, count and the numbers that
make an unpickler reserve memory are bounded too.
"""

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

MAX_BYTES = 32 * 2**20  # the predecessor's largest has 2 MB
MAX_INSTRUCTIONS = 4_000_000  # at some 100 bytes of memory each at most
MAX_NUMBER = 2**63 - 1  # larger ones can be made to collide in a dict, a million of them for hours

# Protocol 2 and newer, which every Python 3 writes. Neither calls, nor persistent ids, nor the extension registry.
HARMLESS = frozenset(
    "PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINUNICODE SHORT_BINUNICODE"
    " EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS EMPTY_TUPLE"
    " BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET GLOBAL STACK_GLOBAL NEWOBJ BUILD".split()
)
OBJECT = "Vocabulary"


class PickleError(ValueError):
    """The pickle can't be used; the message is one sentence that says why, and nothing of it was run."""


def read_pickle(path: Path) -> Any:
    """Return the data of a pickle: str, int, bool, None, list and dict; of an object its attributes, a dict.

    What is returned may share parts with itself, or hold itself: look at no more levels than are expected.

    Raises:
        PickleError: the file is missing, too large, damaged, or holds anything else.
    """
    if not path.is_file():
        raise PickleError(f"{path} is no file; name one of the 2021 project.")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise PickleError(f"{path} has {size / 2**20:,.0f} MB, more than the {MAX_BYTES // 2**20} that are read.")
    data = path.read_bytes()
    unpickler = _PlainUnpickler(io.BytesIO(data), path)
    try:
        _check_instructions(data, path)
        found = unpickler.load()
    except PickleError:
        raise
    except Exception:  # a damaged pickle raises whatever its instructions run into
        raise PickleError(f"{path} is damaged, cut short or no pickle; copy it again.") from None
    return vars(found) if isinstance(found, unpickler.object) else found


class _PlainUnpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, path: Path):
        super().__init__(file)
        self.path = path
        # A class for this file alone: a hostile pickle can set attributes on what it names.
        self.object = type(OBJECT, (), {})

    def find_class(self, module: str, name: str) -> type:
        # Pickled from a script it is __main__.Vocabulary, else build_vocab.Vocabulary; nothing is imported for either.
        if name == OBJECT:
            return self.object
        raise _refusal(self.path, f"{module}.{name}")


def _check_instructions(data: bytes, path: Path) -> None:
    for count, (instruction, argument, _) in enumerate(pickletools.genops(data), 1):
        if count > MAX_INSTRUCTIONS:
            raise PickleError(f"{path} has more than {MAX_INSTRUCTIONS:,} instructions, the most that are read.")
        if instruction.name not in HARMLESS:
            raise _refusal(path, f"the instruction {instruction.name}")
        if isinstance(argument, int) and abs(argument) > MAX_NUMBER:
            raise _refusal(path, f"a number of {argument.bit_length()} bits")
        # The unpickler reserves memory up to the place that is named; a pickler names one after the other.
        if instruction.name == "LONG_BINPUT" and argument > count:
            raise _refusal(path, f"place {argument} in a memo of {count}")


def _refusal(path: Path, what: str) -> PickleError:
    what = what[:80].encode("unicode_escape").decode()
    return PickleError(f"{path} holds {what} and is no file of the 2021 project; nothing of it was run.")
