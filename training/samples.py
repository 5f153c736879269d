"""What the network writes about the same few validation photos at each evaluation, as a page to scroll through.

`samples/` holds a file an evaluation and a thumbnail a photo; `samples.html` shows them, the newest first, and is one
file without links.
"""

import base64
import html
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torchvision.io import encode_jpeg
from torchvision.transforms import v2

from tweetcap.data.tables import load_stored
from tweetcap.model import TONES, TweetCapForConditionalGeneration, TweetCapProcessor
from tweetcap.write.engines import ModelEngine
from tweetcap.write.sampling import draw

SEED, TEMPERATURE, TOP_P, GUIDANCE = 0, 0.8, 0.9, 0.0
THUMBNAIL = 200  # pixels, the longer side

PAGE = """<!DOCTYPE html>
<html lang="ja">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>サンプル / Samples</title>
<style>
  :root {{ color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }}
  body {{ margin: 0 1rem 3rem; }}
  table {{ border-collapse: collapse; }}
  th, td {{ padding: .4rem .8rem; text-align: left; vertical-align: top; min-width: 15rem; }}
  thead th {{ position: sticky; top: 0; background: Canvas; border-bottom: 1px solid GrayText; }}
  tbody tr {{ border-bottom: 1px solid color-mix(in srgb, GrayText 40%, transparent); }}
  tbody th {{ min-width: 7rem; position: sticky; left: 0; background: Canvas; }}
  img {{ max-height: 8rem; display: block; }}
  dl {{ margin: 0; display: grid; grid-template-columns: auto 1fr; gap: 0 .6rem; }}
  dt {{ color: GrayText; white-space: nowrap; }}
  dd {{ margin: 0; }}
  small {{ color: GrayText; }}
</style>
<h1>サンプル / Samples</h1>
<p>検証用の同じ写真。各欄の上は貪欲法、下は乱数（シード固定）。
  The same validation photos; in each field the greedy text above, below it one drawn with a fixed seed.</p>
<table>
<thead><tr><th>ステップ / Step</th>{photos}</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</html>
"""


class Samples:
    """The sample texts of one run.

    Args:
        output: the run's folder.
        photos: of the validation split; `count` of them are taken, spread evenly.
    """

    def __init__(self, output: Path, photos: Sequence, processor: TweetCapProcessor, count: int):
        self.folder, self.page, self.tokenizer = output / "samples", output / "samples.html", processor.tokenizer
        self.thumbnails: list[Path] = []
        pixels = []
        places = [place * len(photos) // count for place in range(count)] if photos else []
        for photo in (photos[place] for place in dict.fromkeys(places)):
            try:
                loaded = load_stored(photo)
            except ValueError:
                continue  # the batches report it
            pixels.append(processor.image_processor(loaded, return_tensors="pt")["pixel_values"])
            self.thumbnails.append(self._save_thumbnail(loaded, len(self.thumbnails)))
        self.pixel_values = torch.cat(pixels) if pixels else None

    def _save_thumbnail(self, photo: torch.Tensor, number: int) -> Path:
        shrink = THUMBNAIL / max(photo.shape[1:])
        small = v2.functional.resize(photo, [max(1, round(side * shrink)) for side in photo.shape[1:]], antialias=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"photo-{number}.jpg"
        path.write_bytes(bytes(encode_jpeg(small, quality=80).tolist()))
        return path

    def write(self, model: TweetCapForConditionalGeneration, stage: str, epoch: int, step: int, null: bool) -> None:
        """Write what a model in evaluation mode says now; with `null` it reads the null memory in place of photos."""
        if self.pixel_values is None:
            return
        banned = torch.zeros(model.config.vocab_size, dtype=torch.bool, device=model.device)
        banned[: self.tokenizer.first_piece_id] = True
        banned[model.config.eos_token_id] = False
        prompts = [self.tokenizer.prompt_ids(tone) for tone in TONES]
        rows = []
        for pixel_values in self.pixel_values:
            with torch.no_grad():
                encoded = None if null else model.encoder(pixel_values[None].to(model.device))
            texts = {}
            for name, temperature in (("greedy", 0.0), ("drawn", TEMPERATURE)):
                generator = torch.Generator(model.device).manual_seed(SEED)
                settings = {"temperature": temperature, "top_p": TOP_P, "guidance": GUIDANCE, "generator": generator}
                found = draw(ModelEngine(model), encoded, prompts, banned=banned, **settings)
                texts[name] = [self.tokenizer.decode(candidate.token_ids) for candidate in found]
            rows.append(texts)
        row = {"stage": stage, "epoch": epoch, "step": step, "tones": list(TONES), "photos": rows}
        path = self.folder / f"{step:08d}.json"
        path.write_text(json.dumps(row, ensure_ascii=False, indent=1), encoding="utf-8")
        self.render()

    def render(self) -> None:
        """Write the page of all evaluations so far."""
        photos = "".join(
            f'<th><img alt="" src="data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}"></th>'
            for path in self.thumbnails
        )
        evaluations = [json.loads(path.read_text(encoding="utf-8")) for path in self.folder.glob("*.json")]
        evaluations.sort(key=lambda evaluation: -evaluation["step"])
        rows = "\n".join(map(_table_row, evaluations))
        self.page.write_text(PAGE.format(photos=photos, rows=rows), encoding="utf-8")


def _table_row(evaluation: dict) -> str:
    cells = []
    for texts in evaluation["photos"]:
        lines = (
            f"<dt>{tone}</dt><dd>{html.escape(greedy)}<br>{html.escape(drawn)}</dd>"
            for tone, greedy, drawn in zip(evaluation["tones"], texts["greedy"], texts["drawn"], strict=True)
        )
        cells.append(f"<td><dl>{''.join(lines)}</dl></td>")
    where = f"{evaluation['step']}<br><small>{html.escape(evaluation['stage'])} {evaluation['epoch']}</small>"
    return f"<tr><th>{where}</th>{''.join(cells)}</tr>"
