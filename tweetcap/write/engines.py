"""What runs the decoder in the drawing loop: the network as it is, or its weights laid out for the CPU.

Both read some prompts beside a photo, then go on word by word with the photo and without it, and forget texts that
ended. `PackedEngine` is the fast one: matrix products in int8, the attention folded into two small matrices a photo.
`ModelEngine` is for everything else: the decoder of 2021, GPUs, and a network in training.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional as F

from tweetcap.model import TweetCapEncoderOutput, TweetCapForConditionalGeneration

LEAST_LOGIT = -1e4  # of what fills the vocabulary up; guidance would make no number of minus infinity
ROWS = 8  # rows are filled up to a multiple: oneDNN compiles and keeps a kernel for each number of them that it meets
# As tensors, since a Python number costs each operation a tensor of its own.
ZERO_AND_HALF, MINUS_ONE = torch.tensor(128.5), torch.tensor(-1.0)
VOCABULARY_BLOCK = 16  # the vocabulary is filled up to a multiple, for the search of the likeliest words


class Engine(Protocol):
    """Runs texts about one photo side by side, each twice: with the photo and with the null memory."""

    device: torch.device
    eos_token_id: int

    def start(
        self, encoded: TweetCapEncoderOutput | None, prompts: Sequence[Sequence[int]]
    ) -> tuple[torch.Tensor, Any]:
        """Read prompts of one length.

        Returns:
            logits of the next words (2, texts, vocabulary), with the photo and without, and a state to go on with. The
            vocabulary may be filled up at its end with words that are never drawn.
        """

    def step(self, words: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        """Read a word a text (texts,); returns as `start`."""

    def keep(self, state: Any, rows: torch.Tensor) -> Any:
        """Return the state of those texts alone that `rows` names, in its order."""


class ModelEngine:
    """Runs the network's own modules, on any device and in their own precision."""

    def __init__(self, model: TweetCapForConditionalGeneration):
        self.model = model
        self.device, self.eos_token_id = model.device, model.config.eos_token_id

    def start(self, encoded, prompts):
        memories = (self.model.decoder.read(photo, None, 1) for photo in (encoded, None))
        memory = tuple(
            torch.cat([part.expand(len(prompts), *part.shape[1:]) for part in parts])
            for parts in zip(*memories, strict=True)
        )
        return self._run(torch.tensor(prompts, device=self.device), memory, None)

    def step(self, words, state):
        return self._run(words[:, None], *state)

    def keep(self, state, rows):
        memory, carried = state
        both = torch.cat([rows, rows + len(carried[0]) // 2])
        return tuple(part[both] for part in memory), tuple(part[both] for part in carried)

    def _run(self, tokens, memory, carried):
        vectors, carried, _ = self.model.decoder(tokens.repeat(2, 1), memory, carried)
        return self.model.lm_head(vectors[:, -1]).unflatten(0, (2, -1)), (memory, carried)


class PackedLinear:
    """x Wᵀ + b in int8 where the processor has dot products of it (VNNI, AMX) and `exact` isn't set, else in float32.

    Weights have a scale a row, inputs one for all of a call; sums are float32. The weights are laid out once.

    Args:
        limit: largest absolute value that inputs can have; None looks for it at each call.
    """

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor | None, limit: float | None = None, exact: bool = False
    ):
        self.weight, self.bias, self.limit = weight.contiguous(), bias, limit
        self.quantised = not exact and weight.device.type == "cpu" and torch.cpu._is_vnni_supported()
        if self.quantised:
            self.scales = (weight.abs().amax(1) / 127).clamp_min(1e-12)
            self.zero_points = torch.zeros(len(weight), dtype=torch.int)
            rounded = (weight / self.scales[:, None]).round().to(torch.int8)
            self.weight = torch.ops.onednn.qlinear_prepack(rounded, None)

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        if not self.quantised:
            return F.linear(inputs, self.weight, self.bias)
        scale = max(self.limit or inputs.abs().amax().item(), 1e-12) / 127
        # Unsigned: for signed inputs oneDNN has no fast kernel. The half makes a rounding of the cut.
        rounded = torch.add(ZERO_AND_HALF, inputs.flatten(0, -2), alpha=1 / scale).to(torch.uint8)
        rows = len(rounded)
        rounded = F.pad(rounded, (0, 0, 0, -rows % ROWS))
        weights = (self.weight, self.scales, self.zero_points, self.bias)
        made = torch.ops.onednn.qlinear_pointwise(rounded, scale, 128, *weights, 1.0, 0, torch.float32, "none", [], "")
        return made[:rows].unflatten(0, inputs.shape[:-1])


class _Gates:
    """The four gates of an LSTM layer from one sigmoid: tanh(x) is 2 σ(2x) − 1, and takes three times as long."""

    def __init__(self, layer: nn.LSTM, exact: bool):
        parts = layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0 + layer.bias_hh_l0
        # In the order i, f, o, g, and with the 2 in the weights of g.
        from_inputs, from_hidden, bias = (
            torch.cat([i, f, o, 2 * g]) for i, f, g, o in (part.chunk(4) for part in parts)
        )
        self.from_inputs = PackedLinear(from_inputs, bias, exact=exact)
        self.from_hidden = PackedLinear(from_hidden, None, limit=1.0, exact=exact)

    def __call__(self, inputs: torch.Tensor, before: tuple[torch.Tensor, torch.Tensor]):
        """Return hidden and cell state after one more input."""
        hidden, cell = before
        i, f, o, g = self.from_inputs(inputs).add_(self.from_hidden(hidden)).sigmoid_().chunk(4, -1)
        cell = torch.addcmul(f * cell, i, torch.add(MINUS_ONE, g, alpha=2))
        return o * torch.add(MINUS_ONE, (cell + cell).sigmoid_(), alpha=2), cell


@dataclass
class _State:
    """What `PackedEngine` knows of a photo, and where each text stands.

    Attributes:
        pooled: (2, embedding_size), of the photo and of the null memory.
        keys, scores: (heads · slots, hidden_size) and (heads · slots,), the query's projection multiplied into keys.
        contexts: (heads · slots, hidden_size), the projection of the context multiplied into the values.
        copied: (heads · slots, embedding_size), the vectors of concepts and sights at their slots, zeros elsewhere.
        below, above: hidden and cell state (2, texts, hidden_size) of both layers.
        attention: (texts, heads · slots), of the last word.
    """

    pooled: torch.Tensor
    keys: torch.Tensor
    scores: torch.Tensor
    contexts: torch.Tensor
    copied: torch.Tensor
    below: tuple[torch.Tensor, torch.Tensor]
    above: tuple[torch.Tensor, torch.Tensor]
    attention: torch.Tensor


class PackedEngine:
    """Runs the decoder with attention on a CPU, in int8 where that is fast.

    The projections around the attention are multiplied into its keys and values, once a photo. All regions of the null
    memory are alike, so attention over them is worked out once. The weights are copies: what happens to the model's own
    later doesn't reach them.

    Args:
        exact: stay in float32 all the same: then greedy texts are `generate`'s.
    """

    @torch.inference_mode()
    def __init__(self, model: TweetCapForConditionalGeneration, exact: bool = False):
        config, self.decoder = model.config, model.decoder
        self.device, self.eos_token_id = model.device, config.eos_token_id
        self.heads, self.hidden_size = config.num_attention_heads, config.hidden_size
        self.num_words = model.decoder.num_words
        decoder = self.decoder
        self.below, self.above = (_Gates(lstm, exact) for lstm in (decoder.lstm_below, decoder.lstm_above))
        # The word vector, and where words can be copied a last column for the gate, which sees the upper layer alone.
        weight, bias = decoder.output.weight, decoder.output.bias
        if self.num_words:
            weight = torch.cat([weight, F.pad(decoder.copy_gate.weight, (config.hidden_size, 0))])
            bias = torch.cat([bias, decoder.copy_gate.bias])
        self.output = PackedLinear(weight, bias, limit=1.0, exact=exact)
        missing = -config.vocab_size % VOCABULARY_BLOCK
        bias = F.pad(weight.new_zeros(config.vocab_size), (0, missing), value=LEAST_LOGIT)
        self.head = PackedLinear(F.pad(model.lm_head.weight, (0, 0, 0, missing)), bias, exact=exact)
        size = config.memory_size // self.heads
        self.query = decoder.query.weight.unflatten(0, (self.heads, size)) * size**-0.5  # (heads, size, hidden_size)
        self.query_bias = decoder.query.bias.unflatten(0, (self.heads, size, 1)) * size**-0.5
        self.context = decoder.context_proj.weight.T.unflatten(0, (self.heads, size))  # (heads, size, hidden_size)
        self.null_pooled, null_key_value, _, _ = decoder.read(None, None, 1)
        self.null_context = decoder.context_proj(null_key_value[0, 0].chunk(2)[1])

    def start(self, encoded, prompts):
        state = self._read_photo(encoded)
        # Prompts with the same beginning share a row until they part.
        rows = [0] * len(prompts)
        for place, tokens in enumerate(zip(*prompts, strict=True)):
            parted: dict[tuple[int, int], int] = {}
            rows = [parted.setdefault(key, len(parted)) for key in zip(rows, tokens, strict=True)]
            if place:
                state = self.keep(state, torch.tensor([row for row, _ in parted]))
            state = self._read_words(torch.tensor([token for _, token in parted]), state)
        texts = torch.tensor(rows)
        return self._logits(state)[:, texts], self.keep(state, texts)

    def step(self, words, state):
        state = self._read_words(words, state)
        return self._logits(state), state

    def keep(self, state, rows):
        below, above = (tuple(part[:, rows] for part in layer) for layer in (state.below, state.above))
        return replace(state, below=below, above=above, attention=state.attention[rows])

    def _read_photo(self, encoded: TweetCapEncoderOutput | None) -> _State:
        decoder, heads = self.decoder, self.heads
        pooled, key_value, slot_mask, words = decoder.read(encoded, None, 1)
        key, value = (half[0].unflatten(-1, (heads, -1)).transpose(0, 1) for half in key_value.chunk(2, -1))
        scores = (key @ self.query_bias).squeeze(-1).masked_fill(~slot_mask, -torch.inf)
        copied = F.pad(words[0], (0, 0, slot_mask.shape[1] - self.num_words, 0)).repeat(heads, 1) / heads
        zeros = torch.zeros(2, 1, self.hidden_size)
        return _State(
            pooled=torch.cat([pooled, self.null_pooled]),
            keys=(key @ self.query).flatten(0, 1),
            scores=scores.flatten(),
            contexts=(value @ self.context).flatten(0, 1),
            copied=copied,
            below=(zeros, zeros),
            above=(zeros, zeros),
            attention=zeros[0],
        )

    def _read_words(self, words: torch.Tensor, state: _State) -> _State:
        inputs = self.decoder.embed(words) + state.pooled[:, None]
        below = self.below(inputs, state.below)
        low = below[0]
        scores = F.linear(low[0], state.keys, state.scores).unflatten(-1, (self.heads, -1))
        attention = scores.softmax(-1).flatten(1)
        context = torch.addmm(self.decoder.context_proj.bias, attention, state.contexts)
        above = self.above(torch.stack([low[0] + context, low[1] + self.null_context]), state.above)
        return replace(state, below=below, above=above, attention=attention)

    def _logits(self, state: _State) -> torch.Tensor:
        norm = self.decoder.output_norm
        made = self.output(torch.cat([state.below[0], state.above[0]], -1))
        vectors = norm(made[..., : norm.normalized_shape[0]])
        if self.num_words:
            vectors[0] += made[0, :, -1:].sigmoid() * (state.attention @ state.copied)
        return self.head(vectors)
