"""The files of the 2021 project's folder: where they lie and what they hold, checked before anything uses it.

models/encoder-10-280.twitter.epoch10.ckpt   state dict: ResNet without its last layer, Linear, BatchNorm1d
models/decoder-10-280.twitter.epoch10.ckpt   state dict: Embedding, LSTM, Linear
data/vocab.pkl                               a pickled Vocabulary: word2idx, idx2word, idx
data/annos/ACCOUNT.pickle                    a pickled list of dicts: screen_name, text, media_url, media_id, filename
data/images/FILENAME                         the photos; all are called .png, most are JPEG
"""

import pickle
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tweetcap.predecessor.pickles import read_pickle

MAX_WEIGHTS = 2 * 2**30  # bytes; ResNet-152 has 230 MB
MAX_FILENAME = 255  # bytes; what file systems take
PAD, START, END, UNKNOWN = "<pad>", "<start>", "<end>", "<unk>"
DTYPES = (torch.float32, torch.float64, torch.float16, torch.int64)  # counters of batch normalisation are integers

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class NetworkFiles:
    """The three files that make one network."""

    encoder: Path
    decoder: Path
    vocabulary: Path


def find_network(folder: Path, name: str | None = None, vocabulary: Path | None = None) -> NetworkFiles:
    """Find a network in the project's folder, or in one that has its files side by side.

    Args:
        name: what stands between `encoder-` and `.ckpt`; needed where there are several.
        vocabulary: needed where there are several.

    Raises:
        ValueError: there is none, or there are several to choose from; the message names them.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; name the folder of the 2021 project.")
    encoders = {path.stem.removeprefix("encoder-"): path for path in _find(folder, "models", "encoder-*.ckpt")}
    if not encoders:
        raise ValueError(f"{folder} holds no models/encoder-*.ckpt; name the folder of the 2021 project.")
    if name is None and len(encoders) > 1:
        raise ValueError(f"{folder} holds {len(encoders)} networks ({', '.join(encoders)}); choose one by its name.")
    name = name or next(iter(encoders))
    if name not in encoders:
        raise ValueError(f"{folder} holds no network {name!r}; choose one of {', '.join(encoders)}.")
    decoder = encoders[name].with_name(f"decoder-{name}.ckpt")
    if not decoder.is_file():
        raise ValueError(f"{decoder} is missing; the encoder beside it can't write alone.")
    vocabularies = [vocabulary] if vocabulary else _find(folder, "data", "vocab*.pkl")
    if len(vocabularies) != 1:
        found = ", ".join(path.name for path in vocabularies) or "none"
        raise ValueError(f"{folder} should hold one data/vocab*.pkl and holds {found}; name the network's own.")
    return NetworkFiles(encoders[name], decoder, vocabularies[0])


def find_annotations(folder: Path) -> list[Path]:
    """Return the files of annotations, one an account; none where there are none."""
    return _find(folder, "data/annos", "*.pickle") or _find(folder, "annos", "*.pickle")


def _find(folder: Path, inner: str, pattern: str) -> list[Path]:
    return sorted((folder / inner).glob(pattern)) or sorted(folder.glob(pattern))


# --- The vocabulary -------------------------------------------------------------------------------


def read_vocabulary(path: Path) -> list[str]:
    """Return the words; a word's place is its id.

    Raises:
        ValueError: the file isn't a whole vocabulary.
    """
    found = read_pickle(path)
    numbers = found.get("word2idx") if isinstance(found, dict) else None
    words = found.get("idx2word") if isinstance(found, dict) else None
    if not isinstance(numbers, dict) or not isinstance(words, dict):
        raise ValueError(f"{path} holds no Vocabulary with word2idx and idx2word; name the file of build_vocab.py.")
    ordered = [words.get(index) for index in range(len(words))]
    for index, word in enumerate(ordered):
        if not word or not _is_storable(word) or numbers.get(word) != index:
            raise ValueError(f"{path} contradicts itself or has no word of number {index}; copy it again.")
    if len(numbers) != len(ordered):
        raise ValueError(f"{path} numbers {len(numbers)} words and names {len(ordered)}; copy it again.")
    for word in (PAD, START, END, UNKNOWN):
        if word not in numbers:
            raise ValueError(f"{path} has no word {word}; name the file of build_vocab.py.")
    return ordered


def _is_storable(text: Any) -> bool:
    """Whether it is a text that UTF-8 can hold; one with half a surrogate pair is none."""
    try:
        return isinstance(text, str) and text.encode() is not None
    except UnicodeEncodeError:
        return False


# --- The weights ----------------------------------------------------------------------------------


def read_weights(path: Path) -> Weights:
    """Return a state dict as torch's restricted reader gives it, in float32, on the CPU.

    Raises:
        ValueError: the file is missing, too large, damaged, holds anything but tensors, or numbers that are none.
    """
    if not path.is_file():
        raise ValueError(f"{path} is no file; name a checkpoint of the 2021 project.")
    size = max(path.stat().st_size, _unpacked_size(path))
    if size > MAX_WEIGHTS:
        raise ValueError(f"{path} has {size / 2**30:,.1f} GB, more than the {MAX_WEIGHTS // 2**30} that are read.")
    try:
        with warnings.catch_warnings(action="ignore"):  # torch's remarks on odd files; what matters is said below
            # Both of torch's formats: a zip since 1.6, a row of pickles before.
            weights = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(f"{path} is damaged or holds more than tensors; nothing of it was run.") from None
    except Exception:  # what torch raises for damaged files is not documented
        raise ValueError(f"{path} is damaged, cut short or no checkpoint; copy it again.") from None
    if not isinstance(weights, dict) or not weights:
        raise ValueError(f"{path} holds no state dict; name what train.py saved.")
    for name, tensor in weights.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise ValueError(f"{path} holds no state dict; name what train.py saved.")
        # A few bytes can be stretched to any shape.
        plain = tensor.dtype in DTYPES and tensor.layout is torch.strided and tensor.device.type == "cpu"
        if not plain or not tensor.is_contiguous():
            raise ValueError(f"{path} has {name!r} in a form that train.py never saved; copy it again.")
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{path} has numbers in {name!r} that are infinite or none; its training went wrong.")
    return {name: tensor.detach().float() for name, tensor in weights.items()}


def _unpacked_size(path: Path) -> int:
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return 0  # no zip: torch reads it as its older format, or says what is wrong


# --- The tweets -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Annotation:
    """One tweet with its photo.

    Attributes:
        text: as the project kept it: without links, long ones cut by X's old API.
        media_id: X's number of the photo; None in the project's first files.
    """

    screen_name: str
    text: str
    filename: str
    media_url: str | None
    media_id: int | None


def read_annotations(path: Path) -> Iterator[Annotation | None]:
    """Yield the tweets of one account's file, None for a row that is broken.

    Raises:
        ValueError: the file holds no list.
    """
    rows = read_pickle(path)
    if not isinstance(rows, list):
        raise ValueError(f"{path} holds no list of tweets; name a file of collect_data.py.")
    for row in rows:
        yield _annotation(row) if isinstance(row, dict) else None


def _annotation(row: dict[Any, Any]) -> Annotation | None:
    texts = [row.get(name) for name in ("screen_name", "text", "filename")]
    url, media_id = row.get("media_url"), row.get("media_id")
    if not all(map(_is_storable, texts)) or not (url is None or _is_storable(url)):
        return None
    if not (media_id is None or (type(media_id) is int and media_id > 0)):
        return None
    if not texts[2].isprintable() or len(texts[2].encode()) > MAX_FILENAME:
        return None
    # The name of a file of data/images/, and no way out of it.
    if not texts[0] or Path(texts[2]).name != texts[2] or not texts[2].startswith(f"{texts[0]}_"):
        return None
    return Annotation(*texts, url, media_id)
