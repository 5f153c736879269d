"""What a system wrote about photos: `predictions.jsonl`, one row a photo, drawn first and scored after.

    {"photo_id": "p0012", "photo": "photos/p0012.jpg", "species": "犬",
     "references": {"captions": ["…"], "tweets": [{"tone": "つぶやき", "style": "plain", "text": "…"}]},
     "description": "…", "tweets": [{"text": "…", "tone": "つぶやき", "log_likelihood": -2.1, "grounding": 0.7}],
     "candidates": {"passed": 31, "unfinished": 2, "copy": 7}, "seconds": 0.61, "seed": 123,
     "parameters": {"count": 5, "temperature": 0.8, …}, "model": "embedded", "revision": "sha256:…"}

Of another system's file only `photo_id` or `photo` and a text (`description`, or `tweets` of objects or strings) must
be there; what `tweetcap write --output` wrote is read too. A photo that failed has `error` in place of its texts, and
the last row of a photo counts. Drawing appends row by row and goes on after a cut.
"""

import hashlib
import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from tweetcap.data.photo import PhotoError
from tweetcap.data.starter import ReferenceTweet
from tweetcap.evaluate.photos import NO_STYLE, NO_TONE, EvaluationPhoto, PhotoSet
from tweetcap.write.writer import EMBEDDED, TweetWriter

PASSED = "passed"  # of a candidate: by no filter caught


@dataclass(frozen=True)
class PredictedTweet:
    """One tweet as it was predicted; tone and grounding are None where the system doesn't give them."""

    text: str
    tone: str | None = None
    grounding: float | None = None


@dataclass(frozen=True)
class Prediction:
    """What a system wrote about one photo.

    Attributes:
        captions, references: the references that the row itself carries.
        candidates: what became of each candidate: passed, or the reason why not; empty where that is unknown.
        seconds: how long the tweets took.
    """

    photo_id: str
    photo: str
    species: str | None
    description: str | None
    tweets: tuple[PredictedTweet, ...]
    captions: tuple[str, ...] = ()
    references: tuple[ReferenceTweet, ...] = ()
    candidates: dict[str, int] | None = None
    seconds: float | None = None

    @property
    def texts(self) -> list[str]:
        return [tweet.text for tweet in self.tweets]


# --- Reading --------------------------------------------------------------------------------------


def read_predictions(path: str | Path) -> tuple[list[Prediction], dict[str, Any], list[str]]:
    """Return the predictions in the file's order, how they were made, and a sentence a row that can't be scored.

    Raises:
        ValueError: there is no such file, or no row of it can be scored.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is no file; give the predictions of a system, a JSON object a line.")
    predictions: dict[str, Prediction] = {}
    failed: dict[str, str] = {}
    problems, made = [], {}
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            photo_id = _photo_id(row)
            if "error" in row:
                failed[photo_id] = f"{path}, line {number}: {photo_id} has no prediction ({row['error']})"
                continue
            prediction = _prediction(row, photo_id)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            problems.append(f"{path}, line {number} is no prediction ({error or type(error).__name__}); left out.")
            continue
        predictions[photo_id] = prediction
        failed.pop(photo_id, None)
        made = {name: row[name] for name in ("model", "revision") if name in row}
        made |= {name: row[name] for name in ("parameters", "settings") if isinstance(row.get(name), dict)}
    problems += [sentence for photo_id, sentence in failed.items() if photo_id not in predictions]
    if not predictions:
        why = f": {problems[0]}" if problems else ""
        raise ValueError(f"{path} holds no prediction{why}; give rows with a photo and its description or tweets.")
    return list(predictions.values()), made, problems


def _photo_id(row: dict) -> str:
    """Return the photo's id, or where there is none the name of its file without the suffix."""
    if not isinstance(row, dict):
        raise ValueError("no JSON object")
    if row.get("photo_id") is not None:
        return str(row["photo_id"])
    if not isinstance(row.get("photo"), str):
        raise ValueError("neither photo_id nor photo")
    return PurePosixPath(row["photo"]).stem


