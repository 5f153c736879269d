"""From a batch to what the network is asked: cross-entropy, words of its own to read, texts of its own that are judged.

Each objective rewrites the inputs of one forward pass, and the loss is always the network's own.
"""

import copy
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from tweetcap.model import CAPTION_TONE, TweetCapEncoderOutput, TweetCapForConditionalGeneration, TweetCapTokenizer

Inputs = dict[str, Any]
Batch = Mapping[str, torch.Tensor]


def to_inputs(model: TweetCapForConditionalGeneration, batch: Batch) -> Inputs:
    """Return the model's keyword arguments for a batch: photos encoded (or taken from the cache), words hidden."""
    inputs = {"labels": batch["labels"], "photo_mask": batch["photo_mask"], "use_cache": False}
    if "pixel_values" in batch:
        # A photo of several texts is encoded once.
        outputs = rows_of(model.encoder(batch["pixel_values"]), batch["photo_rows"])
    elif "pooler_output" in batch:
        pooled = batch["pooler_output"]
        if "concept_ids" in batch:
            found = batch["concept_ids"], batch["concept_log_probs"]
        else:
            found = model.encoder.find_concepts(pooled)
        sights = batch["sight_log_probs"] if "sight_log_probs" in batch else model.encoder.find_sights(pooled)
        outputs = TweetCapEncoderOutput(batch["last_hidden_state"], pooled, *found, sights)
    else:
        return inputs
    if outputs.concept_log_probs is not None:
        outputs.concept_log_probs = outputs.concept_log_probs.masked_fill(~batch["concept_mask"], -math.inf)
    if outputs.sight_log_probs is not None:
        outputs.sight_log_probs = outputs.sight_log_probs.masked_fill(~batch["sight_mask"], -math.inf)
    return inputs | {"encoder_outputs": outputs}


def rows_of(outputs: TweetCapEncoderOutput, rows: torch.Tensor) -> TweetCapEncoderOutput:
    return TweetCapEncoderOutput(**{name: field[rows] for name, field in outputs.items()})


def text_weights(batch: Batch, power: float) -> torch.Tensor:
    """Return how much each text counts (batch,): its corpus's weight to a power.

    A corpus of posts has more weight for more likes, as Neural Joking Machine has it for more stars (Yoshida et al.
    2018). Texts with verdicts count alike here; `Verdicts` weighs them.
    """
    return torch.where(batch["judged"], 1.0, batch["weights"].clamp_min(0) ** power)


def count_tokens(batch: Batch, weights: torch.Tensor) -> float:
    return ((batch["labels"] != -100).sum(1) * weights).sum().item()


@torch.no_grad()
def unusable_texts(model: TweetCapForConditionalGeneration, inputs: Inputs) -> list[int]:
    """Return the rows whose own loss isn't a finite number."""
    return (~log_likelihoods(model, inputs, inputs["labels"]).isfinite()).nonzero().flatten().tolist()


@torch.no_grad()
def log_likelihoods(model: TweetCapForConditionalGeneration, inputs: Inputs, labels: torch.Tensor) -> torch.Tensor:
    """Return how likely the labels of each text are, in nats (batch,).

    Args:
        labels: (batch, length), what is counted of the texts in `inputs`; −100 is not.
    """
    asked = {name: value for name, value in inputs.items() if name != "labels"}
    asked.setdefault("decoder_input_ids", model.shift_right(inputs["labels"]))
    logits = model(**asked).logits
    return -F.cross_entropy(logits.float().transpose(1, 2), labels, reduction="none").sum(1)


# --- Scheduled sampling ---------------------------------------------------------------------------


@torch.no_grad()
def own_words(model: TweetCapForConditionalGeneration, inputs: Inputs, batch: Batch, probability: float) -> Inputs:
    """Let the network read some words that it drew in place of the text's own (Bengio et al. 2015).

    They are drawn for all places at once after the true beginnings, not after one another (Mihaylova and Martins
    2019): one pass more in place of one a word. Tone and register stay, and nothing is read behind an end token.
    """
    labels = inputs["labels"]
    true = model.shift_right(labels)
    places = torch.arange(labels.shape[1], device=labels.device)
    chosen = torch.rand(labels.shape, device=labels.device) < probability
    chosen &= (places > batch["prompt_lengths"][:, None]) & (labels != -100)
    before = chosen.roll(-1, 1)  # what is read at a place was drawn at the place before
    if chosen.any():
        memory = model.decoder.read(inputs.get("encoder_outputs"), inputs["photo_mask"], len(labels))
        vectors, _, _ = model.decoder(true, memory)
        drawn = draw_words(model.lm_head(vectors[before]))
        read = true.masked_scatter(chosen, drawn)
        true = torch.where(read == model.config.eos_token_id, true, read)
    return inputs | {"decoder_input_ids": true}


