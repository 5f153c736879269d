"""Learn what `tweetcap/write/ranking.py` ranks by from candidates that were read one by one; print its tables.

    python training/fit_ranking.py --verdicts training/reports/ranking.csv --corpus CORPUS

With a corpus the features are first worked out anew by a checkpoint, and written back: another network finds other
texts likely.

A row is a candidate: its features as ranking sees them and a reader's verdicts. For each verdict there is one logistic
regression over all tones and, pulled towards it, one a tone: three hundred candidates of a tone alone are too few.
"""

import csv
import math
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import rankdata
from tqdm import tqdm

from tweetcap import TweetWriter
from tweetcap.data.starter import SPLITS, read_starter
from tweetcap.model import TWEET_TONES
from tweetcap.write.ranking import Contender, Features
from tweetcap.write.sampling import Candidate
from tweetcap.write.writer import REGISTER

VERDICTS = ("fluent", "fits", "funny")
SPREAD = 2.0  # standard deviations a tone's weights may well differ from those of all tones
FOLDS = 5


def read_verdicts(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return features (rows, features), tone and photo numbers (rows,) and the verdicts by their names."""
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    features = np.array([[float(row[name]) for name in Features._fields] for row in rows])
    tones = np.array([TWEET_TONES.index(row["tone"]) for row in rows])
    photos = np.unique([row["photo_id"] for row in rows], return_inverse=True)[1]
    return features, tones, photos, {name: np.array([float(row[name]) for row in rows]) for name in VERDICTS}


def fit(features: np.ndarray, tones: np.ndarray, verdicts: np.ndarray) -> np.ndarray:
    """Return weights (tones, 1 + features), the bias first; of standardised features a unit costs SPREAD⁻² ÷ 2 nats."""
    mean, scale = features.mean(0), features.std(0)
    inputs = np.concatenate([np.ones((len(features), 1)), (features - mean) / scale], 1)
    shape = (len(TWEET_TONES) + 1, inputs.shape[1])  # the last row is what all tones share

    def cost(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(shape)
        logits = (inputs * (weights[tones] + weights[-1])).sum(1)
        error = (expit(logits) - verdicts)[:, None] * inputs
        slope = weights * SPREAD**2
        np.add.at(slope, tones, error)
        slope[-1] += error.sum(0)
        losses = np.logaddexp(0, logits) - verdicts * logits
        return losses.sum() + 0.5 * SPREAD**2 * (weights**2).sum(), slope.ravel()

    found = minimize(cost, np.zeros(math.prod(shape)), jac=True, method="L-BFGS-B", options={"maxiter": 2000})
    weights = found.x.reshape(shape)
    weights = weights[:-1] + weights[-1]
    weights[:, 1:] /= scale
    weights[:, 0] -= weights[:, 1:] @ mean
    return weights


def auc(verdicts: np.ndarray, scores: np.ndarray) -> float:
    """Return how often a text with the verdict has a higher score than one without."""
    positive = int(verdicts.sum())
    above = rankdata(scores)[verdicts > 0].sum() - positive * (positive + 1) / 2
    return above / (positive * (len(verdicts) - positive))


def score(path: Path, corpus: Path, checkpoint: str | None) -> None:
    """Write the features of a CSV's texts anew, by a checkpoint and the photos of a starter corpus."""
    writer = TweetWriter.from_pretrained(checkpoint)
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    places = {photo.photo_id: photo.path for split in SPLITS for photo in read_starter(corpus, split)}
    photos = list(dict.fromkeys(row["photo_id"] for row in rows))
    for photo in tqdm(photos, desc="scoring", unit=" photos", disable=None):
        encoded = writer.encode([places[photo]])
        lifts = writer.sights.lifts(encoded)
        ours = [row for row in rows if row["photo_id"] == photo]
        texts, tones = [row["text"] for row in ours], [row["tone"] for row in ours]
        given = [[0] * len(ours), [REGISTER] * len(ours)]
        likelihoods = [writer.log_likelihoods(texts, tones, seen, *given) for seen in (encoded, None)]
        for row, *nats in zip(ours, *likelihoods, strict=True):
            token_ids = writer.tokenizer.encode(row["text"])
            candidate = Candidate(token_ids, True, *nats)
            contender = Contender(row["text"], row["tone"], candidate, writer.sights.lift(token_ids, lifts))
            row |= {name: f"{value:.4g}" for name, value in contender.features._asdict().items()}
    with path.open("w", encoding="utf-8", newline="") as lines:
        table = csv.DictWriter(lines, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def main(
    verdicts: Annotated[Path, typer.Option(help="CSV of candidates with features and verdicts.")],
    corpus: Annotated[Path | None, typer.Option(help="Starter folder, to work the features out anew.")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="By which; the embedded one by default.")] = None,
) -> None:
    """Print the weights of each verdict, and how well they do on photos that they weren't learnt from."""
    if corpus:
        score(verdicts, corpus, checkpoint)
    features, tones, photos, given = read_verdicts(verdicts)
    for name, values in given.items():
        scores = np.zeros(len(values))
        for fold in range(FOLDS):
            out = photos % FOLDS == fold
            weights = fit(features[~out], tones[~out], values[~out])
            scores[out] = weights[tones[out], 0] + (features[out] * weights[tones[out], 1:]).sum(1)
        print(f"# {name}: {len(values)} texts, {values.mean():.0%}, AUC on other photos {auc(values, scores):.2f}")
        for tone, row in zip(TWEET_TONES, fit(features, tones, values).tolist(), strict=True):
            print(f'    "{tone}": ({", ".join(f"{weight:.3g}" for weight in row)}),')


if __name__ == "__main__":
    typer.run(main)
