"""Sheets for readers: what the network writes about training photos, to be judged and put right beside them.

    python training/sheets.py draw --corpus CORPUS --read training/reports/verdicts.csv --output runs/sheets
    python training/sheets.py gather --sheets runs/sheets --output training/reports/verdicts_2.csv

A sheet is a folder: `sheet.csv` with numbered texts, `photos/`, and what a reader adds. In `verdicts.csv` (`number` and
0 or 1 for `fluent`, `fits`, `funny`) each text is judged, in `mended.csv` (`photo_id`, `tone`, `text`) stand texts as
they should have been. Sheets read in part are gathered as far as they go.
"""

import csv
import random
import shutil
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from tweetcap import TweetWriter
from tweetcap.data.starter import read_starter
from tweetcap.data.verdicts import DRAWN, FIELDS, VERDICTS
from tweetcap.model import TWEET_TONES

SHEET, READ, MENDED, PHOTOS = "sheet.csv", "verdicts.csv", "mended.csv", "photos"
SHEET_FIELDS = ("number", "photo_id", "tone", "text")
CANDIDATES = 10  # a photo and tone, the likely tweets first

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV; none where there is no such file."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def write_rows(path: Path, fields: tuple[str, ...], rows: list[dict]) -> None:
    with path.open("w", encoding="utf-8", newline="") as lines:
        table = csv.DictWriter(lines, fields, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def texts_to_read(writer: TweetWriter, photo: Path, seed: int, count: int) -> list[tuple[str, str]]:
    """Return pairs of tone and text: of each tone the best half by today's ranking, and others at random."""
    chance = random.Random(seed)
    encoded = writer.encode([photo])
    found = []
    for tone in TWEET_TONES:
        tweets = writer.write(encoded, tone=tone, count=CANDIDATES, seed=seed)
        best, others = tweets[: count - count // 2], tweets[count - count // 2 :]
        found += [(tone, tweet.text) for tweet in best + chance.sample(others, min(count // 2, len(others)))]
    return found


@app.command()
def draw(
    corpus: Annotated[Path, typer.Option(help="Starter folder.")],
    output: Annotated[Path, typer.Option(help="Folder for the sheets.")],
    read: Annotated[list[Path], typer.Option(help="CSV of verdicts; its photos are left out.")] = [],  # noqa: B006
    checkpoint: Annotated[str | None, typer.Option(help="Whose texts; the embedded one by default.")] = None,
    sheets: Annotated[int, typer.Option(min=1)] = 16,
    photos: Annotated[int, typer.Option(min=1, help="Photos a sheet.")] = 25,
    texts: Annotated[int, typer.Option(min=1, max=CANDIDATES, help="Texts a photo and tone.")] = 4,
    seed: Annotated[int, typer.Option(help="The same one draws the same sheets.")] = 0,
) -> None:
    """Draw texts for training photos that nobody has judged yet, and make sheets of them."""
    known = {row["photo_id"] for path in read for row in read_rows(path)}
    left = [photo for photo in read_starter(corpus, "train") if photo.photo_id not in known]
    random.Random(seed).shuffle(left)
    writer = TweetWriter.from_pretrained(checkpoint)
    with tqdm(total=min(sheets * photos, len(left)), desc="drawing", unit=" photos", disable=None) as bar:
        for sheet in range(sheets):
            ours = left[sheet * photos : (sheet + 1) * photos]
            folder = output / f"{sheet:02}"
            (folder / PHOTOS).mkdir(parents=True, exist_ok=True)
            rows = []
            for photo in ours:
                shutil.copy(photo.path, folder / PHOTOS / f"{photo.photo_id}{photo.path.suffix}")
                for tone, text in texts_to_read(writer, photo.path, seed, texts):
                    rows.append({"number": len(rows), "photo_id": photo.photo_id, "tone": tone, "text": text})
                bar.update()
            write_rows(folder / SHEET, SHEET_FIELDS, rows)


@app.command()
def gather(
    sheets: Annotated[Path, typer.Option(help="Folder of sheets.")],
    output: Annotated[Path, typer.Option(help="CSV of verdicts to write, as a run's config names them.")],
) -> None:
    """Gather what readers wrote; rows that fit no text of their sheet are named and left out."""
    gathered, photos = [], set()
    for folder in sorted(path.parent for path in sheets.glob(f"*/{SHEET}")):
        drawn = {row["number"]: row for row in read_rows(folder / SHEET)}
        ours = {row["photo_id"] for row in drawn.values()}
        for line, row in enumerate(read_rows(folder / READ), 2):
            verdicts = {name: row.get(name) for name in VERDICTS}
            text = drawn.pop(row.get("number"), None)
            if text is None or not set(verdicts.values()) <= {"0", "1"}:
                typer.echo(f"{folder / READ}, line {line}: no verdict on a text of {SHEET}; left out.", err=True)
                continue
            gathered.append({"writer": DRAWN, **{name: text[name] for name in SHEET_FIELDS[1:]}, **verdicts})
        for line, row in enumerate(read_rows(folder / MENDED), 2):
            text = (row.get("text") or "").strip()
            if row.get("photo_id") not in ours or row.get("tone") not in TWEET_TONES or not text:
                typer.echo(f"{folder / MENDED}, line {line}: no text for a photo of {SHEET}; left out.", err=True)
                continue
            found = {"photo_id": row["photo_id"], "writer": "mended", "tone": row["tone"], "text": text}
            gathered.append(found | dict.fromkeys(VERDICTS, "1"))
        photos |= ours
    gathered.sort(key=lambda row: (row["photo_id"], row["writer"], TWEET_TONES.index(row["tone"])))
    write_rows(output, FIELDS, gathered)
    mended = sum(row["writer"] != DRAWN for row in gathered)
    typer.echo(f"{output}: {len(gathered) - mended} verdicts, {mended} mended texts, of {len(photos)} photos.")


if __name__ == "__main__":
    app()