def draw_words(logits: torch.Tensor) -> torch.Tensor:
    """Draw a word a row, (rows, vocab_size) → (rows,): an exponential race, which gives some word for NaN too.

    `torch.multinomial` would end the run there, before the step's texts could be named.
    """
    probabilities = logits.float().softmax(-1)
    return (probabilities / torch.empty_like(probabilities).exponential_()).argmax(-1)


# --- Verdicts -------------------------------------------------------------------------------------


class Verdicts:
    """Texts that readers found good become likelier than they were at the start, texts found bad less likely.

    A text of advantage A costs −|A| log σ(sign(A) · β · Δ), Δ the nats by which it is likelier now than by the network
    as it was at first. That is the loss of direct preference optimisation (Rafailov et al. 2023, eq. 7) with each text
    set against its own beginning instead of against another text, as in Ethayarajh et al. (2024). What has moved far
    enough is left in peace. Texts with an advantage are learnt like any other too: pushing alone unlearns more than the
    bad texts (as in Pang et al. 2024).

    Args:
        first: the network as it is at the stage's start; a copy is kept.
        sharpness: β, by nats; the lower, the farther the network may go.
        strength: how much a text with an advantage of 1 counts, beside 1 of any other text.
    """

    def __init__(self, first: TweetCapForConditionalGeneration, sharpness: float, strength: float):
        self.first = copy.deepcopy(first).eval().requires_grad_(False)
        self.sharpness, self.strength = sharpness, strength

    def gains(self, model: TweetCapForConditionalGeneration, inputs: Inputs, batch: Batch) -> torch.Tensor:
        """Return sign(A) · β · Δ of each text (batch,), worked out without dropout."""
        labels = counted(batch)
        asked = {name: value for name, value in inputs.items() if name != "weights"}
        training = model.decoder.training
        model.decoder.eval()
        nats = log_likelihoods(model, asked, labels) - log_likelihoods(self.first, asked, labels)
        model.decoder.train(training)
        return batch["weights"].sign() * self.sharpness * nats

    def losses(self, model: TweetCapForConditionalGeneration, inputs: Inputs, batch: Batch) -> torch.Tensor:
        """Return the loss of each text (batch,), at its start |A| log 2."""
        return -batch["weights"].abs() * F.logsigmoid(self.gains(model, inputs, batch))

    def __call__(self, model: TweetCapForConditionalGeneration, inputs: Inputs, batch: Batch) -> Inputs:
        """Return inputs whose weights make the network's own loss have the gradient of this one, times 2 ÷ β, and of
        the nats of texts with an advantage."""
        judged = batch["judged"]
        if not judged.any():
            return inputs
        rows = judged.nonzero().flatten()
        part = {name: value[rows] for name, value in batch.items() if name in ("labels", "prompt_lengths", "weights")}
        asked = {"labels": part["labels"], "photo_mask": inputs["photo_mask"][rows], "use_cache": False}
        if "encoder_outputs" in inputs:
            asked["encoder_outputs"] = rows_of(inputs["encoder_outputs"], rows)
        weights = inputs["weights"].clone()
        pull = 2 * (-self.gains(model, asked, part)).sigmoid()
        weights[rows] = (self.strength * part["weights"] * pull + (part["weights"] > 0)).to(weights)
        labels = torch.where(judged[:, None], counted(batch), inputs["labels"])
        read = inputs.get("decoder_input_ids", model.shift_right(inputs["labels"]))
        return inputs | {"labels": labels, "decoder_input_ids": read, "weights": weights}


def counted(batch: Batch) -> torch.Tensor:
    """Return the labels without tone and register, which a text with verdicts was given."""
    places = torch.arange(batch["labels"].shape[1], device=batch["labels"].device)
    return batch["labels"].masked_fill(places < batch["prompt_lengths"][:, None], -100)


# --- Self-critical training -----------------------------------------------------------------------


