"""The page on a run: tables, plots, and the best and worst examples with their photos, in one HTML file.

Nothing is loaded from elsewhere: plots are SVG, photos are small JPEGs in the file. They are the corpus's photos, so
the page belongs outside of a repository.
"""

import base64
import html
import io
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tweetcap.data.animals import has_animal, right_animal
from tweetcap.data.photo import PhotoError, load_photo
from tweetcap.evaluate.comparison import HEADER, Comparison, comparison_cells
from tweetcap.evaluate.contact_sheet import font_families
from tweetcap.evaluate.figures import Result, cells
from tweetcap.evaluate.photos import EvaluationPhoto, PhotoSet
from tweetcap.evaluate.predictions import Prediction
from tweetcap.evaluate.reference import cider_scores
from tweetcap.evaluate.words import words_of

EXAMPLES = 8  # best ones, and as many worst ones
THUMBNAIL = 240  # pixels of the longer side
SPECIES = 14  # rows of the plot by animal

STYLE = """
body { font: 15px/1.5 system-ui, "Hiragino Sans", "Noto Sans JP", sans-serif; color: #222; background: #fff;
  max-width: 1060px; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.5rem; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ddd; } h3 { margin-bottom: .3rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .25rem .6rem; }
th { background: #f3f3f3; } th:first-child { width: 40%; } td { border-top: 1px solid #eee; }
td.number, th + th { text-align: right; white-space: nowrap; }
tr.better td:last-child { color: #06701d; } tr.worse td:last-child { color: #a3140b; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem; } .plots svg { max-width: 100%; height: auto; }
.examples { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 1rem; }
.example { border: 1px solid #ddd; border-radius: 6px; padding: .8rem; } .example img { max-width: 100%; }
.example p { margin: .3rem 0; } .quiet { color: #666; font-size: .87em; } ul { margin: .3rem 0; padding-left: 1.2rem; }
pre { white-space: pre-wrap; background: #f7f7f7; padding: .7rem; font-size: .85em; }
"""

COLOURS = {"ours": "#2b6cb0", "people": "#c9a227", "right": "#3a8f4d", "wrong": "#c0392b", "none": "#bbbbbb"}


def save_report(
    path: Path,
    *,
    title: str,
    settings: dict[str, Any],
    method: dict[str, Any],
    results: Sequence[Result],
    chosen: Sequence[EvaluationPhoto],
    predictions: Sequence[Prediction],
    photos: PhotoSet | None = None,
    comparisons: Sequence[Comparison] = (),
    problems: Sequence[str] = (),
) -> None:
    """Write the page.

    Args:
        chosen: the photos, as many as predictions and in the same order.
        photos: how to open them; None shows the examples without photos.

    Raises:
        ValueError: the fonts of the plots are not installed.
    """
    parts = [f"<h1>{_text(title)}</h1>", _settings(settings)]
    if problems:
        parts.append(
            "<h2>Left out</h2><ul>" + "".join(f"<li>{_text(sentence)}</li>" for sentence in problems) + "</ul>"
        )
    if comparisons:
        parts.append(_comparison(comparisons, settings))
    parts.append("<h2>Plots</h2>" + _plots(chosen, predictions))
    for group in dict.fromkeys(result.figure.group for result in results):
        parts.append(f"<h2>{_text(group)}</h2>" + _table([r for r in results if r.figure.group == group]))
    parts += [_examples(chosen, predictions, photos), _method(method)]
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )
    path.write_text(page, encoding="utf-8")


def _text(value: object) -> str:
    # A lone surrogate in a text has no UTF-8.
    return html.escape(str(value).encode("utf-8", "replace").decode())


def _settings(settings: dict[str, Any]) -> str:
    flat = {**settings, **(settings.get("parameters") or {})}
    shown = ", ".join(f"{name} {value}" for name, value in flat.items() if value is not None and name != "parameters")
    return f'<p class="quiet">{_text(shown)}</p>'


def _table(results: Sequence[Result]) -> str:
    head = "<tr><th>figure</th><th>measured</th><th>95 % interval</th><th>bar</th><th>references</th></tr>"
    rows = []
    for result in results:
        name, *numbers = cells(result)
        rows.append(
            f"<tr><td>{_text(name)}</td>" + "".join(f'<td class="number">{_text(n)}</td>' for n in numbers) + "</tr>"
        )
    return f"<table>{head}{''.join(rows)}</table>"


def _comparison(comparisons: Sequence[Comparison], settings: dict[str, Any]) -> str:
    head = "<tr>" + "".join(f"<th>{_text(name)}</th>" for name in HEADER) + "</tr>"
    rows = []
    for each in comparisons:
        name, *numbers, verdict = comparison_cells(each)
        rows.append(
            f'<tr class="{_text(each.verdict)}"><td>{_text(name)}</td>'
            + "".join(f'<td class="number">{_text(number)}</td>' for number in numbers)
            + f"<td>{_text(verdict)}</td></tr>"
        )
    against = _text(settings.get("against", "the other system"))
    return (
        f"<h2>Against {against}</h2><p>The same photos, paired; p by approximate randomisation over photos, adjusted "
        f"by Holm for {len(comparisons)} figures.</p><table>{head}{''.join(rows)}</table>"
    )


