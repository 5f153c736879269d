"""Say where a model stands: draw its predictions into a file, then score the file.

    tweetcap evaluate --corpus corpus --model runs/mine/best --split test --output runs/evaluation
    tweetcap evaluate --corpus corpus --split test --predictions new.jsonl --against old.jsonl

Scoring reads the file alone, so any system's predictions can be scored; what needs a model's likelihoods is measured
where a model is at hand. The output folder: predictions.jsonl, metrics.json, metrics.csv, table.md, comparison.md,
report.html and the contact sheets.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from tweetcap.evaluate.comparison import Comparison, compare, comparison_rows, comparison_table
from tweetcap.evaluate.contact_sheet import font_families, save_contact_sheets
from tweetcap.evaluate.figures import Figure, likelihood_figures, results_of, save_figures, table, text_figures
from tweetcap.evaluate.grounding import AMONG, measure_likelihoods
from tweetcap.evaluate.measures import RESAMPLES, SHUFFLES
from tweetcap.evaluate.photos import EvaluationPhoto, PhotoSet, read_corpus, read_dataset
from tweetcap.evaluate.predictions import Prediction, draw_predictions, match, read_predictions
from tweetcap.evaluate.reference import signatures
from tweetcap.evaluate.report import save_report
from tweetcap.evaluate.words import tokenisation
from tweetcap.write.settings import DEFAULTS
from tweetcap.write.writer import TweetWriter

PREDICTIONS = "predictions.jsonl"


def evaluate(
    *,
    corpus: str | Path | None = None,
    dataset: str | Path | None = None,
    model: str | None = None,
    split: str = "validation",
    photos: int | None = None,
    only: str | Path | None = None,
    output: str | Path | None = None,
    predictions: str | Path | None = None,
    against: str | Path | None = None,
    count: int = DEFAULTS.count,
    temperature: float = DEFAULTS.temperature,
    top_p: float = DEFAULTS.top_p,
    guidance: float = DEFAULTS.guidance,
    describe_only: bool = False,
    seed: int = 0,
    say: Callable[[str], None] = tqdm.write,
) -> str:
    """Return the table of figures, in Markdown.

    Args:
        corpus: folder of a corpus: photos, references and training texts.
        dataset: the same from Parquet that `load_dataset` reads: `image` and `captions`, or `tweets`.
        model: folder or Hub id of a checkpoint. It draws the predictions (the embedded one by default), or, beside
            `predictions`, gives the likelihoods.
        photos: take only the split's first so many.
        only: file of photo ids, one a line: take only those, as for a test set that is no split of its own.
        output: folder for the predictions and what was found. Its page and contact sheets show the corpus's photos, so
            keep them out of a repository.
        predictions: score this file and draw nothing.
        against: predictions of another system, to compare with on the photos that both have.
        count, temperature, top_p, guidance: how tweets are drawn.
        describe_only: draw no tweets, as for a model that only learned captions.
        seed: the same seed draws the same tweets.
        say: told of each photo and row that can't be used.

    Raises:
        ValueError: in one sentence, what is wrong with the input.
    """
    if corpus is not None and dataset is not None:
        raise ValueError("both a corpus and a dataset are given; choose one.")
    if predictions is None and corpus is None and dataset is None:
        raise ValueError("there is nothing to evaluate on; give a corpus or a dataset, or predictions to score.")
    if predictions is not None and model is not None and corpus is None and dataset is None:
        raise ValueError("the model's likelihoods need the photos; give the corpus or dataset that they are from.")
    if only is not None and corpus is None and dataset is None:
        raise ValueError("ids choose among photos; give the corpus or dataset that they are from.")
    if output is not None:
        font_families()  # raises now where fonts are missing, not after all the work
    photo_set = read_photos(corpus, dataset, split)
    chosen = choose_photos(photo_set, only, photos, say) if photo_set is not None else None
    writer = TweetWriter.from_pretrained(model) if predictions is None or model is not None else None
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(output) if output is not None else Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if predictions is None:
            source = folder / PREDICTIONS
            parameters = {"count": count, "temperature": temperature, "top_p": top_p, "guidance": guidance}
            parameters |= {"max_length": DEFAULTS.max_length, "seed": seed}
            tweet = not describe_only and any(photo.tweets for photo in chosen)
            draw_predictions(
                writer, photo_set, chosen, source, model=model, parameters=parameters, tweet=tweet, say=say
            )
        else:
            source = Path(predictions)
        scored = read_scored(source, chosen, photos)
        for problem in scored.problems if predictions is not None else ():
            say(problem)
        settings = {
            "model": scored.made.get("model"),
            "revision": scored.made.get("revision"),
            "corpus": str(corpus or dataset or ""),
            "split": split if chosen is not None else None,
            "photos": len(scored.photos),
            "parameters": scored.made.get("parameters") or scored.made.get("settings"),
            "likelihoods by": (model or "embedded") if writer is not None else None,
            "seed": seed,
        }
        return _score(scored, photo_set, writer, settings, against, Path(output) if output is not None else None, say)


def _score(
    scored: "Scored",
    photo_set: PhotoSet | None,
    writer: TweetWriter | None,
    settings: dict[str, Any],
    against: str | Path | None,
    output: Path | None,
    say: Callable[[str], None],
) -> str:
    """Measure, compare, and write what an output folder holds; return what is printed."""
    training = list(photo_set.training_texts()) if photo_set is not None else None
    figures = text_figures(scored.photos, scored.predictions, training)
    problems = list(scored.problems)
    if writer is not None:
        descriptions = [prediction.description for prediction in scored.predictions]
        likelihoods = measure_likelihoods(writer, photo_set, scored.photos, descriptions, settings["seed"])
        figures += likelihood_figures(likelihoods)
        problems += likelihoods.problems
    results = results_of(figures, settings["seed"])
    comparisons: list[Comparison] = []
    if against is not None:
        settings["against"] = str(against)
        comparisons = compare_files(scored, figures, against, training, settings["seed"], say)
    title = _title(settings)
    if output is not None:
        method = _method()
        extra = {"comparison": comparison_rows(comparisons)} if comparisons else {}
        save_figures(output, {**settings, **extra, "left_out": problems}, method, results)
        if comparisons:
            (output / "comparison.md").write_text(comparison_table(comparisons) + "\n", encoding="utf-8")
        save_report(
            output / "report.html",
            title=title,
            settings=settings,
            method=method,
            results=results,
            chosen=scored.photos,
            predictions=scored.predictions,
            photos=photo_set,
            comparisons=comparisons,
            problems=problems,
        )
        if photo_set is not None:
            save_contact_sheets(photo_set, scored.photos, scored.predictions, output)
    parts = [title, table(results)]
    if comparisons:
        parts += [f"Against {against}, on the same photos:", comparison_table(comparisons)]
    return "\n\n".join(parts)


def _title(settings: dict[str, Any]) -> str:
    where = f"{settings['photos']} {settings['split'] or ''} photos".replace("  ", " ")
    parameters = settings["parameters"] or {}
    count = f", {parameters['count']} tweets a photo" if parameters.get("tweet", "count" in parameters) else ""
    return f"{where}{count}, model {settings['model'] or 'unknown'}, seed {settings['seed']}"


def _method() -> dict[str, str]:
    return {
        "tokenisation": tokenisation(),
        "references": "説明 against all captions of the photo, every tweet against all tweets of the photo, any tone",
        **signatures(),
        "Self-CIDEr": "Wang and Chan 2019: square roots of the eigenvalues of the CIDEr kernel of a photo's texts",
        "self-BLEU": "BLEU-4 of each text against the others of its photo, counts summed over all texts (mBLEU-4)",
        "relative distinct-2": "at as many texts as the smaller side has, the expected value worked out (rarefaction)",
        "retrieval": f"by the model's own likelihood, among {AMONG} random photos; a tie is no first place",
        "nats": "tokens and end of a text, ÷ its words (the end is no word), or ÷ its tokens with the end",
        "intervals": f"95 %, photos resampled: bootstrap percentiles of {RESAMPLES:,} draws; where kinds of words are "
        "counted, the jackknife over photos, since a photo drawn twice would look like repetition",
        "tests": f"approximate randomisation over photos, {SHUFFLES:,} shuffles, two-sided, Holm over the table",
    }


def read_photos(corpus: str | Path | None, dataset: str | Path | None, split: str) -> PhotoSet | None:
    if corpus is not None:
        return read_corpus(corpus, split)
    return read_dataset(dataset, split) if dataset is not None else None


def choose_photos(
    photos: PhotoSet, only: str | Path | None, first: int | None, say: Callable[[str], None]
) -> list[EvaluationPhoto]:
    """Return the photos that a file of ids names, or all; and of them the first so many.

    Raises:
        ValueError: there is no such file, or it names none of the photos.
    """
    if only is None:
        return list(photos[:first])
    if not Path(only).is_file():
        raise ValueError(f"{only} is no file; give photo ids, one a line.")
    wanted = {line.strip() for line in Path(only).read_text(encoding="utf-8").splitlines() if line.strip()}
    chosen = [photo for photo in photos if photo.photo_id in wanted]
    if not chosen:
        raise ValueError(f"{only} names none of the {len(photos)} photos; ids look like {photos[0].photo_id}.")
    if len(chosen) < len(wanted):
        say(f"{only} names {len(wanted)} photos, of which {len(wanted) - len(chosen)} are not in the split.")
    return chosen[:first]


class Scored(NamedTuple):
    """Predictions with their photos, in the photos' order, and what was left out."""

    photos: list[EvaluationPhoto]
    predictions: list[Prediction]
    made: dict[str, Any]
    problems: list[str]


