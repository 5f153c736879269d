"""The lines of the table: every figure with its bar, its interval and the same figure of the texts that people wrote.

`text_figures` needs the texts alone, of whatever system; `likelihood_figures` needs a model.
"""

import csv
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tweetcap.evaluate.diversity import distinct, relative_distinct, self_bleu, self_cider, vocabulary
from tweetcap.evaluate.grounding import Likelihoods, animal_counts
from tweetcap.evaluate.measures import Estimate, Measure, Quantile, Sums, estimates, mean_of_texts, ratio, total, value
from tweetcap.evaluate.novelty import is_copy, longest_copied_spans
from tweetcap.evaluate.photos import EvaluationPhoto
from tweetcap.evaluate.predictions import PASSED, Prediction
from tweetcap.evaluate.reference import Texts, reference_measures
from tweetcap.evaluate.words import words_of
from tweetcap.write.filters import fold, reason_to_drop

HIGHER, LOWER = "higher", "lower"


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        group: what it is about: a heading of the report.
        bar: what to reach, as the table shows it; empty where the line only explains.
        references: the same figure of the texts that people wrote, where it can be had.
        style: how the numbers are printed: percent, number (two decimals), fine (three), or count.
        better: "higher" or "lower"; empty where neither is.
        compared: whether two systems may be compared by it; times and counts of different runs may not.
    """

    name: str
    group: str
    measure: Measure
    bar: str = ""
    references: Measure | None = None
    style: str = "percent"
    better: str = ""
    compared: bool = True


@dataclass(frozen=True)
class Result:
    """A figure as it was measured."""

    figure: Figure
    estimate: Estimate
    references: float | None


def results_of(figures: Sequence[Figure], seed: int = 0) -> list[Result]:
    found = estimates([figure.measure for figure in figures], seed)
    return [
        Result(figure, estimate, None if figure.references is None else value(figure.references))
        for figure, estimate in zip(figures, found, strict=True)
    ]


# --- From texts -----------------------------------------------------------------------------------


def text_figures(
    photos: Sequence[EvaluationPhoto], predictions: Sequence[Prediction], training_texts: Iterable[str] | None = None
) -> list[Figure]:
    """Return what the texts alone say.

    Args:
        photos: with their references, as many as predictions and in the same order.
        training_texts: what the model may have copied from; None leaves those figures out.
    """
    tweets = [prediction.texts for prediction in predictions]
    descriptions = [[p.description] if p.description is not None else [] for p in predictions]
    figures = animal_figures(photos, descriptions, tweets)
    figures += reference_figures("説明", descriptions, [photo.captions for photo in photos])
    figures += reference_figures("tweets", tweets, [_texts(photo) for photo in photos])
    if any(tweets):
        figures += diversity_figures(photos, tweets)
    if training_texts is not None:
        figures += novelty_figures(photos, descriptions, tweets, training_texts)
    if any(tweets):
        figures += safety_figures(predictions) + own_figures(predictions)
    return figures


def _texts(photo: EvaluationPhoto) -> list[str]:
    return [tweet.text for tweet in photo.tweets]


def animal_figures(photos: Sequence[EvaluationPhoto], descriptions: Texts, tweets: Texts) -> list[Figure]:
    """Say how often texts name the photo's animal, over the photos that show one."""
    species, group = [photo.species for photo in photos], "The animal"
    described, tweeted = animal_counts(descriptions, species), animal_counts(tweets, species)
    captions = animal_counts([photo.captions[:1] for photo in photos], species)
    references = animal_counts([_texts(photo) for photo in photos], species)
    figures = []
    if described.texts.any():
        for which, bar, better in (("right", "≥ 90 %", HIGHER), ("wrong", "", LOWER), ("silent", "", "")):
            name = "説明 names no animal" if which == "silent" else f"説明 names {_THE[which]} animal"
            ours, theirs = (counts.share_of(getattr(counts, which)) for counts in (described, captions))
            figures.append(Figure(name, group, ours, bar, theirs, better=better))
    if tweeted.texts.any():
        named, wrong = tweeted.named(), tweeted.share_of(tweeted.wrong)
        figures += [
            Figure("tweets that name an animal", group, named, "≥ 40 %", references.named()),
            Figure(
                "tweets that name a wrong animal",
                group,
                wrong,
                "≤ 5 %",
                references.share_of(references.wrong),
                better=LOWER,
            ),
        ]
    return figures


