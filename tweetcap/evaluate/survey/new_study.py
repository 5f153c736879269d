"""Make a study of photos and the texts that systems wrote for them.

What a study is, `study.py` beside this file says. Here the texts are found in whatever files they come in, the photos
are copied so that neither name nor metadata tells anything, and everything is drawn by lot.
"""

import json
import math
import os
import random
import secrets
import shutil
import string
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path, PurePosixPath
from typing import Any

from torchvision.io import encode_jpeg
from torchvision.transforms.v2.functional import resize
from tqdm import tqdm

from tweetcap.data.photo import PHOTO_SUFFIXES, PhotoError, load_photo
from tweetcap.evaluate.survey.study import (
    CONSENT,
    MODES,
    PHOTOS_FOLDER,
    QUESTIONS,
    SYSTEMS_FILE,
    TITLE,
    Item,
    Study,
    is_score,
)

LONGEST_SIDE = 1024  # pixels of a photo's copy; phones show less
JPEG_QUALITY = 90
MAX_SYSTEMS = len(string.ascii_lowercase)


@dataclass(frozen=True)
class Source:
    """A system's texts.

    Attributes:
        name: the system's.
        path: JSON Lines, one row a photo.
        field: which text of a row; None for the first that is there.
    """

    name: str
    path: Path
    field: str | None = None

    @classmethod
    def parse(cls, argument: str) -> "Source":
        """Read NAME=FILE.jsonl or NAME=FILE.jsonl:FIELD."""
        name, equals, path = argument.partition("=")
        name = name.strip()
        if not equals or not name or not path:
            raise ValueError(f"--system {argument}: write it as NAME=FILE.jsonl, or NAME=FILE.jsonl:description.")
        start, colon, suffix = path.rpartition(":")
        if colon and not Path(path).exists():
            if suffix not in FIELDS:
                raise ValueError(f"--system {argument}: {suffix} is no field of texts; choose {', '.join(FIELDS)}.")
            return cls(name, Path(start), suffix)
        return cls(name, Path(path))


