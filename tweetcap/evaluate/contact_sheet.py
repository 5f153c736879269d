"""Contact sheets: pages of photos with what the model wrote about them, to be read by people.

The pages show other people's photos, so they belong outside of a repository; the CSV beside them holds the
same texts by photo id and may be kept. Needs the package's `evaluation` extra, which brings fonts for Japanese
and emoji.
"""

import csv
import unicodedata
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from tqdm import tqdm

from tweetcap.data.photo import PhotoError, load_photo
from tweetcap.evaluate.photos import EvaluationPhoto, PhotoSet
from tweetcap.evaluate.predictions import Prediction

COLUMNS, ROWS = 3, 4
PAGES = 40  # of a dataset of thousands of photos nobody reads more; the CSV holds all texts
CELL_WIDTH, CELL_HEIGHT = 6.0, 2.4  # inches
PHOTO_SHARE = 0.36  # of a cell's width
LINE_WIDTH = 58  # half-width characters that fit beside a photo at FONT_SIZE
FONT_SIZE = 9
LINE_HEIGHT = 0.162  # inches
HANGING = "。、」』）)！？!?…"  # signs that may not begin a line
FONTS = {  # family → the package that ships the file, and the file
    "IPAexGothic": ("matplotlib_fontja", "fonts/ipaexg.ttf"),
    "Noto Emoji": ("manimgx_fonts", "NotoEmoji[wght].ttf"),
}


def save_contact_sheets(
    photos: PhotoSet, chosen: Sequence[EvaluationPhoto], predictions: Sequence[Prediction], folder: Path
) -> list[Path]:
    """Write `contact_sheet_01.png`, … (40 pages at most) and `contact_sheet.csv`; return the pages' paths.

    Args:
        chosen: which of the photos, as many as predictions and in the same order.

    Raises:
        ValueError: the fonts are not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    families = font_families()
    folder.mkdir(parents=True, exist_ok=True)
    shown = list(zip(chosen, predictions, strict=True))
    _save_texts(shown, folder / "contact_sheet.csv")
    per_page = COLUMNS * ROWS
    starts = range(0, len(shown), per_page)[:PAGES]
    paths = []
    for page, start in enumerate(tqdm(starts, desc="contact sheets", unit="page", disable=None), 1):
        figure = Figure(figsize=(COLUMNS * CELL_WIDTH, ROWS * CELL_HEIGHT), dpi=110)
        for cell, (photo, prediction) in enumerate(shown[start : start + per_page]):
            _draw_cell(figure, cell, photos, photo, prediction, families)
        paths.append(folder / f"contact_sheet_{page:02d}.png")
        FigureCanvasAgg(figure).print_png(paths[-1])
    return paths


def font_families() -> list[str]:
    """Tell matplotlib of the fonts and return their families, in the order in which to look for a glyph.

    Raises:
        ValueError: a font's package is not installed.
    """
    from matplotlib import font_manager

    for package, file in FONTS.values():
        # Not imported: matplotlib_fontja changes matplotlib's settings as soon as it is.
        spec = find_spec(package)
        if spec is None:
            raise ValueError(
                f"{package}, which ships {Path(file).name}, is not installed; pip install tweetcap[evaluation]."
            )
        font_manager.fontManager.addfont(Path(spec.origin).parent / file)
    return [*FONTS, "DejaVu Sans"]


def _draw_cell(
    figure, cell: int, photos: PhotoSet, photo: EvaluationPhoto, prediction: Prediction, families: list[str]
) -> None:
    width, height = 1 / COLUMNS, 1 / ROWS
    left, bottom = (cell % COLUMNS) * width, 1 - (cell // COLUMNS + 1) * height
    axes = figure.add_axes((left + 0.02 * width, bottom + 0.05 * height, (PHOTO_SHARE - 0.03) * width, 0.9 * height))
    try:
        axes.imshow(load_photo(photos.open(photo)).permute(1, 2, 0).numpy(), aspect="equal")
    except (PhotoError, OSError):
        pass  # the texts still say what was predicted
    axes.set_anchor("NW")
    axes.set_axis_off()
    for number, (line, colour) in enumerate(_lines(photo, prediction)):
        figure.text(
            left + PHOTO_SHARE * width,
            bottom + 0.95 * height - number * LINE_HEIGHT / (ROWS * CELL_HEIGHT),
            line,
            color=colour,
            fontsize=FONT_SIZE,
            fontfamily=families,
            verticalalignment="top",
            parse_math=False,  # a tweet may hold dollar signs
        )


def _lines(photo: EvaluationPhoto, prediction: Prediction) -> list[tuple[str, str]]:
    """Return what stands beside a photo, wrapped, each line with its colour."""
    blocks = [(f"{photo.photo_id}  {photo.species or ''}", "gray")]
    if prediction.description is not None:
        blocks.append((f"説明  {prediction.description}", "navy"))
    for tweet in prediction.tweets:
        grounding = "" if tweet.grounding is None else f" ({tweet.grounding:+.2f})"
        blocks.append((f"{tweet.tone or ''}{grounding}  {tweet.text}", "black"))
    lines = [(line, colour) for text, colour in blocks for line in _wrap(text)]
    fitting = int(0.93 * CELL_HEIGHT / LINE_HEIGHT)
    return lines if len(lines) <= fitting else [*lines[: fitting - 1], ("…", "black")]


def _wrap(text: str) -> list[str]:
    """Break a text where the line is full: Japanese has no spaces to break at; further lines are indented."""
    lines, line = [], ""
    for sign in " ".join(text.split()):
        if sign in "\ufe0f\ufe0e\u200d" or unicodedata.category(sign) == "Cc":
            continue  # variation selectors and joiners have no glyph
        if _width(line + sign) > LINE_WIDTH and sign not in HANGING:
            lines.append(line)
            line = "    "
        line += sign
    return [*lines, line]


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(sign) in "WFA" else 1 for sign in text)


def _save_texts(shown: Sequence[tuple[EvaluationPhoto, Prediction]], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["photo_id", "species", "tone", "grounding", "text"])
        for photo, prediction in shown:
            if prediction.description is not None:
                table.writerow([photo.photo_id, photo.species, "説明", "", prediction.description])
            for tweet in prediction.tweets:
                table.writerow([photo.photo_id, photo.species, tweet.tone, tweet.grounding, tweet.text])