def _method(method: dict[str, Any]) -> str:
    lines = "\n".join(f"{name}: {value}" for name, value in method.items())
    return f"<h2>How it was measured</h2><pre>{_text(lines)}</pre>"


# --- Examples -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ranking:
    """Photos by how well something was written about them: photo numbers with their scores, best first."""

    name: str
    scored: list[tuple[int, float]]


def rankings(chosen: Sequence[EvaluationPhoto], predictions: Sequence[Prediction]) -> list[Ranking]:
    """Rank the photos by the CIDEr-D of 説明 and of the tweets; where there are no references, by grounding."""
    descriptions = [[p.description] if p.description is not None else [] for p in predictions]
    described = cider_scores(descriptions, [photo.captions for photo in chosen])
    tweeted = cider_scores([p.texts for p in predictions], [[t.text for t in photo.tweets] for photo in chosen])
    grounded = [[t.grounding for t in p.tweets if t.grounding is not None] for p in predictions]
    found = [_ranking("説明, by CIDEr-D against the captions", described)]
    found.append(_ranking("tweets, by their mean CIDEr-D against the references", tweeted))
    if not any(tweeted):
        found.append(_ranking("tweets, by their mean gain by the photo, the writer's own", grounded))
    return [ranking for ranking in found if ranking.scored]


def _ranking(name: str, scores: Sequence[Sequence[float]]) -> Ranking:
    means = [(place, float(np.mean(own))) for place, own in enumerate(scores) if own]
    return Ranking(name, sorted(means, key=lambda item: (-item[1], item[0])))