class CiderReward:
    """CIDEr-D of single texts, with the document frequencies of all references.

    Args:
        references: photo → what people said of it.
    """

    def __init__(self, references: Mapping[int, Sequence[str]]):
        from pycocoevalcap.cider.cider_scorer import CiderScorer, cook_refs

        from tweetcap.evaluate.words import spaced

        log_photos = math.log(max(2, len(references)))

        class OfAllReferences(CiderScorer):
            # The scorer sets it to the number of photos that it scores just now.
            ref_len = property(lambda self: log_photos, lambda self, value: None)

        self._scorer, self._spaced = OfAllReferences, spaced
        self.references = {photo: tuple(texts) for photo, texts in references.items()}
        # A Counter says 0 of what it doesn't know, and doesn't grow by being asked.
        self._frequency: Counter[tuple[str, ...]] = Counter()
        for texts in self.references.values():
            self._frequency.update({gram for counts in cook_refs(map(spaced, texts)) for gram in counts})

    def __call__(self, photos: Sequence[int], texts: Sequence[str]) -> np.ndarray:
        """Return the reward of each text (texts,), 0 to 10; 0 for a photo without references."""
        scorer = self._scorer()
        scorer.document_frequency = self._frequency
        known = [place for place, photo in enumerate(photos) if photo in self.references]
        for place in known:
            scorer += (self._spaced(texts[place]), [self._spaced(text) for text in self.references[photos[place]]])
        rewards = np.zeros(len(texts), np.float32)
        if known:
            rewards[known] = scorer.compute_cider()
        return rewards


def judged_texts(
    model: TweetCapForConditionalGeneration,
    inputs: Inputs,
    batch: Batch,
    share: float,
    reward: CiderReward,
    tokenizer: TweetCapTokenizer,
    max_length: int,
) -> Inputs:
    """Add a drawn text for each 説明 of the batch, its loss weighted by how much better it is than the greedy one.

    Self-critical sequence training (Rennie et al. 2017): with −log p of the drawn text weighted by its reward minus
    that of the greedy text, the loss's gradient is the policy gradient. `share` of a 説明's loss is this, the rest
    stays cross-entropy; tweets are left alone, since this trains towards what references have in common.
    """
    labels, weights = inputs["labels"], inputs["weights"]
    tone = tokenizer.prompt_ids(CAPTION_TONE)[1]
    rows = ((labels[:, 0] == tone) & batch["photo_mask"]).nonzero().flatten()
    if not len(rows):
        return inputs
    outputs = rows_of(inputs["encoder_outputs"], rows)
    drawn, greedy = draw_texts(model, outputs, tone, max_length)
    photos = batch["photos"][rows].tolist()
    rewards = [reward(photos, [read_text(tokenizer, ids) for ids in texts.tolist()]) for texts in (drawn, greedy)]
    advantage = torch.from_numpy(rewards[0] - rewards[1]).to(weights)

    length = max(labels.shape[1], drawn.shape[1] + 1)
    texts = F.pad(drawn, (1, 0), value=tone)  # behind the tone, as in every text
    read = [F.pad(model.shift_right(each), (0, length - each.shape[1])) for each in (labels, texts)]
    judged = texts.clone()
    judged[:, 0] = -100  # the tone was given, not drawn
    asked = [F.pad(each, (0, length - each.shape[1]), value=-100) for each in (labels, judged)]
    kept = weights.clone()
    kept[rows] *= 1 - share
    everyone = torch.cat([torch.arange(len(labels), device=rows.device), rows])
    return {
        "labels": torch.cat(asked),
        "decoder_input_ids": torch.cat(read),
        "photo_mask": inputs["photo_mask"][everyone],
        "encoder_outputs": rows_of(inputs["encoder_outputs"], everyone),
        "weights": torch.cat([kept, share * advantage]),
        "use_cache": False,
    }


@torch.no_grad()
def draw_texts(
    model: TweetCapForConditionalGeneration, outputs: TweetCapEncoderOutput, tone: int, max_length: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a drawn and the greedy text of each photo, (photos, length): end token last, −100 behind it."""
    model.decoder.eval()
    photos = len(outputs.pooler_output)
    twice = torch.arange(photos, device=model.device).repeat(2)
    memory = model.decoder.read(rows_of(outputs, twice), None, 2 * photos)
    step = torch.tensor([[model.config.bos_token_id, tone]], device=model.device).expand(2 * photos, -1)
    carried, words = None, []
    finished = torch.zeros(2 * photos, dtype=torch.bool, device=model.device)
    while not finished.all() and len(words) < max_length:
        vectors, carried, _ = model.decoder(step, memory, carried)
        drawn, greedy = model.lm_head(vectors[:, -1]).chunk(2)
        word = torch.cat([draw_words(drawn), greedy.argmax(-1)])
        words.append(word.masked_fill(finished, -100))
        finished = finished | (word == model.config.eos_token_id)
        step = word[:, None]
    model.decoder.train()
    return torch.stack(words, 1).chunk(2)


def read_text(tokenizer: TweetCapTokenizer, ids: list[int]) -> str:
    return tokenizer.decode([token for token in ids if token != -100], skip_special_tokens=True)
