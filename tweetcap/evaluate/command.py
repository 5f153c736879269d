"""Measure a checkpoint on a corpus with references, and print the table that says how good it is.

    tweetcap evaluate --corpus corpus --split validation --output runs/evaluation

The writer draws tweets and a description for each photo at its defaults, and scores the references: how many
nats a word they cost it with the photo and with the null image, and whether a caption points back to its own
photo. Nats are those of the text's tokens and its end, ÷ the text's unidic-lite words (+ 0 for the end), so
that figures of different vocabularies compare.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tweetcap.data.animals import has_animal, right_animal
from tweetcap.data.starter import StarterPhoto, read_starter, read_training_texts
from tweetcap.evaluate.contact_sheet import font_families, save_contact_sheets
from tweetcap.evaluate.metrics import (
    Estimate,
    animal_counts,
    copies,
    first_rank_chance,
    ratio,
    relative_distinct,
    words_of,
)
from tweetcap.model import CAPTION_TONE, TweetCapEncoderOutput
from tweetcap.write.filters import fold
from tweetcap.write.settings import DEFAULTS
from tweetcap.write.writer import TweetWriter

SCORED_AT_ONCE = 20  # photos
AMONG = 20  # photos that a caption has to find its own among
RETRIEVAL_ROUNDS = 2  # random partitions into groups of AMONG


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        bar: what to reach, as the table shows it; empty where the line only explains.
        references: the same figure of the texts that people wrote, where it can be had.
        style: how the numbers are printed: percent, number (two decimals), or count.
    """

    name: str
    estimate: Estimate
    bar: str = ""
    references: float | None = None
    style: str = "percent"


def evaluate(
    *,
    corpus: str | Path,
    model: str | None = None,
    split: str = "validation",
    photos: int | None = None,
    output: str | Path | None = None,
    seed: int = 0,
    count: int = DEFAULTS.count,
) -> str:
    """Return the table of figures, in Markdown.

    Args:
        corpus: folder of the starter corpus.
        model: folder or Hub id of a checkpoint; the embedded one by default.
        photos: take only the split's first so many.
        output: folder for metrics.json, predictions.jsonl and the contact sheets. The sheets show the
            corpus's photos, so keep them out of a repository.
        seed: the same seed draws the same tweets.
        count: tweets a photo.

    Raises:
        ValueError: the folder isn't a corpus, or the fonts of the contact sheets are missing.
        PhotoError: a photo can't be read.
    """
    corpus = Path(corpus)
    if output is not None:
        font_families()  # raises now where fonts are missing, not after all the work
    starter = read_starter(corpus, split)[:photos]
    writer = TweetWriter.from_pretrained(model)
    predictions, seconds = draw(writer, starter, corpus, count=count, seed=seed)
    encoded = writer.encode([photo.path for photo in starter])
    figures = [
        *animal_figures(predictions, starter, seed),
        *score_figures(writer, encoded, starter, seed),
        retrieval_figure(writer, encoded, starter, seed),
        *variety_figures(predictions, starter, read_training_texts(corpus), count=count, seed=seed),
        Figure(
            f"time a photo ({count} tweets), median, ms",
            _exactly(1000 * float(np.median(seconds))),
            style="count",
        ),
    ]
    title = f"{len(starter)} {split} photos, {count} tweets a photo, model {model or 'embedded'}, seed {seed}"
    if output is not None:
        output = Path(output)
        output.mkdir(parents=True, exist_ok=True)
        settings = {
            "model": model or "embedded",
            "split": split,
            "photos": len(starter),
            "count": count,
            "seed": seed,
        }
        save_metrics(output / "metrics.json", settings, figures)
        save_rows(output / "predictions.jsonl", predictions)
        save_contact_sheets(predictions, corpus, output)
    return f"{title}\n\n{table(figures)}"


def draw(
    writer: TweetWriter, photos: Sequence[StarterPhoto], corpus: Path, *, count: int, seed: int
) -> tuple[list[dict], list[float]]:
    """Return a row a photo (photo, description, tweets) and the seconds that each photo's tweets took."""
    rows, seconds = [], []
    writer.write(photos[0].path, count=count, seed=seed)  # warms up: the first call is slower
    for photo in tqdm(photos, desc="writing", unit="photo", disable=None):
        started = time.perf_counter()
        tweets = writer.write(photo.path, count=count, seed=photo_seed(seed, photo.photo_id))
        seconds.append(time.perf_counter() - started)
        rows.append(
            {
                "photo_id": photo.photo_id,
                "photo": photo.path.relative_to(corpus).as_posix(),
                "species": photo.species,
                "description": writer.describe(photo.path),
                "tweets": [asdict(tweet) for tweet in tweets],
            }
        )
    return rows, seconds