def create_study(
    photos: str | Path,
    sources: Sequence[Source],
    output: str | Path,
    *,
    mode: str = "rating",
    gold: str | Path | None = None,
    attention: int = 2,
    count: int | None = None,
    items_per_rater: int = 30,
    minimum_seconds: float = 3.0,
    raters: int | None = None,
    abandoned_after_hours: float = 6.0,
    title: Mapping[str, str] = TITLE,
    consent: Mapping[str, str] = CONSENT,
    seed: int | None = None,
) -> tuple[Study, list[str]]:
    """Make a study's folder, whole or not at all.

    Args:
        photos: folder that the rows' photos are in, at any depth.
        sources: the systems. Photos that one of them has no text for are left out.
        output: the study's folder; it must not exist yet.
        mode: rating or pairwise.
        gold: JSON Lines of items with a known answer: photo, text and expected ({question: score}); in the
            pairwise mode photo, good and bad. Their photos are left out of the other items.
        attention: how many attention checks each rater gets.
        count: draw so many of the photos at random.
        items_per_rater: more photos than this are dealt into blocks.
        raters: how many are let in.
        seed: repeats the draw, the blocks and the orders; random by default.

    Returns:
        The study, and sentences on what was left out and why.

    Raises:
        ValueError: an argument or a file makes no study.
    """
    output, photos = Path(output), Path(photos)
    _check_arguments(sources, output, photos, mode)
    if items_per_rater < 1 or (count is not None and count < 1):
        raise ValueError(f"a study of {count} photos, {items_per_rater} a rater, has none; give 1 or more of each.")
    if not (0 <= minimum_seconds < math.inf and 0 < abandoned_after_hours < math.inf):  # written so that nan fails too
        raise ValueError(
            f"{minimum_seconds} seconds an item and {abandoned_after_hours} hours of silence are no lengths of time."
        )
    seed = secrets.randbelow(2**32) if seed is None else seed
    rng = random.Random(seed)
    finder = PhotoFinder(photos)
    notes: list[str] = []
    golden = _read_gold(Path(gold), finder, mode, notes) if gold else {}
    texts = {source.name: _read_texts(source, finder, notes) for source in sources}
    common = _common_photos(texts, notes)
    common = _without(common, golden, notes)
    _check_ids([*common, *golden], finder.ids)
    if count is not None and count < len(common):
        common = sorted(rng.sample(common, count))

    names = [source.name for source in sources]
    rng.shuffle(names)
    letters = dict(zip(string.ascii_lowercase, names, strict=False))

    def texts_of(photo: str) -> dict[str, str]:
        return {letter: texts[name][photo] for letter, name in letters.items()}

    output.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".survey-", dir=output.parent))
    try:
        (folder / PHOTOS_FOLDER).mkdir()
        copies = _copy_photos([*common, *golden], finder, folder / PHOTOS_FOLDER, rng, notes)
        common = [photo for photo in common if photo in copies]
        if not common:
            raise ValueError(f"no photo in {photos} has a text of every system; is --photos the right folder?")
        rng.shuffle(common)
        study = Study(
            study=f"{rng.getrandbits(64):016x}",
            mode=mode,
            title=dict(title),
            consent=dict(consent),
            questions=QUESTIONS[mode],
            systems=tuple(letters),
            items=tuple(
                Item(finder.ids[photo], *copies[photo], texts_of(photo), block=block)
                for photo, block in zip(common, _blocks(len(common), items_per_rater), strict=True)
            ),
            gold=tuple(
                Item(finder.ids[photo], *copies[photo], row["texts"], row["expected"])
                for photo, row in golden.items()
                if photo in copies
            ),
            attention=_attention(attention, mode, rng),
            minimum_seconds=minimum_seconds,
            raters=raters,
            abandoned_after_hours=abandoned_after_hours,
            seed=seed,
        )
        study.save(folder)
        (folder / SYSTEMS_FILE).write_text(json.dumps(letters, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        os.chmod(folder, 0o755)  # mkdtemp's own is for the owner alone
        folder.rename(output)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    _note_what_gives_away(study, letters, notes)
    return study, notes


def _check_arguments(sources: Sequence[Source], output: Path, photos: Path, mode: str) -> None:
    names = [source.name for source in sources]
    least = 2 if mode == "pairwise" else 1
    if output.exists():
        raise ValueError(f"{output} exists already; choose another folder for the study.")
    if not photos.is_dir():
        raise ValueError(f"{photos} is not a folder; --photos names the one that the photos are in.")
    if mode not in MODES:
        raise ValueError(f"the mode is {mode}; choose {' or '.join(MODES)}.")
    if not least <= len(names) <= MAX_SYSTEMS:
        raise ValueError(f"the {mode} mode takes {least} to {MAX_SYSTEMS} systems; {len(names)} given with --system.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ValueError(f"the system {twice} is given twice; give each its own name.")


def _blocks(photos: int, items_per_rater: int) -> list[int]:
    """Return each photo's block: as few as possible, their sizes equal, give or take one."""
    blocks = -(-photos // items_per_rater)
    return [number * blocks // photos for number in range(photos)]


def _attention(count: int, mode: str, rng: random.Random) -> tuple[int | str, ...]:
    # 3 and the ends are what those answer who don't read; a tie needs no reading either.
    answers = [2, 4] if mode == "rating" else ["left", "right"]
    rng.shuffle(answers)
    return tuple(answers[number % len(answers)] for number in range(count))


def _note_what_gives_away(study: Study, letters: Mapping[str, str], notes: list[str]) -> None:
    told = "\n".join([*study.title.values(), *study.consent.values()]).casefold()
    for name in letters.values():
        if name.casefold() in told:
            notes.append(f"the title or the consent text says {name}, a system's name: raters will read it.")
    pairs = combinations(study.systems, 2) if study.mode == "pairwise" else ()
    same = {(a, b): sum(item.texts[a] == item.texts[b] for item in study.items) for a, b in pairs}
    for (a, b), number in same.items():
        if number:
            notes.append(f"{letters[a]} and {letters[b]} have the same text for {number} photos: those pairs can tie.")


# Reading


class PhotoFinder:
    """Finds the photos that rows of any origin speak of: by path, by its end, or by photo_id.

    Attributes:
        ids: each photo's id by its path: photo_id where a row gives one, or the file's name without the
            suffix; the path where several have that name.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.ids: dict[str, str] = {}
        self._by_end: dict[str, set[str]] = defaultdict(set)
        self._by_stem: dict[str, set[str]] = defaultdict(set)
        for path in _photo_paths(folder):
            parts = PurePosixPath(path).parts
            for start in range(len(parts)):
                self._by_end["/".join(parts[start:])].add(path)
            self._by_stem[PurePosixPath(path).stem].add(path)
        for stem, paths in self._by_stem.items():
            self.ids.update({path: stem if len(paths) == 1 else path for path in paths})
        if not self._by_end:
            raise ValueError(f"{folder} holds no photo; --photos names the folder that they are in.")

    def find(self, row: Mapping[str, Any]) -> str:
        """Return the path, within the folder, of the photo that a row speaks of.

        Raises:
            ValueError: the row names none, none that is there, or more than one.
        """
        photo, photo_id = row.get("photo"), row.get("photo_id")
        photo_id = str(photo_id) if isinstance(photo_id, int) else photo_id  # COCO's are numbers
        if not isinstance(photo, str) and not isinstance(photo_id, str):
            raise ValueError("it has neither photo nor photo_id")
        found: set[str] = set()
        if isinstance(photo, str):
            parts = PurePosixPath(photo.replace("\\", "/")).parts
            ends = ("/".join(parts[start:]) for start in range(len(parts)))
            found = next((self._by_end[end] for end in ends if end in self._by_end), set())
        if not found and isinstance(photo_id, str):
            found = self._by_stem.get(photo_id, set())
        if len(found) != 1:
            what = f"{len(found)} photos" if found else "no photo"
            raise ValueError(f"{photo or photo_id} fits {what} in {self.folder}")
        (path,) = found
        if isinstance(photo_id, str):
            self.ids[path] = photo_id
        return path


def _photo_paths(folder: Path) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and PurePosixPath(name).suffix.lower() in PHOTO_SUFFIXES:
                yield Path(parent, name).relative_to(folder).as_posix()


def _first_text(value: Any) -> str | None:
    """Return the first text of a text, a list of texts, or a list of rows with a text."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if value else None
    if isinstance(value, Mapping):
        value = value.get("text")
    return value.strip() or None if isinstance(value, str) else None


def _references(row: Mapping[str, Any]) -> str | None:
    references = row.get("references")
    if not isinstance(references, Mapping):
        return _first_text(references)
    return _first_text(references.get("tweets")) or _first_text(references.get("captions"))


def _captions(row: Mapping[str, Any]) -> str | None:
    references = row.get("references")
    inner = references.get("captions") if isinstance(references, Mapping) else None
    return _first_text(row.get("captions")) or _first_text(row.get("caption")) or _first_text(inner)


# Where a row keeps its texts: `--system NAME=FILE.jsonl:FIELD`. Without one, the first that is there.
FIELDS = {
    "tweets": lambda row: _first_text(row.get("tweets")),
    "text": lambda row: _first_text(row.get("text")),
    "texts": lambda row: _first_text(row.get("texts")),
    "references": _references,
    "captions": _captions,
    "description": lambda row: _first_text(row.get("description")),
}


def _read_texts(source: Source, finder: PhotoFinder, notes: list[str]) -> dict[str, str]:
    """Return a system's texts by photo; rows that can't be used are noted."""
    fields = [FIELDS[source.field]] if source.field else list(FIELDS.values())
    texts: dict[str, str] = {}
    broken: list[str] = []
    for number, row in _read_rows(source.path, broken):
        text = next((text for text in (read(row) for read in fields) if text), None)
        if text is None:
            continue  # a photo that failed, for one: _common_photos says which are missing
        try:
            _check_letters(text)
            texts[finder.find(row)] = text  # the last row of a photo counts, as in tweetcap write's files
        except ValueError as error:
            broken.append(f"line {number}: {error}")
    _note_broken(source.path, broken, notes)
    if not texts:
        what = f" ({source.field})" if source.field else ""
        raise ValueError(f"{source.path} has no text{what} for any photo in {finder.folder}; check file and folder.")
    return texts


def _read_rows(path: Path, broken: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number and the object of each line; lines that hold none are noted."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise ValueError
                except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
                    broken.append(f"line {number}: it is no JSON object")
                    continue
                yield number, row
    except OSError as error:
        raise ValueError(f"{path} can't be read ({error.strerror}); check the path.") from None


def _check_letters(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("its text holds half a letter, a lone surrogate") from None


def _note_broken(path: Path, broken: Sequence[str], notes: list[str]) -> None:
    if broken:
        notes.append(f"{path}: {len(broken)} rows are left out: {_some(broken, '; ')}.")


def _some(texts: Sequence[str], separator: str = ", ") -> str:
    """Return the first few of them."""
    return separator.join([*texts[:5], *(["…"] if len(texts) > 5 else [])])


def _common_photos(texts: Mapping[str, Mapping[str, str]], notes: list[str]) -> list[str]:
    """Return the photos that every system has a text for, sorted; the others are noted."""
    common = set.intersection(*map(set, texts.values()))
    for name, found in texts.items():
        missing = sorted(set.union(*map(set, texts.values())) - found.keys())
        if missing:
            notes.append(f"{name} has no text for {len(missing)} photos, which are left out: {_some(missing)}.")
    return sorted(common)


def _check_ids(photos: Sequence[str], ids: Mapping[str, str]) -> None:
    paths: dict[str, str] = {}
    for photo in photos:
        other = paths.setdefault(ids[photo], photo)
        if other != photo:
            raise ValueError(f"{other} and {photo} have the same photo_id, {ids[photo]}; give each its own.")


def _without(common: list[str], golden: Iterable[str], notes: list[str]) -> list[str]:
    both = [photo for photo in golden if photo in common]
    if both:
        notes.append(f"{len(both)} photos serve as gold items only: {_some(both)}.")
    return [photo for photo in common if photo not in both]


def _read_gold(path: Path, finder: PhotoFinder, mode: str, notes: list[str]) -> dict[str, dict[str, Any]]:
    """Return texts and expected answers by photo; rows that can't be used are noted."""
    golden: dict[str, dict[str, Any]] = {}
    broken: list[str] = []
    for number, row in _read_rows(path, broken):
        try:
            gold = _gold_row(row, mode)
            _check_letters("".join(gold["texts"].values()))
            golden[finder.find(row)] = gold
        except ValueError as error:
            broken.append(f"line {number}: {error}")
    _note_broken(path, broken, notes)
    if not golden:
        raise ValueError(f"{path} has no gold item for the {mode} mode; see tweetcap survey create --help.")
    return golden


def _gold_row(row: Mapping[str, Any], mode: str) -> dict[str, Any]:
    if mode == "pairwise":
        texts = {key: _first_text(row.get(key)) for key in ("good", "bad")}
        if None in texts.values():
            raise ValueError("it needs good and bad, two texts")
        return {"texts": texts, "expected": {}}
    text, expected = _first_text(row.get("text")), row.get("expected")
    if text is None:
        raise ValueError("it has no text")
    names = [question.name for question in QUESTIONS[mode]]
    known = isinstance(expected, Mapping) and expected
    if not known or any(name not in names or not is_score(score) for name, score in expected.items()):
        raise ValueError(f'it needs expected, such as {{"fits": 1}}, of {", ".join(names)} and 1 to 5')
    return {"texts": {"gold": text}, "expected": dict(expected)}


# Photos


def _copy_photos(
    photos: Sequence[str], finder: PhotoFinder, folder: Path, rng: random.Random, notes: list[str]
) -> dict[str, tuple[str, int, int]]:
    """Copy each photo under a random name; return name, width and height by photo. Broken ones are noted."""
    copies, broken = {}, []
    for photo in tqdm(photos, desc="photos", unit="photo", disable=None):
        name = f"{rng.getrandbits(64):016x}.jpg"
        try:
            copies[photo] = (name, *_copy_pixels(finder.folder / photo, folder / name))
        except PhotoError as error:
            broken.append(str(error))
    notes.extend(broken)
    return copies


def _copy_pixels(source: Path, target: Path) -> tuple[int, int]:
    """Write a photo's pixels, and nothing else of its file, as a JPEG; return its width and height."""
    pixels = load_photo(source)  # (3, height, width)
    if max(pixels.shape[1:]) > LONGEST_SIDE:
        pixels = resize(pixels, size=None, max_size=LONGEST_SIDE, antialias=True)
    target.write_bytes(encode_jpeg(pixels, quality=JPEG_QUALITY).numpy().tobytes())
    return pixels.shape[2], pixels.shape[1]
