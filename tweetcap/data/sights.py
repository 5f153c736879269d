"""Teach the encoder the sights of a corpus: things, places, actions, colours and numbers that its texts speak of.

A decoder that has read of a dozen photos of a 犬 on a ソファ puts every dog there. Whether a photo makes people speak
of a word can be learnt more directly than by writing: one logistic regression a word on the CNN's pooled features, all
through one narrow layer (the word detectors of Fang et al. 2015, with every text of a photo as its label).

What the detectors say of photos that they were fitted to is too good to be true; training reads it out of fold, as
with concepts (`tweetcap/data/concepts.py`).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from fugashi import Tagger
from torch.nn import functional as F

from tweetcap.data.animals import animals_named
from tweetcap.data.starter import HUMAN, read_human_captions, read_starter
from tweetcap.model import TweetCapTokenizer, normalise
from tweetcap.model.modeling_tweetcap import TweetCapEncoder

LEAST_PHOTOS = 20  # that a word is said of
MOST_SPELLINGS = 4  # 走る, 走っ, 走り, 走ろ
CONTENT = ("名詞", "動詞", "形容詞", "形状詞")
FOLDS = 5
EPOCHS, BATCH_SIZE, LEARNING_RATE, DROPOUT = 40, 128, 1e-3, 0.5
DECAY = 1e-3  # weight of the squared length of the detectors; chosen on the validation photos, as EPOCHS
CAPTION_WEIGHT = 0.3  # of a photo without tweets: much goes unsaid


@dataclass(frozen=True)
class Sight:
    """A word that photos give rise to.

    Attributes:
        lemma: its dictionary form by unidic.
        token_ids: tokens that are its commonest spellings, the lemma itself first where it is one of them.
        prior: share of the starter's photos that it is said of.
    """

    lemma: str
    token_ids: tuple[int, ...]
    prior: float


def find_sights(folder: Path, tokenizer: TweetCapTokenizer) -> list[Sight]:
    """Return the content words, animals left out, that captions and plain tweets say of enough training photos."""
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    photos = Counter()
    starter = read_starter(folder, "train")
    for photo in starter:
        said = [pair for text in _texts(photo) for pair in content_words(text)]
        photos.update({lemma for lemma, _ in said})
        for lemma, spelling in said:
            spellings[lemma][spelling] += 1
    owner = {
        spelling: lemma
        for lemma, counts in sorted(spellings.items(), key=lambda item: sum(item[1].values()))
        for spelling in counts
    }
    sights = []
    for lemma, count in sorted(photos.items()):
        known = {
            spelling: ids[0]
            for spelling, _ in spellings[lemma].most_common()
            if owner[spelling] == lemma and not animals_named(spelling) and len(ids := tokenizer.encode(spelling)) == 1
        }
        commonest = sorted(list(known)[:MOST_SPELLINGS], key=lambda spelling: spelling != lemma)
        if count >= LEAST_PHOTOS and commonest:
            sights.append(Sight(lemma, tuple(known[spelling] for spelling in commonest), count / len(starter)))
    return sights


@lru_cache(maxsize=2**17)
def content_words(text: str) -> tuple[tuple[str, str], ...]:
    """Return (lemma, spelling) of a text's nouns, verbs and adjectives, without auxiliary verbs (いる, くれる)."""
    words = []
    for word in _tagger()(normalise(text)):
        feature = word.feature
        if feature.pos1 in CONTENT and not (feature.pos1 == "動詞" and feature.pos2 == "非自立可能"):
            words.append(((feature.lemma or word.surface).split("-")[0], word.surface))
    return tuple(words)


@dataclass(frozen=True)
class SightLabels:
    """What is said of the photos.

    Attributes:
        said: (photos, sights) 1 where a text of the photo says the word.
        weight: (photos,) how much a photo counts; 0 where nothing is said.
    """

    said: torch.Tensor
    weight: torch.Tensor