_THE = {"right": "the right", "wrong": "a wrong"}


def reference_figures(kind: str, texts: Texts, references: Texts) -> list[Figure]:
    """Compare texts with what people wrote about the same photos."""
    if not any(own and theirs for own, theirs in zip(texts, references, strict=True)):
        return []
    measures = reference_measures(texts, references)
    return [
        Figure(
            f"{kind}: {name}",
            "Against references",
            measure,
            style="fine" if name in ("ROUGE-L", "CIDEr-D") else "number",
            better=HIGHER,
        )
        for name, measure in measures.items()
    ]


def diversity_figures(photos: Sequence[EvaluationPhoto], tweets: Texts) -> list[Figure]:
    """Say whether the tweets differ, of one photo and over all."""
    group = "Diversity"
    count = max(map(len, tweets))
    references = [_texts(photo) for photo in photos]
    witty = [[tweet.text for tweet in photo.tweets if tweet.style == "witty"] for photo in photos]
    # As many references as there are tweets, so that what depends on their number compares.
    as_many = [theirs[: len(own)] for own, theirs in zip(tweets, references, strict=True)]
    human = any(as_many)
    complete = [float(len(set(own)) == len(own) == count) for own in tweets]
    documents = [theirs or own for own, theirs in zip(tweets, references, strict=True)]
    figures = [
        Figure(
            f"photos with {count} different tweets",
            group,
            ratio(complete, np.ones(len(tweets))),
            "100 %",
            better=HIGHER,
        ),
        Figure(
            "Self-CIDEr of the tweets of one photo",
            group,
            self_cider(tweets, documents),
            references=self_cider(as_many, documents) if human else None,
            style="fine",
            better=HIGHER,
        ),
        Figure(
            "self-BLEU (mBLEU-4) of the tweets of one photo",
            group,
            self_bleu(tweets),
            references=self_bleu(as_many) if human else None,
            style="number",
            better=LOWER,
        ),
    ]
    for n in (1, 2):
        theirs = distinct(as_many, n) if human else None
        figures.append(
            Figure(f"distinct-{n}", group, distinct(tweets, n), references=theirs, style="fine", better=HIGHER)
        )
    for name, others, bar in (("all", references, "≥ 0.75"), ("the witty", witty, "")):
        if any(others):
            relative = relative_distinct(tweets, others)
            label = f"distinct-2 relative to {name} references"
            figures.append(Figure(label, group, relative, bar, style="number", better=HIGHER))
    words = [[len(words_of(text)) for text in own] for own in tweets]
    characters = [[len(text) for text in own] for own in tweets]
    reference_words = [[len(words_of(text)) for text in own] for own in references]
    reference_characters = [[len(text) for text in own] for own in references]
    return [
        *figures,
        Figure(
            "different words in the tweets",
            group,
            vocabulary(tweets),
            references=vocabulary(as_many) if human else None,
            style="count",
            better=HIGHER,
        ),
        Figure("words a tweet", group, mean_of_texts(words), "", mean_of_texts(reference_words), "number"),
        Figure(
            "characters a tweet", group, mean_of_texts(characters), "", mean_of_texts(reference_characters), "number"
        ),
    ]