def _prediction(row: dict, photo_id: str) -> Prediction:
    tweets = tuple(_tweet(tweet) for tweet in _listed(row, "tweets"))
    description = row.get("description")
    if description is not None:
        description = _text(description, "the description")
    if description is None and not tweets:
        raise ValueError("neither description nor tweets")
    references = row.get("references") or {}
    candidates = row.get("candidates")
    return Prediction(
        photo_id=photo_id,
        photo=str(row.get("photo") or photo_id),
        species=row.get("species"),
        description=description,
        tweets=tweets,
        captions=tuple(_text(caption, "a caption") for caption in _listed(references, "captions")),
        references=tuple(
            ReferenceTweet(
                tweet.get("tone") or NO_TONE, tweet.get("style") or NO_STYLE, _text(tweet["text"], "a reference")
            )
            for tweet in _listed(references, "tweets")
        ),
        candidates={str(name): int(count) for name, count in candidates.items()} if candidates else None,
        seconds=_number(row.get("seconds")),
    )


def _tweet(tweet: dict | str) -> PredictedTweet:
    if isinstance(tweet, str):
        return PredictedTweet(_text(tweet, "a tweet"))
    return PredictedTweet(_text(tweet["text"], "a tweet's text"), tweet.get("tone"), _number(tweet.get("grounding")))


def _listed(row: dict, name: str) -> list:
    """Return a list that may be missing; a text in its place would be taken for many texts of one letter."""
    value = row.get(name)
    if value is not None and not isinstance(value, list):
        raise ValueError(f"{name} is no list")
    return value or []


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{what} is no text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"{what} holds half a letter, a lone surrogate") from None
    return value


def _number(value: Any) -> float | None:
    """Return a number, None for one that is missing; some write NaN for that."""
    return float(value) if value is not None and math.isfinite(float(value)) else None


def match(predictions: Sequence[Prediction], photos: Iterable[EvaluationPhoto]) -> dict[str, EvaluationPhoto]:
    """Return the photo of each prediction that has one: by its id, its path, or its file's name without the suffix."""
    photos = list(photos)
    # The later ones win: another photo's file may have the name that is this one's id.
    found = {PurePosixPath(photo.photo).stem: photo for photo in photos}
    found |= {photo.photo: photo for photo in photos}
    found |= {photo.photo_id: photo for photo in photos}
    matched = {}
    for prediction in predictions:
        photo = found.get(prediction.photo_id) or found.get(prediction.photo)
        if photo is not None:
            matched[prediction.photo_id] = photo
    return matched


# --- Drawing --------------------------------------------------------------------------------------


def draw_predictions(
    writer: TweetWriter,
    photos: PhotoSet,
    chosen: Sequence[EvaluationPhoto],
    path: Path,
    *,
    model: str | None,
    parameters: dict[str, Any],
    describe: bool = True,
    tweet: bool = True,
    say: Callable[[str], None] = tqdm.write,
) -> None:
    """Append a row for each photo that has none in the file yet.

    Run it again after a cut to go on; photos that failed are tried again. The same seed gives a photo the same tweets
    whatever else is drawn.

    Args:
        chosen: which of the photos.
        model: what the rows call the model; None for the embedded one.
        parameters: of `TweetWriter.write`, and the seed of the run.
        say: told of each photo that can't be read.

    Raises:
        ValueError: the file isn't of this model and these parameters, or can't be written.
    """
    made_by = {
        "parameters": {**parameters, "describe": describe, "tweet": tweet},
        "revision": revision_of(model, writer),
    }
    done, errors = _resume(path, made_by)
    remaining = [photo for photo in chosen if photo.photo_id not in done]
    if not remaining:
        return
    seed = parameters["seed"]
    sampling = {name: number for name, number in parameters.items() if name != "seed"}
    warm = False
    with path.open("ab") as file:
        for photo in tqdm(remaining, desc="writing", unit="photo", disable=None):
            row: dict[str, Any] = {
                "photo_id": photo.photo_id,
                "photo": photo.photo,
                "species": photo.species,
                "references": {
                    "captions": list(photo.captions),
                    "tweets": [reference._asdict() for reference in photo.tweets],
                },
                "seed": photo_seed(seed, photo.photo_id),
            }
            try:
                opened = photos.open(photo)
                if tweet and not warm:
                    writer.write(opened, seed=0, **sampling)  # the first call is slower
                    warm = True
                row |= _texts(writer, opened, row["seed"], sampling, describe=describe, tweet=tweet)
            except (PhotoError, OSError) as error:
                row["error"] = " ".join(str(error).split())
                say(f"{photo.photo_id}: {row['error']}")
                if errors.get(photo.photo_id) == row["error"]:
                    continue  # the file says so already
            row |= {**made_by, "model": model or "embedded"}
            line = json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace")
            file.write(line + b"\n")
            file.flush()


