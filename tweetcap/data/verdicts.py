"""Readers' verdicts on texts that a network drew for a corpus's photos: what to write more often, and what less."""

import csv
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

VERDICTS = ("fluent", "fits", "funny")
DRAWN = "drawn"
WRITERS = (DRAWN, "mended")  # by a network; by a reader who put a drawn one right
FIELDS = ("photo_id", "writer", "tone", "text", *VERDICTS)


class ReadText(NamedTuple):
    """A text that was read beside its photo.

    Attributes:
        writer: one of `WRITERS`.
        advantage: how many verdicts more it got than the texts of the same photo and tone on average.
    """

    photo_id: str
    writer: str
    tone: str
    text: str
    advantage: float


def read_verdicts(path: str | Path) -> list[ReadText]:
    """Return the texts of a CSV of verdicts from which there is something to learn, in the file's order.

    Texts are compared with others of their photo and tone alone: some photos are easy and some tones are kind, which
    says nothing of a text. Where all of them got as many verdicts none is returned.

    Raises:
        ValueError: the file is missing, or a row lacks a field or holds another verdict than 0 and 1; one sentence.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is missing; name a CSV of verdicts with the fields {', '.join(FIELDS)}.")
    groups: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    marks = []
    for number, row in enumerate(rows, 2):
        given = [row.get(name) for name in VERDICTS]
        if (
            any(not row.get(name) for name in FIELDS[:4])
            or not set(given) <= {"0", "1"}
            or row["writer"] not in WRITERS
        ):
            raise ValueError(f"{path}, line {number} is no row of {', '.join(FIELDS)} with verdicts 0 or 1; mend it.")
        marks.append(given.count("1"))
        groups[row["photo_id"], row["tone"]].append(marks[-1])
    texts = []
    for row, mark in zip(rows, marks, strict=True):
        others = groups[row["photo_id"], row["tone"]]
        advantage = mark - sum(others) / len(others)
        if advantage:
            texts.append(ReadText(row["photo_id"], row["writer"], row["tone"], row["text"], advantage))
    return texts