def novelty_figures(
    photos: Sequence[EvaluationPhoto], descriptions: Texts, tweets: Texts, training_texts: Iterable[str]
) -> list[Figure]:
    """Say how much of the texts was copied from training, beside what people repeated of it without having seen it."""
    training = list(training_texts)
    if not training:
        return []
    folded = {fold(text) for text in training}
    references = [_texts(photo) for photo in photos]
    captions = [photo.captions[:1] for photo in photos]
    collections = (tweets, references, descriptions, captions)
    spans = iter(longest_copied_spans([text for texts in collections for own in texts for text in own], training))
    group, figures = "Novelty", []
    measured = [_Copied.of(texts, folded, spans) for texts in collections]
    for name, one, ours, theirs in (("tweets", "a tweet", *measured[:2]), ("説明", "a 説明", *measured[2:])):
        if not ours.texts:
            continue
        if name == "tweets":
            label = f"copies of a training text among {ours.texts:,} tweets"
            copies = Sums(ours.copied.rows, total)
            figures.append(Figure(label, group, copies, "0", style="count", better=LOWER, compared=False))
        figures += [
            Figure(f"{name} that are no training text", group, ours.new, "", theirs.new, better=HIGHER),
            Figure(f"words of {one} in the longest span from training", group, ours.span, "", theirs.span, "number"),
            Figure(f"share of {one} in that span", group, ours.covered, "", theirs.covered, better=LOWER),
        ]
    return figures


@dataclass(frozen=True)
class _Copied:
    """How much of a collection was copied, as measures over its photos."""

    texts: int
    copied: Sums
    new: Sums
    span: Sums
    covered: Sums

    @classmethod
    def of(cls, texts: Texts, folded: set[str], spans: Iterable[int]) -> "_Copied":
        """Take the next spans, one a text."""
        copied = [[float(is_copy(text, folded)) for text in own] for own in texts]
        lengths = [[next(spans) for _ in own] for own in texts]
        words = [sum(len(words_of(text)) for text in own) for own in texts]
        return cls(
            texts=sum(map(len, texts)),
            copied=mean_of_texts(copied),
            new=mean_of_texts([[1 - each for each in own] for own in copied]),
            span=mean_of_texts(lengths),
            covered=ratio([sum(own) for own in lengths], words),
        )


def safety_figures(predictions: Sequence[Prediction]) -> list[Figure]:
    """Say what each filter caught: of all candidates, where the file tells, and of the texts as they stand."""
    group, figures = "Safety", []
    counted = [Counter(prediction.candidates or {}) for prediction in predictions]
    found = sum(counted, Counter())
    reasons = [reason for reason, _ in found.most_common() if reason != PASSED]
    drawn = [sum(own.values()) for own in counted]
    if any(drawn):
        passed = ratio([own[PASSED] for own in counted], drawn)
        figures.append(Figure("candidates that pass every filter", group, passed, compared=False))
    figures += [
        Figure(f"candidates dropped: {reason}", group, ratio([own[reason] for own in counted], drawn), compared=False)
        for reason in reasons
    ]
    caught = [[float(reason_to_drop(text) is not None) for text in prediction.texts] for prediction in predictions]
    return [*figures, Figure("tweets that a filter catches", group, mean_of_texts(caught), "0 %", better=LOWER)]


def own_figures(predictions: Sequence[Prediction]) -> list[Figure]:
    """Return what the file itself says about each tweet: the writer's grounding, and the time."""
    grounded = [[t.grounding for t in p.tweets if t.grounding is not None] for p in predictions]
    seconds = np.array([math.nan if p.seconds is None else p.seconds for p in predictions], float)
    figures = []
    if any(grounded):
        gain, positive = mean_of_texts(grounded), mean_of_texts([[float(g > 0) for g in own] for own in grounded])
        figures += [
            Figure("gain of a tweet by the photo, nats, the writer's own", _OWN, gain, style="number", compared=False),
            Figure("tweets that the photo makes likelier, to the writer", _OWN, positive, compared=False),
        ]
    if not np.isnan(seconds).all():
        count = max(len(prediction.tweets) for prediction in predictions)
        for at, name in ((0.5, "median"), (0.95, "95th percentile")):
            label = f"time a photo ({count} tweets), {name}, ms"
            figures.append(Figure(label, "Speed", Quantile(1000 * seconds, at), style="count", compared=False))
    return figures


_OWN = "The model's own likelihoods"