def photo_seed(seed: int, photo_id: str) -> int:
    """Return a photo's own seed, so that neither the order nor the other photos change its tweets."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{photo_id}".encode()).digest()[:4], "big")


def animal_figures(predictions: Sequence[dict], photos: Sequence[StarterPhoto], seed: int) -> list[Figure]:
    """Say how often texts name the photo's animal, over the photos that show one."""
    shown = [(row, photo) for row, photo in zip(predictions, photos, strict=True) if has_animal(photo.species)]
    described = [right_animal(row["description"], photo.species) for row, photo in shown]
    captioned = [right_animal(photo.caption, photo.species) for _, photo in shown]
    ones = np.ones(len(shown))

    def named(texts_of: Callable[[dict, StarterPhoto], list[str]]) -> tuple[Estimate, Estimate]:
        texts = [texts_of(row, photo) for row, photo in shown]
        counts = [animal_counts(own, photo.species) for own, (_, photo) in zip(texts, shown, strict=True)]
        totals = [len(own) for own in texts]
        return tuple(ratio([pair[which] for pair in counts], totals, seed) for which in (0, 1))

    any_animal, wrong_animal = named(lambda row, _: [tweet["text"] for tweet in row["tweets"]])
    any_reference, wrong_reference = named(lambda _, photo: [tweet.text for tweet in photo.tweets])
    return [
        Figure(
            "説明 names the right animal",
            ratio([verdict is True for verdict in described], ones, seed),
            "≥ 90 %",
            _share(captioned, True),
        ),
        Figure(
            "説明 names a wrong animal",
            ratio([verdict is False for verdict in described], ones, seed),
            references=_share(captioned, False),
        ),
        Figure("tweets that name an animal", any_animal, "≥ 40 %", any_reference.value),
        Figure("tweets that name a wrong animal", wrong_animal, "≤ 5 %", wrong_reference.value),
    ]


def score_figures(
    writer: TweetWriter, encoded: TweetCapEncoderOutput, photos: Sequence[StarterPhoto], seed: int
) -> list[Figure]:
    """Say what the reference texts cost the model, in nats a word, with the photo and without.

    Args:
        encoded: the encoder's output for the photos, a row each.
    """
    kinds = ("witty", "plain", "captions")
    sums = {kind: np.zeros((len(photos), 3)) for kind in kinds}  # words, nats with the photo, nats without
    with tqdm(total=len(photos), desc="scoring", unit="photo", disable=None) as bar:
        for start in range(0, len(photos), SCORED_AT_ONCE):
            chunk = range(start, min(start + SCORED_AT_ONCE, len(photos)))
            rows = [(index, *text) for index in chunk for text in reference_texts(photos[index])]
            indices, tones, registers, texts = zip(*rows, strict=True)
            seen = writer.log_likelihoods(texts, tones, encoded, indices, registers)
            unseen = writer.log_likelihoods(texts, tones, None, None, registers)
            for index, kind, text, nats_seen, nats_unseen in zip(indices, registers, texts, seen, unseen, strict=True):
                sums[kind or "captions"][index] += (len(words_of(text)), -nats_seen, -nats_unseen)
            bar.update(len(chunk))

    figures = []
    for kind, seen_bar, gain_bar in (("witty", "≤ 3.75", ""), ("plain", "", "≥ 0.15"), ("captions", "", "")):
        words, seen, unseen = sums[kind].T
        name = "captions" if kind == "captions" else f"{kind} tweets"
        figures += [
            Figure(f"{name}: nats a word with the photo", ratio(seen, words, seed), seen_bar, style="number"),
            Figure(f"{name}: nats a word with the null image", ratio(unseen, words, seed), style="number"),
            Figure(f"{name}: gain by the photo", ratio(unseen - seen, words, seed), gain_bar, style="number"),
        ]
    return figures


def reference_texts(photo: StarterPhoto) -> Iterable[tuple[str, str | None, str]]:
    """Yield (tone, register, text) of a photo's references; of the captions only the project's own."""
    yield CAPTION_TONE, None, photo.caption
    for tweet in photo.tweets:
        yield tweet.tone, tweet.style, tweet.text