def _texts(writer: TweetWriter, photo, seed: int, sampling: dict, *, describe: bool, tweet: bool) -> dict[str, Any]:
    texts: dict[str, Any] = {"description": None, "tweets": []}
    if tweet:
        before = Counter(writer.outcomes)
        started = time.perf_counter()
        tweets = writer.write(photo, seed=seed, **sampling)
        texts["seconds"] = round(time.perf_counter() - started, 4)
        texts["tweets"] = [asdict(own) for own in tweets]
        texts["candidates"] = dict(writer.outcomes - before)
    if describe:
        texts["description"] = writer.describe(photo)
    return texts


def photo_seed(seed: int, photo_id: str) -> int:
    """Return a photo's own seed, so that neither the order nor the other photos change its tweets."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{photo_id}".encode()).digest()[:4], "big")


def revision_of(model: str | None, writer: TweetWriter) -> str:
    """Return what tells a model's weights apart: the Hub's commit, or for a folder the hash of the weights."""
    folder = Path(model) if model else EMBEDDED
    if not folder.is_dir():
        return str(getattr(writer.model.config, "_commit_hash", None) or "unknown")
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        digest.update(file.read_bytes())
    return f"sha256:{digest.hexdigest()[:16]}"


def _resume(path: Path, made_by: dict[str, Any]) -> tuple[set[str], dict[str, str]]:
    """Return the photos that have their texts, and the errors of others; drop the line that a cut left half written."""
    if not path.exists():
        return set(), {}
    done, errors, whole = set(), {}, 0
    for number, line in enumerate(_whole_lines(path), 1):
        try:
            row = json.loads(line)
            photo_id, theirs = row["photo_id"], {name: row[name] for name in made_by}
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{path} line {number} was not drawn by tweetcap; choose another --output.") from None
        _check_same(path, made_by, theirs)
        whole += len(line)
        if "error" in row:
            errors[photo_id] = row["error"]
        else:
            done.add(photo_id)
    rest = path.stat().st_size - whole
    with path.open("rb") as file:
        file.seek(whole)
        if rest and file.read(12) != b'{"photo_id":'[:rest]:
            raise ValueError(f"{path} was not drawn by tweetcap; choose another --output.")
    os.truncate(path, whole)
    return done, errors


def _whole_lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from (line for line in file if line.endswith(b"\n"))


def _check_same(path: Path, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    flat_ours, flat_theirs = ({**made["parameters"], "revision": made["revision"]} for made in (ours, theirs))
    names = flat_ours.keys() | flat_theirs.keys()
    different = [name for name in sorted(names) if flat_ours.get(name) != flat_theirs.get(name)]
    if different:
        name = different[0]
        raise ValueError(
            f"{path} was drawn with {name} {flat_theirs.get(name)} and not {flat_ours.get(name)}; use the same options "
            "and model, or another --output."
        )
