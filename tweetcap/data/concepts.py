"""Teach the encoder's class rows the animals of a corpus: ImageNet's rows are where they begin, not where they end.

ImageNet's classifier sums 118 breeds into one 犬 that wins every doubtful photo, and has never heard of giraffes. The
rows are fitted on once more, to the labels of the corpus's photos, with rows of their own for animals that ImageNet
lacks and one for a photo without an animal. The CNN below stays as it is.

What the fitted rows say of the photos they were fitted to is nearly always right; a decoder that learnt from that would
believe them blindly. So training reads concepts out of fold: of each photo, what rows say that never saw its label.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from tweetcap.data.animals import animals_named, concepts, has_animal, right_animal
from tweetcap.data.starter import HUMAN, read_human_captions, read_starter
from tweetcap.model.modeling_tweetcap import TweetCapEncoder

LEAST_PHOTOS = 4  # an animal that ImageNet lacks needs so many to get a row of its own
FOLDS = 5
EPOCHS, BATCH_SIZE, LEARNING_RATE, DROPOUT = 40, 128, 1e-3, 0.5  # chosen on the validation photos
PULL = 1e-4  # weight of the squared distance from ImageNet's rows
CAPTION_WEIGHT = 0.3  # of a photo whose animals were read from captions: some go unmentioned


def concept_words(folder: Path) -> dict[str, list[int]]:
    """Return word → class rows: ImageNet's animals, then those that only the corpus's training photos show.

    Rows beyond ImageNet's follow its last animal; one row more, behind all of them, is for photos without an animal.
    """
    words = concepts()
    counts = Counter(photo.species for photo in read_starter(folder, "train"))
    row = 1 + max(row for rows in words.values() for row in rows)
    for word, count in sorted(counts.items()):
        if has_animal(word) and word not in words and count >= LEAST_PHOTOS:
            words[word] = [row]
            row += 1
    return words


@dataclass(frozen=True)
class ConceptLabels:
    """What the photos show.

    Attributes:
        fits: (photos, concepts + 1) which concepts are right for a photo; the last column means no animal.
        weight: (photos,) how much a photo counts; 0 where nothing is known.
    """

    fits: torch.Tensor
    weight: torch.Tensor


def label_photos(folder: Path, paths: Sequence[Path], words: Sequence[str]) -> ConceptLabels:
    """Return what the training photos at these paths show: the starter's species, else the animals in captions."""
    species = {photo.path: {photo.species} for photo in read_starter(folder, "train")}
    captioned = read_human_captions(folder, "train") if (folder / HUMAN).is_file() else []
    mentioned = {
        photo.path: {animal for caption in photo.captions for animal in animals_named(caption)} for photo in captioned
    }
    fits, weight = torch.zeros(len(paths), len(words) + 1, dtype=torch.bool), torch.zeros(len(paths))
    for place, path in enumerate(paths):
        animals = {name for name in species.get(path, mentioned.get(path, ())) if has_animal(name)}
        right = [any(right_animal(word, animal) for animal in animals) for word in words]
        fits[place] = torch.tensor([*right, not animals])
        if fits[place].any() and (path in species or path in mentioned):
            weight[place] = 1.0 if path in species else CAPTION_WEIGHT
    return ConceptLabels(fits, weight)


def teach_concepts(
    encoder: TweetCapEncoder, classifier: nn.Linear, pooled: np.ndarray, labels: ConceptLabels, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Fit the encoder's class rows to labelled photos; return what rows say that did not see a photo's label.

    Args:
        encoder: its class rows are replaced.
        classifier: ImageNet's, where the rows begin; those of other animals begin as the mean of ImageNet's animals.
        pooled: (photos, views, channels) pooled features.

    Returns:
        concept ids and log-probabilities, each (photos, views, concepts), as `TweetCapEncoder.find_concepts` gives.
    """
    features = torch.from_numpy(np.asarray(pooled, dtype=np.float32))
    start = first_rows(encoder, classifier)
    folds = torch.from_numpy(np.random.default_rng(seed).integers(FOLDS, size=len(features)))
    shape = (*features.shape[:2], encoder.num_concepts)
    ids, log_probs = np.zeros(shape, np.int64), np.zeros(shape, np.float32)
    for fold in range(FOLDS):
        held_out = folds == fold
        if not held_out.any():  # so few photos are there
            continue
        _fit(encoder, start, features, labels, labels.weight * ~held_out, seed)
        with torch.no_grad():
            found = encoder.find_concepts(features[held_out].flatten(0, 1))
        mine = held_out.numpy()  # numpy takes a tensor of one element for a number
        ids[mine], log_probs[mine] = (part.view(-1, *shape[1:]).numpy() for part in found)
    _fit(encoder, start, features, labels, labels.weight, seed)
    return ids, log_probs


def first_rows(encoder: TweetCapEncoder, classifier: nn.Linear) -> dict[str, torch.Tensor]:
    """Return where the class rows begin, as a state of `class_head`: ImageNet's animals, their mean for all others."""
    known = 1 + max(row for rows in concepts().values() for row in rows)
    more = encoder.class_head.out_features - known
    return {
        name: torch.cat([rows[:known], rows[:known].mean(0, keepdim=True).expand(more, *rows.shape[1:])])
        for name, rows in classifier.state_dict().items()
    }


def _fit(
    encoder: TweetCapEncoder,
    start: dict[str, torch.Tensor],
    features: torch.Tensor,
    labels: ConceptLabels,
    weight: torch.Tensor,
    seed: int,
) -> None:
    """Fit the class rows from their start; a photo's loss is −log of what its right concepts have together.

    Without a photo of which something is known they stay as they start.
    """
    encoder.class_head.load_state_dict(start)
    generator = torch.Generator().manual_seed(seed)
    known = weight.nonzero().squeeze(1)
    if not len(known):
        return
    rows = {name: tensor.clone().requires_grad_() for name, tensor in start.items()}
    steps = EPOCHS * max(1, len(known) // BATCH_SIZE)
    optimizer = torch.optim.AdamW(rows.values(), lr=LEARNING_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        photo = known[torch.randint(len(known), (min(BATCH_SIZE, len(known)),), generator=generator)]
        view = torch.randint(features.shape[1], photo.shape, generator=generator)
        seen = features[photo, view]
        seen = seen * (torch.rand(seen.shape, generator=generator) >= DROPOUT) / (1 - DROPOUT)
        class_log_probs = F.linear(seen, rows["weight"], rows["bias"]).log_softmax(-1)
        right = labels.fits[photo][:, encoder.concept_of_class]  # (batch, classes)
        losses = -class_log_probs.masked_fill(~right, -1e9).logsumexp(-1)
        loss = (losses * weight[photo]).sum() / weight[photo].sum()
        loss = loss + PULL * (rows["weight"] - start["weight"]).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    encoder.class_head.load_state_dict({name: tensor.detach() for name, tensor in rows.items()})
