"""Photos and texts made up for a questionnaire, and the study of them."""

import json
from pathlib import Path

import numpy as np
import torch
from torchvision.io import encode_jpeg

from tweetcap.evaluate.survey.new_study import Source, create_study
from tweetcap.evaluate.survey.study import Study

SYSTEMS = ("secretstair", "secrettuned", "secrethuman")


def make_photos(folder: Path, count: int) -> list[str]:
    """Write photos p0000.jpg, …; return their names."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = [f"p{number:04}.jpg" for number in range(count)]
    for name in names:
        colours = torch.from_numpy(rng.integers(0, 256, (3, 3, 4), dtype=np.uint8))
        pixels = colours.repeat_interleave(40, 1).repeat_interleave(40, 2).contiguous()
        (folder / name).write_bytes(encode_jpeg(pixels).numpy().tobytes())
    return names


def write_rows(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def prediction(photo: str, text: str) -> dict:
    return {"photo_id": Path(photo).stem, "photo": f"photos/{photo}", "tweets": [{"text": text, "tone": "つぶやき"}]}


def make_sources(folder: Path, photos: list[str], systems=SYSTEMS) -> list[Source]:
    """Write a file of predictions for each system; no text names its system."""
    sources = []
    for number, name in enumerate(systems):
        rows = [prediction(photo, f"{number}番{photo[1:5]}") for photo in photos]
        sources.append(Source(name, write_rows(folder / f"{name}.jsonl", rows)))
    return sources


def make_study(folder: Path, photos: int = 6, systems=SYSTEMS, **options) -> Study:
    """Make a study at `folder / "study"` from photos and predictions beside it."""
    names = make_photos(folder / "photos", photos)
    options = {"minimum_seconds": 0.0, "attention": 1, "seed": 7} | options
    study, notes = create_study(folder / "photos", make_sources(folder, names, systems), folder / "study", **options)
    assert notes == []
    return study
