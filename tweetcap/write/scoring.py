"""How likely given texts are, with a photo and without: for evaluation and for ranking by hand."""

import torch
from torch.nn import functional as F

from tweetcap.model import TweetCapEncoderOutput, TweetCapForConditionalGeneration, TweetCapTokenizer

BATCH_SIZE = 64


@torch.inference_mode()
def log_likelihoods(
    model: TweetCapForConditionalGeneration,
    tokenizer: TweetCapTokenizer,
    texts: list[str],
    prompts: list[list[int]],
    encoded: TweetCapEncoderOutput | None,
    rows: list[int] | None = None,
) -> list[float]:
    """Return log p(text, end | prompt, photo) in nats for each text.

    Args:
        prompts: what stands before each text: begin, tone, register.
        encoded: the encoder's output for some photos; None for the null memory.
        rows: for each text the row of its photo in `encoded`; left out, they run in parallel.
    """
    rows = list(range(len(texts))) if rows is None else rows
    sums = []
    for start in range(0, len(texts), BATCH_SIZE):
        batch = range(start, min(start + BATCH_SIZE, len(texts)))
        sequences = [
            torch.tensor(prompts[i][1:] + tokenizer.encode(texts[i]) + [tokenizer.eos_token_id]) for i in batch
        ]
        labels = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True, padding_value=-100).to(model.device)
        inputs = model.shift_right(labels)
        for place, i in enumerate(batch):
            labels[place, : len(prompts[i]) - 1] = -100
        photos = None if encoded is None else select(encoded, [rows[i] for i in batch])
        logits = model(encoder_outputs=photos, decoder_input_ids=inputs, use_cache=False).logits
        losses = F.cross_entropy(logits.float().transpose(1, 2), labels, reduction="none")  # (batch, length)
        sums += (-losses.sum(1)).tolist()
    return sums


def select(encoded: TweetCapEncoderOutput, rows: list[int]) -> TweetCapEncoderOutput:
    """Return the encoder's output for chosen photos; a photo may be chosen more than once."""
    return TweetCapEncoderOutput(**{name: tensor[rows] for name, tensor in encoded.items()})