def read_scored(path: Path, chosen: Sequence[EvaluationPhoto] | None, first: int | None = None) -> Scored:
    """Read predictions and join them to their photos; without photos, the rows' own references count.

    Args:
        chosen: the photos to score on; None takes the file's, or its `first` so many.

    Raises:
        ValueError: no prediction is of one of the photos.
    """
    predictions, made, problems = read_predictions(path)
    if chosen is None:
        predictions = predictions[:first]
        return Scored([_own_photo(prediction) for prediction in predictions], predictions, made, problems)
    photo_of = match(predictions, chosen)
    by_photo = {photo.photo_id: p for p in predictions if (photo := photo_of.get(p.photo_id)) is not None}
    photos = [photo for photo in chosen if photo.photo_id in by_photo]
    if not photos:
        raise ValueError(f"{path} has no prediction for any of the {len(chosen)} photos; is it of another split?")
    missing = len(chosen) - len(photos)
    if missing:
        problems = [*problems, f"{path} lacks {missing} of the {len(chosen)} photos; the others are scored."]
    return Scored(photos, [by_photo[photo.photo_id] for photo in photos], made, problems)


def _own_photo(prediction: Prediction) -> EvaluationPhoto:
    return EvaluationPhoto(
        prediction.photo_id, prediction.photo, prediction.species, prediction.captions, prediction.references
    )


def compare_files(
    scored: Scored,
    figures: list[Figure],
    against: str | Path,
    training: Sequence[str] | None,
    seed: int,
    say: Callable[[str], None],
) -> list[Comparison]:
    """Compare predictions with those of another file, on the photos that both have.

    Args:
        figures: what was measured of the predictions, on all their photos.

    Raises:
        ValueError: they have no photo in common.
    """
    theirs = read_scored(Path(against), scored.photos)
    for problem in theirs.problems:
        say(problem)
    if len(theirs.photos) < len(scored.photos):
        ours = {photo.photo_id: own for photo, own in zip(scored.photos, scored.predictions, strict=True)}
        figures = text_figures(theirs.photos, [ours[photo.photo_id] for photo in theirs.photos], training)
    return compare(figures, text_figures(theirs.photos, theirs.predictions, training), seed)