def retrieval_figure(
    writer: TweetWriter, encoded: TweetCapEncoderOutput, photos: Sequence[StarterPhoto], seed: int
) -> Figure:
    """Say how often a caption is likelier with its own photo than with each of 19 others."""
    rng = np.random.default_rng(seed)
    among = min(AMONG, len(photos))
    hits, tries = np.zeros(len(photos)), np.zeros(len(photos))
    groups = [group for _ in range(RETRIEVAL_ROUNDS) for group in _groups(rng.permutation(len(photos)), among)]
    for group in tqdm(groups, desc="retrieval", unit="group", disable=None):
        captions = [photos[index].caption for index in group for _ in group]
        rows = [int(index) for _ in group for index in group]
        scores = writer.log_likelihoods(captions, [CAPTION_TONE] * len(captions), encoded, rows)
        hits[group] += first_rank_chance(np.reshape(scores, (among, among)), among)
        tries[group] += 1
    name = f"the own photo ranks first among {among} by its caption"
    return Figure(name, ratio(hits, tries, seed), "≥ 65 %")


def _groups(order: np.ndarray, size: int) -> list[np.ndarray]:
    """Cut into groups of one size; the last borrows from the first where the photos don't come out even."""
    padded = np.concatenate([order, order[: -len(order) % size]])
    return list(padded.reshape(-1, size))


def variety_figures(
    predictions: Sequence[dict],
    photos: Sequence[StarterPhoto],
    training_texts: Sequence[str],
    *,
    count: int,
    seed: int,
) -> list[Figure]:
    """Say whether the tweets differ from each other and from what was trained on."""
    by_photo = [[tweet["text"] for tweet in row["tweets"]] for row in predictions]
    texts = [text for own in by_photo for text in own]
    complete = [len(set(own)) == len(own) == count for own in by_photo]
    references = [tweet for photo in photos for tweet in photo.tweets]
    witty = [tweet.text for tweet in references if tweet.style == "witty"]
    copied = copies(texts, {fold(text) for text in training_texts})
    return [
        Figure(f"photos with {count} different tweets", ratio(complete, np.ones(len(complete)), seed), "100 %"),
        Figure(
            "distinct-2 relative to all references",
            _exactly(relative_distinct(texts, [tweet.text for tweet in references], seed=seed)),
            "≥ 0.75",
            style="number",
        ),
        Figure(
            "distinct-2 relative to the witty references",
            _exactly(relative_distinct(texts, witty, seed=seed)),
            style="number",
        ),
        Figure(f"copies of a training text among {len(texts)} tweets", _exactly(len(copied)), "0", style="count"),
    ]


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as a Markdown table."""
    lines = ["| figure | measured | 95 % interval | bar | references |", "|---|---|---|---|---|"]
    for figure in figures:
        value, low, high = (_print(number, figure.style) for number in asdict(figure.estimate).values())
        interval = "" if figure.estimate.low == figure.estimate.high else f"{low} to {high}"
        references = "" if figure.references is None else _print(figure.references, figure.style)
        lines.append(f"| {figure.name} | {value} | {interval} | {figure.bar} | {references} |")
    return "\n".join(lines)


def save_metrics(path: Path, settings: dict, figures: Sequence[Figure]) -> None:
    rows = {
        figure.name: {
            **{name: _finite(number) for name, number in asdict(figure.estimate).items()},
            "bar": figure.bar,
            "references": figure.references if figure.references is None else _finite(figure.references),
        }
        for figure in figures
    }
    text = json.dumps({**settings, "figures": rows}, ensure_ascii=False, indent=2)
    path.write_text(text + "\n", encoding="utf-8")


def save_rows(path: Path, rows: Iterable[dict]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _share(verdicts: Sequence[bool | None], wanted: bool) -> float:
    return sum(verdict is wanted for verdict in verdicts) / len(verdicts) if verdicts else math.nan


def _exactly(value: float) -> Estimate:
    return Estimate(float(value), float(value), float(value))


def _finite(number: float) -> float | None:
    # NaN is no JSON; null says that there was nothing to measure.
    return None if math.isnan(number) else number


def _print(number: float, style: str) -> str:
    if math.isnan(number):
        return "–"
    return {"percent": f"{100 * number:.1f} %", "number": f"{number:.2f}", "count": f"{number:.0f}"}[style]