def _examples(chosen: Sequence[EvaluationPhoto], predictions: Sequence[Prediction], photos: PhotoSet | None) -> str:
    parts = []
    for ranking in rankings(chosen, predictions):
        count = min(EXAMPLES, (len(ranking.scored) + 1) // 2)
        best, worst = ranking.scored[:count], ranking.scored[count:][-count:][::-1]
        for which, shown in (("Best", best), ("Worst", worst)):
            examples = [_example(chosen[place], predictions[place], score, photos) for place, score in shown]
            if examples:
                parts.append(f'<h2>{which} {_text(ranking.name)}</h2><div class="examples">{"".join(examples)}</div>')
    return "".join(parts)


def _example(photo: EvaluationPhoto, prediction: Prediction, score: float, photos: PhotoSet | None) -> str:
    tweets = "".join(f"<li>{_text(t.tone or '')} {_text(t.text)}</li>" for t in prediction.tweets)
    references = [*photo.captions, *(f"{tweet.tone} {tweet.text}" for tweet in photo.tweets)]
    described = "" if prediction.description is None else f"<p>説明 {_text(prediction.description)}</p>"
    people = "".join(f"<li>{_text(reference)}</li>" for reference in references)
    return (
        f'<div class="example">{_thumbnail(photo, photos)}'
        f'<p class="quiet">{_text(photo.photo_id)} {_text(photo.species or "")} · {score:.2f}</p>'
        f"{described}<ul>{tweets}</ul>"
        + (f'<div class="quiet">By people:<ul>{people}</ul></div>' if people else "")
        + "</div>"
    )


def _thumbnail(photo: EvaluationPhoto, photos: PhotoSet | None) -> str:
    if photos is None:
        return ""
    try:
        return f'<img alt="" src="data:image/jpeg;base64,{thumbnail(photos.open(photo))}">'
    except (PhotoError, OSError) as error:
        return f'<p class="quiet">{_text(error)}</p>'


def thumbnail(photo) -> str:
    """Return a small JPEG of the photo in base64.

    Raises:
        PhotoError: the photo can't be read.
    """
    from torchvision.io import encode_jpeg
    from torchvision.transforms.v2.functional import resize

    pixels = load_photo(photo)
    scale = min(1.0, THUMBNAIL / max(pixels.shape[1:]))
    size = [max(1, round(side * scale)) for side in pixels.shape[1:]]
    jpeg = encode_jpeg(resize(pixels, size, antialias=True), quality=80)
    return base64.b64encode(jpeg.numpy().tobytes()).decode("ascii")


# --- Plots ----------------------------------------------------------------------------------------


def _plots(chosen: Sequence[EvaluationPhoto], predictions: Sequence[Prediction]) -> str:
    drawn = [plot(chosen, predictions) for plot in tqdm(PLOTS, desc="plots", unit="plot", disable=None)]
    return '<div class="plots">' + "".join(filter(None, drawn)) + "</div>"


@contextmanager
def _axes(title: str, width: float = 4.9, height: float = 3.2):
    """Give axes to draw on, and keep what was drawn as SVG in the list that is given with them."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # Letters as paths: the page needs no font, and two pages of the same figures are equal. A name may hold
    # dollar signs.
    letters = {"font.family": font_families(), "svg.fonttype": "path", "text.parse_math": False}
    with matplotlib.rc_context({**letters, "svg.hashsalt": "tweetcap"}):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(title, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        svg: list[str] = []
        yield axes, svg
        file = io.StringIO()
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None})
        text = file.getvalue()
        svg.append(text[text.index("<svg") :])


def _plot_animals(chosen: Sequence[EvaluationPhoto], predictions: Sequence[Prediction]) -> str:
    shown = [(photo, own) for photo, own in zip(chosen, predictions, strict=True) if has_animal(photo.species or "")]
    collections = {
        "説明": [(own.description, photo) for photo, own in shown if own.description is not None],
        "reference captions": [(photo.captions[0], photo) for photo, _ in shown if photo.captions],
        "tweets": [(text, photo) for photo, own in shown for text in own.texts],
        "reference tweets": [(tweet.text, photo) for photo, _ in shown for tweet in photo.tweets],
    }
    counted = {
        name: Counter(right_animal(text, photo.species) for text, photo in texts)
        for name, texts in collections.items()
        if texts
    }
    if not counted:
        return ""
    with _axes("The animal that texts name") as (axes, svg):
        names = list(counted)[::-1]
        left = np.zeros(len(names))
        for verdict, label in ((True, "right"), (False, "wrong"), (None, "none")):
            widths = np.array([100 * counted[name][verdict] / counted[name].total() for name in names])
            axes.barh(names, widths, left=left, color=COLOURS[label], label=label)
            left += widths
        axes.set_xlabel("% of texts", fontsize=8)
        axes.figure.legend(fontsize=8, ncols=3, loc="outside lower center", frameon=False)
    return svg[0]


def _plot_species(chosen: Sequence[EvaluationPhoto], predictions: Sequence[Prediction]) -> str:
    right: dict[str, list[float]] = {}
    for photo, own in zip(chosen, predictions, strict=True):
        if own.description is not None and has_animal(photo.species or ""):
            right.setdefault(photo.species, []).append(float(right_animal(own.description, photo.species) is True))
    most = sorted(right.items(), key=lambda item: (-len(item[1]), item[0]))[:SPECIES][::-1]
    if not most:
        return ""
    with _axes("説明 names the right animal, by animal") as (axes, svg):
        labels = [f"{species} ({len(hits)})" for species, hits in most]
        axes.barh(labels, [100 * np.mean(hits) for _, hits in most], color=COLOURS["right"])
        axes.set_xlim(0, 100)
        axes.set_xlabel("% of photos", fontsize=8)
    return svg[0]


def _plot_lengths(chosen: Sequence[EvaluationPhoto], predictions: Sequence[Prediction]) -> str:
    ours = [len(words_of(text)) for own in predictions for text in own.texts]
    people = [len(words_of(tweet.text)) for photo in chosen for tweet in photo.tweets]
    return _histogram("Words a tweet", "words", ours, people, whole=True)


def _plot_cider(chosen: Sequence[EvaluationPhoto], predictions: Sequence[Prediction]) -> str:
    descriptions = [[p.description] if p.description is not None else [] for p in predictions]
    scores = cider_scores(descriptions, [photo.captions for photo in chosen])
    return _histogram("CIDEr-D of 説明, photo by photo", "CIDEr-D", [score for own in scores for score in own])


def _plot_seconds(chosen: Sequence[EvaluationPhoto], predictions: Sequence[Prediction]) -> str:
    return _histogram("Time a photo", "seconds", [p.seconds for p in predictions if p.seconds is not None])


def _histogram(title: str, unit: str, ours: list[float], people: list[float] = (), *, whole: bool = False) -> str:
    if not ours:
        return ""
    low, high = min([*ours, *people]), max([*ours, *people])
    bins = np.arange(low, high + 2) - 0.5 if whole else np.linspace(low, high if high > low else low + 1, 25)
    with _axes(title) as (axes, svg):
        for numbers, label, colour in ((ours, "ours", "ours"), (people, "references", "people")):
            if len(numbers):
                weights = np.full(len(numbers), 100 / len(numbers))
                axes.hist(numbers, bins, weights=weights, alpha=0.6, color=COLOURS[colour], label=label)
        axes.set_xlabel(unit, fontsize=8)
        axes.set_ylabel("%", fontsize=8)
        if people:
            axes.legend(fontsize=8, frameon=False)
    return svg[0]


def _plot_candidates(chosen: Sequence[EvaluationPhoto], predictions: Sequence[Prediction]) -> str:
    counted: Counter[str] = Counter()
    for own in predictions:
        counted.update(own.candidates or {})
    if not counted.total():
        return ""
    with _axes("What became of the candidates") as (axes, svg):
        names = [name for name, count in counted.most_common() if count][::-1]
        bars = axes.barh(names, [100 * counted[name] / counted.total() for name in names], color=COLOURS["ours"])
        axes.bar_label(bars, fmt="%.1f", fontsize=8, padding=2)
        axes.set_xlabel(f"% of {counted.total():,}", fontsize=8)
        axes.set_xlim(0, 110)
    return svg[0]


Plot = Callable[[Sequence[EvaluationPhoto], Sequence[Prediction]], str]
PLOTS: tuple[Plot, ...] = (
    _plot_animals,
    _plot_species,
    _plot_cider,
    _plot_lengths,
    _plot_candidates,
    _plot_seconds,
)
