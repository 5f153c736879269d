"""The fast path: one photo encoded once, all candidates drawn side by side in one loop.

Every step runs each candidate twice in one batch, with the photo and with the null memory. That gives guidance,
`log p(w|photo) + g · (log p(w|photo) − log p(w|null))` (Ho and Salimans 2022, classifier-free guidance, for words), and
at no further cost the log-likelihoods of the finished text with and without the photo, which ranking needs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from tweetcap.model import TweetCapEncoderOutput, TweetCapForConditionalGeneration

MOST_WORDS = 256  # words a step that nucleus sampling chooses among; the rest of 9,000 never matters


@dataclass(frozen=True)
class Candidate:
    """A text as drawn.

    Attributes:
        token_ids: the text's tokens, without prompt and end.
        finished: whether the end token was drawn in time.
        log_likelihood: log p(text, end | photo, prompt) at temperature 1, in nats.
        null_log_likelihood: the same with the null memory.
    """

    token_ids: list[int]
    finished: bool
    log_likelihood: float
    null_log_likelihood: float

    @property
    def tokens(self) -> int:
        return len(self.token_ids) + 1  # the end token was drawn too

    @property
    def grounding(self) -> float:
        """Nats by which the photo makes the text likelier."""
        return self.log_likelihood - self.null_log_likelihood


@dataclass(frozen=True)
class Sketch:
    """Candidates while they are being drawn.

    Attributes:
        token_ids: (steps, candidates); an ended text goes on with end tokens.
        log_likelihoods: (2, candidates), so far: with the photo, with the null memory.
        finished: (candidates,) bool.
    """

    token_ids: list[torch.Tensor]
    log_likelihoods: torch.Tensor
    finished: torch.Tensor


def draw(*args, **kwargs) -> list[Candidate]:
    """Draw one text a prompt for one photo; arguments as `sketch`'s."""
    drawing = sketch(*args, **kwargs)
    while True:
        try:
            next(drawing)
        except StopIteration as end:
            return end.value


@torch.inference_mode()
def sketch(
    model: TweetCapForConditionalGeneration,
    encoded: TweetCapEncoderOutput,
    prompts: list[list[int]],
    *,
    banned: torch.Tensor,
    temperature: float,
    top_p: float,
    guidance: float,
    max_tokens: int = 40,
    generator: torch.Generator | None = None,
) -> Iterator[Sketch]:
    """Draw one text a prompt for one photo, yield how they stand after each word, and return the candidates.

    Args:
        encoded: the encoder's output for one photo.
        prompts: begin, tone, register; all of one length.
        banned: (vocab_size,) bool, tokens that are never drawn.
        temperature: 0 takes the likeliest word each time.
        generator: on the model's device; the same state gives the same texts.
    """
    count = len(prompts)
    memory = _both_memories(model, encoded, count)
    tokens = torch.tensor(prompts, device=model.device)
    carried, step = None, tokens
    drawn: list[torch.Tensor] = []
    likelihoods = torch.zeros(2, count, device=model.device)
    finished = torch.zeros(count, dtype=torch.bool, device=model.device)
    eos = model.config.eos_token_id
    for _ in range(max_tokens):
        vectors, carried, _ = model.decoder(step.repeat(2, 1), memory, carried)
        log_probs = model.lm_head(vectors[:, -1]).float().log_softmax(-1)  # (2 · count, vocab_size)
        with_photo, without = log_probs.chunk(2)
        guided = with_photo + guidance * (with_photo - without)
        words = _choose(guided.masked_fill(banned, -torch.inf), temperature, top_p, generator)
        words = words.masked_fill(finished, eos)
        gained = log_probs.gather(1, words.repeat(2)[:, None]).view(2, count)  # with the photo, without
        likelihoods = likelihoods + gained.masked_fill(finished, 0.0)
        drawn.append(words)
        finished = finished | (words == eos)
        yield Sketch(drawn, likelihoods, finished)
        if finished.all():
            break
        step = words[:, None]
    texts = torch.stack(drawn, 1).tolist()
    sums = likelihoods.T.tolist()
    ended = finished.tolist()
    return [
        Candidate(row[: row.index(eos)] if done else row, done, with_photo, without)
        for row, done, (with_photo, without) in zip(texts, ended, sums, strict=True)
    ]


def _both_memories(model, encoded: TweetCapEncoderOutput, count: int) -> tuple[torch.Tensor, ...]:
    """Return the memory of `count` candidates with the photo, then as many without it."""
    photo = model.decoder.read(encoded, None, 1)
    null = model.decoder.read(None, None, 1)
    return tuple(
        torch.cat([seen.expand(count, *seen.shape[1:]), unseen.expand(count, *unseen.shape[1:])])
        for seen, unseen in zip(photo, null, strict=True)
    )


def _choose(scores: torch.Tensor, temperature: float, top_p: float, generator: torch.Generator | None) -> torch.Tensor:
    """Return one word a row (rows,) of scores (rows, vocab_size) by nucleus sampling (Holtzman et al. 2020)."""
    if temperature == 0:
        return scores.argmax(-1)
    best, ids = scores.topk(min(MOST_WORDS, scores.shape[-1]), -1)  # sorted, likeliest first
    probs = (best / temperature).softmax(-1)
    before = probs.cumsum(-1) - probs
    probs = probs.masked_fill(before >= top_p, 0.0)  # the likeliest word always stays
    picked = torch.multinomial(probs, 1, generator=generator)
    return ids.gather(1, picked).squeeze(1)
