"""Why a text says what it says: word by word, where the network looked and what the photo changed."""

from collections import Counter
from dataclasses import dataclass

import torch

from tweetcap.model import TweetCapEncoderOutput, TweetCapForConditionalGeneration, TweetCapTokenizer
from tweetcap.model.tokenization_tweetcap import normalise, split_words


@dataclass(frozen=True)
class ExplainedWord:
    """One word of a text.

    Attributes:
        text: the word; empty for the end of the text.
        log_prob: log p(word | words before, photo), in nats.
        null_log_prob: the same with the null memory.
        attention: rows × columns, the share of attention on each cell of the photo, mean over heads.
        concepts: word that the network was offered, an animal or a sight → share of attention on it. With `attention`
            these sum to 1.
    """

    text: str
    log_prob: float
    null_log_prob: float
    attention: list[list[float]]
    concepts: dict[str, float]


@dataclass(frozen=True)
class Explanation:
    """A text's words, its end among them, over a photo that was squashed to a square and cut into rows × columns."""

    words: list[ExplainedWord]
    rows: int
    columns: int


@torch.inference_mode()
def explain(
    model: TweetCapForConditionalGeneration,
    tokenizer: TweetCapTokenizer,
    encoded: TweetCapEncoderOutput,
    text: str,
    prompt: list[int],
) -> Explanation:
    """Explain a text about one photo; a word of several tokens adds up their nats and averages their attention.

    Args:
        encoded: the encoder's output for one photo.
        prompt: begin, tone, register.
    """
    token_ids = [*tokenizer.encode(text), tokenizer.eos_token_id]
    words = [*_spans(tokenizer, text, token_ids[:-1]), ("", len(token_ids) - 1, len(token_ids))]
    inputs = torch.tensor([prompt + token_ids[:-1]], device=model.device)
    targets = torch.tensor(token_ids, device=model.device)
    gained = []
    for photo in (encoded, None):
        memory = model.decoder.read(photo, None, 1)
        vectors, _, seen = model.decoder(inputs, memory)
        log_probs = model.lm_head(vectors[0, len(prompt) - 1 :]).float().log_softmax(-1)  # (tokens, vocab_size)
        gained.append(log_probs.gather(1, targets[:, None])[:, 0].tolist())
        if photo is encoded:
            attention = seen[0, len(prompt) - 1 :].float()  # (tokens, slots)
    size = model.config.grid_size
    names = _offered_words(model, tokenizer, encoded)
    explained = []
    for word, start, end in words:
        looked = attention[start:end].mean(0)
        shares: Counter[str] = Counter()
        for name, share in zip(names, looked[size * size :].tolist(), strict=True):
            shares[name] += share
        explained.append(
            ExplainedWord(
                word,
                sum(gained[0][start:end]),
                sum(gained[1][start:end]),
                looked[: size * size].view(size, size).tolist(),
                dict(shares),
            )
        )
    return Explanation(explained, size, size)


def _offered_words(model, tokenizer: TweetCapTokenizer, encoded: TweetCapEncoderOutput) -> list[str]:
    """Return the words of the memory slots behind the regions: concepts whole, sights by their first spelling."""
    config = model.config
    words = []
    if config.num_concepts:
        words += [config.concept_token_ids[concept] for concept in encoded.concept_ids[0].tolist()]
    if config.num_sights:
        sights = model.decoder.choose_sights(encoded.sight_log_probs)
        words += [config.sight_token_ids[sight][:1] for sight in sights[0].tolist()]
    return [tokenizer.decode(ids) for ids in words]


def _spans(tokenizer: TweetCapTokenizer, text: str, token_ids: list[int]) -> list[tuple[str, int, int]]:
    """Return each word of a text with the place of its first token and the one behind its last."""
    spans, start = [], 0
    for word in split_words(normalise(text)):
        end = start + 1
        while tokenizer.decode(token_ids[start:end]) != word:
            end += 1
        spans.append((word, start, end))
        start = end
    return spans
