"""Draw a corpus of coloured shapes with captions and tweets: enough to train on in seconds, for tests and first steps.

python training/draw_shapes.py --output runs/shapes
"""

import gzip
import itertools
import json
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torchvision.io import write_jpeg

COLOURS = {"赤い": (220, 40, 40), "青い": (40, 60, 220), "黄色い": (230, 210, 40)}
SHAPES = {"丸": (24, 28), "点": (7, 9)}  # radius in pixels: a disc and a dot, told apart even by a random CNN
SIDE = 64  # pixels
TEXTS = {
    "つぶやき": ("{colour}{shape}を見た", "散歩の途中で{colour}{shape}に会った"),
    "ツッコミ": ("{colour}すぎる", "その{shape}、{colour}にもほどがある"),
    "アフレコ": ("「{shape}です」", "「{colour}{shape}ですけど、何か」"),
    "ほっこり": ("{shape}、かわいい", "{colour}{shape}に元気をもらった"),
    "大喜利": ("{colour}{shape}の休日", "給料日の{colour}{shape}"),
}


def draw_photo(shape: str, colour: tuple[int, int, int], rng: np.random.Generator) -> torch.Tensor:
    """Return a photo (3, SIDE, SIDE), uint8: one shape somewhere on noisy grey."""
    photo = rng.normal(128, 12, (3, SIDE, SIDE))
    radius = rng.integers(*SHAPES[shape])
    row, column = rng.integers(radius, SIDE - radius, 2)
    rows, columns = np.ogrid[:SIDE, :SIDE]
    inside = (rows - row) ** 2 + (columns - column) ** 2 < radius**2
    photo[:, inside] = np.array(colour)[:, None] + rng.normal(0, 12, (3, inside.sum()))
    return torch.from_numpy(photo.clip(0, 255).astype(np.uint8))


def draw_corpus(folder: Path, photos_a_kind: int = 40, seed: int = 0) -> None:
    """Write `starter.jsonl`, `casual_text.txt.gz` and `photos/` in the starter corpus's format."""
    rng = np.random.default_rng(seed)
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    kinds = list(itertools.product(COLOURS, SHAPES))
    rows = []
    for number in range(photos_a_kind * len(kinds)):
        colour, shape = kinds[number % len(kinds)]
        name = f"photos/s{number:04d}.jpg"
        write_jpeg(draw_photo(shape, COLOURS[colour], rng), str(folder / name), quality=95)
        words = {"colour": colour, "shape": shape}
        round_number = number // len(kinds)
        rows.append(
            {
                "photo_id": f"s{number:04d}",
                "photo": name,
                "split": {0: "validation", 1: "test"}.get(round_number % 8, "train"),
                "species": "なし",
                "caption": f"{colour}{shape}がある",
                "tweets": [
                    {"tone": tone, "style": style, "text": text.format(**words)}
                    for tone, texts in TEXTS.items()
                    for style, text in zip(("plain", "witty"), texts, strict=True)
                ],
            }
        )
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "starter.jsonl").write_text(lines, encoding="utf-8")
    sentences = [f"{a}{b}が好きです。" for a, b in kinds] + [f"今日は{a}日ですね。" for a in COLOURS]
    with gzip.open(folder / "casual_text.txt.gz", "wt", encoding="utf-8") as casual:
        casual.write("\n".join(sentences * 20) + "\n")


def main(
    output: Annotated[Path, typer.Option(help="Folder for the corpus.")],
    photos_a_kind: Annotated[int, typer.Option(help="Photos of each of the six kinds.")] = 40,
    seed: Annotated[int, typer.Option(help="The same seed draws the same photos.")] = 0,
) -> None:
    """Draw the corpus."""
    draw_corpus(output, photos_a_kind, seed)
    typer.echo(f"{photos_a_kind * len(COLOURS) * len(SHAPES)} photos in {output}")


if __name__ == "__main__":
    typer.run(main)
