"""The drawing loop: one photo encoded once, all candidates drawn side by side.

Every step runs each candidate twice in one batch, with the photo and with the null memory. That gives guidance,
`log p(w|photo) + g · (log p(w|photo) − log p(w|null))` (Ho and Salimans 2022, classifier-free guidance, for words), and
at no further cost the log-likelihoods of the finished text with and without the photo, which ranking needs. Candidates
that ended leave the batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from tweetcap.model import TweetCapEncoderOutput
from tweetcap.write.engines import VOCABULARY_BLOCK, Engine

STRAGGLERS = 0.1  # share of the candidates that isn't waited for: the last few steps cost as much as the first
MOST_WORDS = 64  # likeliest words a step that nucleus sampling chooses among


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
        token_ids: (candidates, words so far); an ended text goes on with end tokens.
        log_likelihoods: (2, candidates), so far: with the photo, with the null memory.
        finished: (candidates,) bool.
    """

    token_ids: torch.Tensor
    log_likelihoods: torch.Tensor
    finished: torch.Tensor


def draw(*args, **kwargs) -> list[Candidate]:
    """Draw one text a prompt for one photo; arguments as `sketch`'s."""
    return finish(sketch(*args, **kwargs))


def finish(drawing: Iterator[Sketch]) -> list[Candidate]:
    """Draw what is left and return the candidates."""
    while True:
        try:
            next(drawing)
        except StopIteration as end:
            return end.value


@torch.inference_mode()
def sketch(
    engine: Engine,
    encoded: TweetCapEncoderOutput | None,
    prompts: Sequence[Sequence[int]],
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
        encoded: the encoder's output for one photo; None for the null memory alone.
        prompts: begin, tone, register; all of one length.
        banned: (vocab_size,) bool, tokens that are never drawn.
        temperature: 0 takes the likeliest word each time.
        generator: on the engine's device; the same state gives the same texts.
    """
    count, device, eos = len(prompts), engine.device, engine.eos_token_id
    # Drawn beforehand, so that a text's luck doesn't hang on which others ended before it.
    luck = torch.rand(max_tokens, count, generator=generator, device=device)
    token_ids = torch.full((count, max_tokens), eos, device=device)
    likelihoods = torch.zeros(2, count, device=device)
    alive = torch.arange(count, device=device)  # candidates that haven't ended
    logits, state = engine.start(encoded, prompts)
    never = torch.zeros(logits.shape[-1], device=device)
    never[: len(banned)].masked_fill_(banned, -torch.inf)
    for place in range(max_tokens):
        log_probs = logits.log_softmax(-1, dtype=torch.float32)  # (2, alive, vocabulary)
        with_photo, without = log_probs
        guided = torch.lerp(without, with_photo, 1 + guidance).add_(never)
        words = choose_words(guided, temperature, top_p, luck[place, alive])
        token_ids[alive, place] = words
        likelihoods[:, alive] += log_probs.gather(2, words.expand(2, -1).unsqueeze(2)).squeeze(2)
        going_on = words != eos
        if not going_on.all():
            rows = going_on.nonzero().squeeze(1)
            alive, words = alive[rows], words[rows]
            state = engine.keep(state, rows)
        finished = torch.ones(count, dtype=torch.bool, device=device)
        finished[alive] = False
        yield Sketch(token_ids[:, : place + 1], likelihoods, finished)
        if len(alive) <= STRAGGLERS * count:
            break
        if place + 1 < max_tokens:
            logits, state = engine.step(words, state)
    lengths = (token_ids != eos).sum(1).tolist()
    return [
        Candidate(row[:length], done, with_photo, without)
        for row, length, done, (with_photo, without) in zip(
            token_ids.tolist(), lengths, finished.tolist(), likelihoods.T.tolist(), strict=True
        )
    ]


def choose_words(scores: torch.Tensor, temperature: float, top_p: float, luck: torch.Tensor) -> torch.Tensor:
    """Return one word a row by nucleus sampling (Holtzman et al. 2020).

    Args:
        scores: (rows, vocabulary), log-probabilities up to a constant a row.
        luck: (rows,), from 0 to 1: where in the distribution the word is taken, the likeliest words first.

    Returns:
        (rows,) words.
    """
    if temperature == 0:
        return scores.argmax(-1)
    best, ids = likeliest(scores, MOST_WORDS)
    probs = (best / temperature).softmax(-1)
    upto = probs.cumsum(-1)
    # The likeliest words before which top_p isn't reached yet; the first always stays.
    nucleus = torch.where(upto - probs < top_p, upto, 0).amax(-1)
    place = (upto <= (luck * nucleus).unsqueeze(-1)).sum(-1, keepdim=True)
    return ids.gather(1, place.clamp_max(ids.shape[1] - 1)).squeeze(1)


def likeliest(scores: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the highest scores and their places, (rows, count) each, sorted: `topk` in half of its time.

    The highest are in those `count` columns of a folded vocabulary whose own best are highest.
    """
    rows, vocabulary = scores.shape
    columns = vocabulary // VOCABULARY_BLOCK
    if columns <= count or vocabulary % VOCABULARY_BLOCK:
        return scores.topk(min(count, vocabulary), -1)
    folded = scores.view(rows, VOCABULARY_BLOCK, columns)
    chosen = folded.amax(1).topk(count, -1, sorted=False).indices  # (rows, count) columns
    found = folded.gather(2, chosen[:, None].expand(-1, VOCABULARY_BLOCK, -1)).flatten(1)
    best, places = found.topk(count, -1)
    return best, places // count * columns + chosen.gather(1, places % count)