# --- From a model ---------------------------------------------------------------------------------


def likelihood_figures(likelihoods: Likelihoods) -> list[Figure]:
    """Say what the references cost the model, and whether a text points back to its photo, to the model."""
    figures = []
    for kind, seen_bar, gain_bar in (("witty", "≤ 3.75", ""), ("plain", "", "≥ 0.15"), ("captions", "", "")):
        words, tokens, seen, unseen = likelihoods.costs[kind].T
        if not words.any():
            continue
        name = "captions" if kind == "captions" else f"{kind} tweets"
        for label, tops, bottoms, bar in (
            ("nats a word with the photo", seen, words, seen_bar),
            ("nats a word with the null image", unseen, words, ""),
            ("gain by the photo", unseen - seen, words, gain_bar),
            ("nats a token with the photo, the end counted", seen, tokens, ""),
            ("nats a token with the null image, the end counted", unseen, tokens, ""),
        ):
            figures.append(Figure(f"{name}: {label}", _OWN, ratio(tops, bottoms), bar, style="number", compared=False))
    for searching, bar in (("caption", "≥ 65 %"), ("説明", "")):
        found, tries = likelihoods.found[searching].T
        if tries.any():
            name = f"the own photo ranks first among {likelihoods.among} by its {searching}"
            figures.append(Figure(name, _OWN, ratio(found, tries), bar, better=HIGHER, compared=False))
    return figures


# --- How they are shown ---------------------------------------------------------------------------


def table(results: Sequence[Result]) -> str:
    """Return the results as a Markdown table."""
    lines = ["| figure | measured | 95 % interval | bar | references |", "|---|---|---|---|---|"]
    for result in results:
        lines.append("| " + " | ".join(cells(result)) + " |")
    return "\n".join(lines)


def cells(result: Result) -> tuple[str, str, str, str, str]:
    """Return a line of the table: name, value, interval, bar, references."""
    figure, estimate = result.figure, result.estimate
    references = "" if result.references is None else printed(result.references, figure.style)
    return figure.name, printed(estimate.value, figure.style), interval(estimate, figure.style), figure.bar, references


def interval(estimate: Estimate, style: str) -> str:
    if math.isnan(estimate.low) or estimate.low == estimate.high:
        return ""
    return f"{printed(estimate.low, style).removesuffix(' %')} to {printed(estimate.high, style)}"


def printed(number: float, style: str) -> str:
    if math.isnan(number):
        return "–"
    return {
        "percent": f"{100 * number:.1f} %",
        "number": f"{number:.2f}",
        "fine": f"{number:.3f}",
        "count": f"{number:,.0f}",
    }[style]


def to_rows(results: Sequence[Result]) -> dict[str, dict[str, Any]]:
    """Return figure → what metrics.json says of it; null says that there was nothing to measure."""
    return {
        result.figure.name: {
            "group": result.figure.group,
            "value": finite(result.estimate.value),
            "low": finite(result.estimate.low),
            "high": finite(result.estimate.high),
            "interval": result.figure.measure.interval,
            "references": None if result.references is None else finite(result.references),
            "bar": result.figure.bar,
            "better": result.figure.better,
            "style": result.figure.style,
        }
        for result in results
    }


def finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None


def save_figures(folder: Path, settings: dict[str, Any], method: dict[str, Any], results: Sequence[Result]) -> None:
    """Write metrics.json, metrics.csv and table.md."""
    rows = to_rows(results)
    text = json.dumps({**settings, "method": method, "figures": rows}, ensure_ascii=False, indent=2)
    # A photo's name that is no UTF-8 has lone surrogates, which JSON can escape.
    (folder / "metrics.json").write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    (folder / "table.md").write_text(table(results) + "\n", encoding="utf-8")
    with (folder / "metrics.csv").open("w", encoding="utf-8", newline="") as file:
        columns = ["figure", "group", "value", "low", "high", "interval", "references", "bar", "better", "style"]
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({"figure": name, **row} for name, row in rows.items())