def label_sights(folder: Path, paths: Sequence[Path], lemmas: Sequence[str]) -> SightLabels:
    """Return what the texts say of the training photos at these paths."""
    texts = {photo.path: (_texts(photo), 1.0) for photo in read_starter(folder, "train")}
    if (folder / HUMAN).is_file():
        for photo in read_human_captions(folder, "train"):
            texts.setdefault(photo.path, (photo.captions, CAPTION_WEIGHT))
    place_of = {lemma: place for place, lemma in enumerate(lemmas)}
    said, weight = torch.zeros(len(paths), len(lemmas)), torch.zeros(len(paths))
    for row, path in enumerate(paths):
        own, weight[row] = texts.get(path, ((), 0.0))
        for text in own:
            for lemma, _ in content_words(text):
                if lemma in place_of:
                    said[row, place_of[lemma]] = 1.0
    return SightLabels(said, weight)


def teach_sights(encoder: TweetCapEncoder, pooled: np.ndarray, labels: SightLabels, seed: int = 0) -> np.ndarray:
    """Fit the encoder's word detectors; return what detectors say that did not see a photo's texts.

    Args:
        encoder: its `sight_head` is replaced.
        pooled: (photos, views, channels) pooled features.

    Returns:
        log-probabilities (photos, views, sights) float32, as `TweetCapEncoder.find_sights` gives.
    """
    features = torch.from_numpy(np.asarray(pooled, dtype=np.float32))
    folds = torch.from_numpy(np.random.default_rng(seed).integers(FOLDS, size=len(features)))
    found = np.zeros((*features.shape[:2], labels.said.shape[1]), np.float32)
    for fold in range(FOLDS):
        held_out = folds == fold
        if not held_out.any():  # so few photos are there
            continue
        _fit(encoder, features, labels, labels.weight * ~held_out, seed)
        with torch.no_grad():
            found[held_out.numpy()] = encoder.find_sights(features[held_out]).numpy()
    _fit(encoder, features, labels, labels.weight, seed)
    return found


def _fit(
    encoder: TweetCapEncoder, features: torch.Tensor, labels: SightLabels, weight: torch.Tensor, seed: int
) -> None:
    """Fit the detectors from the beginning: every word as often as it is said, whatever the photo shows."""
    generator = torch.Generator().manual_seed(seed)
    narrow, wide = encoder.sight_head
    share = (labels.said * weight[:, None]).sum(0) / weight.sum().clamp_min(1)
    share = share.clamp(1e-3, 1 - 1e-3)
    start = torch.randn(narrow.weight.shape, generator=generator) * narrow.in_features**-0.5
    weights = [start, torch.zeros_like(wide.weight), (share / (1 - share)).log()]
    weights = [tensor.requires_grad_() for tensor in weights]
    known = weight.nonzero().squeeze(1)
    steps = EPOCHS * max(1, len(known) // BATCH_SIZE) if len(known) else 0
    optimizer = torch.optim.AdamW(weights, lr=LEARNING_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    for _ in range(steps):
        photo = known[torch.randint(len(known), (min(BATCH_SIZE, len(known)),), generator=generator)]
        view = torch.randint(features.shape[1], photo.shape, generator=generator)
        seen = features[photo, view]
        seen = seen * (torch.rand(seen.shape, generator=generator) >= DROPOUT) / (1 - DROPOUT)
        logits = F.linear(F.linear(seen, weights[0]), weights[1], weights[2])
        losses = F.binary_cross_entropy_with_logits(logits, labels.said[photo], reduction="none").sum(1)
        loss = (losses * weight[photo]).mean() + DECAY * sum(tensor.square().sum() for tensor in weights[:2])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        for parameter, fitted in zip((narrow.weight, wide.weight, wide.bias), weights, strict=True):
            parameter.copy_(fitted)


def _texts(photo) -> Iterable[str]:
    """Return what is said of a starter photo literally: witty tweets speak of something else."""
    return (*photo.captions, *(tweet.text for tweet in photo.tweets if tweet.style == "plain"))


@lru_cache(maxsize=1)
def _tagger() -> Tagger:
    return Tagger()
