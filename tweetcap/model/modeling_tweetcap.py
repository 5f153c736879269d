"""The network: a timm CNN reads the photo, two LSTM layers with attention between them write the text.

    word, pooled photo ─► LSTM ─► attention over regions and concepts ─► LSTM ─► word vector ─► next word

Both LSTM layers run over a whole sequence in one call, since the attention hangs on the lower layer only. Regions are
cells of the CNN's last feature map. Concepts are the likeliest few animal words by the CNN's own ImageNet classes,
offered as memory slots made from the words' (tied) embeddings, so that an animal can be named that the tweets hardly
ever showed. Sights are offered in the same way: words for things, places and actions, by detectors of their own. A text
without a photo reads a learned null memory instead.

Checkpoints of the predecessor of 2021 have another decoder, `TweetCapPhotoFirstDecoder`, behind the same calls.
"""

import math
from dataclasses import dataclass

import timm
import torch
from torch import nn
from torch.nn import functional as F
from transformers import GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import ModelOutput

from .configuration_tweetcap import TweetCapConfig

LEAST_LOG_PROB = -14.0  # nats; a concept's log-probability is cut here, and -inf is left to mean "hidden"


@dataclass
class TweetCapEncoderOutput(ModelOutput):
    """What the encoder says of a photo.

    Attributes:
        last_hidden_state: (batch, regions, channels) feature map, averaged to the configured grid.
        pooler_output: (batch, channels) its mean.
        concept_ids: (batch, concepts) the likeliest concepts, best first.
        concept_log_probs: (batch, concepts) their log-probability among all classes, in nats.
        sight_log_probs: (batch, all sights) for each word the log-probability that it is said of the photo, in nats.
    """

    last_hidden_state: torch.FloatTensor | None = None
    pooler_output: torch.FloatTensor | None = None
    concept_ids: torch.LongTensor | None = None
    concept_log_probs: torch.FloatTensor | None = None
    sight_log_probs: torch.FloatTensor | None = None


@dataclass
class TweetCapOutput(ModelOutput):
    """Output of [`TweetCapForConditionalGeneration`].

    Attributes:
        loss: mean negative log-likelihood of the labels in nats a token, where labels were given.
        logits: (batch, length, vocab_size); None in training mode with labels, where only the loss is worked out.
        state: tuple of tensors, batch first: LSTM states and the memory of the photo; pass it back to go on.
        encoder_last_hidden_state: (batch, regions, channels), where there is a photo.
        cross_attentions: (batch, length, regions + concepts + sights) attention weights, mean over heads, where asked
            for.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    state: tuple[torch.FloatTensor, ...] | None = None
    encoder_last_hidden_state: torch.FloatTensor | None = None
    cross_attentions: torch.FloatTensor | None = None


class TweetCapEncoder(nn.Module):
    """A timm CNN without its classifier, and beside it the class rows of concepts and the detectors of sights."""

    main_input_name = "pixel_values"

    def __init__(self, config: TweetCapConfig):
        super().__init__()
        self.grid_size = config.grid_size
        self.num_concepts, self.all_concepts = config.num_concepts, len(config.concept_classes)
        self.cnn = timm.create_model(config.encoder_name, pretrained=False, num_classes=0)
        if self.cnn.num_features != config.encoder_channels:
            raise ValueError(
                f"{config.encoder_name} has {self.cnn.num_features} channels, not {config.encoder_channels}; "
                "correct encoder_channels."
            )
        if self.num_concepts:
            self.class_head = nn.Linear(config.encoder_channels, config.num_classes)
            # (classes,) the concept of each class row; rows of no concept share one bin behind the last.
            concept_of_class = [self.all_concepts] * config.num_classes
            for concept, classes in enumerate(config.concept_classes):
                for row in classes:
                    concept_of_class[row] = concept
            self.register_buffer("concept_of_class", torch.tensor(concept_of_class))
        self.has_sights = config.num_sights > 0
        if self.has_sights:
            self.sight_head = nn.Sequential(
                nn.Linear(config.encoder_channels, config.sight_rank, bias=False),
                nn.Linear(config.sight_rank, len(config.sight_token_ids)),
            )

    def forward(self, pixel_values: torch.Tensor, **kwargs) -> TweetCapEncoderOutput:
        """Encode photos.

        Args:
            pixel_values: (batch, 3, height, width), normalised by the image processor.
        """
        features = self.cnn.forward_features(pixel_values)  # (batch, channels, rows, columns)
        pooled = features.mean((2, 3))  # (batch, channels)
        regions = F.adaptive_avg_pool2d(features, self.grid_size).flatten(2).transpose(1, 2)
        concept_ids, concept_log_probs = self.find_concepts(pooled)
        return TweetCapEncoderOutput(
            last_hidden_state=regions,
            pooler_output=pooled,
            concept_ids=concept_ids,
            concept_log_probs=concept_log_probs,
            sight_log_probs=self.find_sights(pooled),
        )

    def find_concepts(self, pooled: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Return ids and log-probabilities (batch, concepts) of the likeliest concepts of pooled features."""
        if not self.num_concepts:
            return None, None
        class_probs = self.class_head(pooled).float().softmax(-1)  # (batch, classes)
        probs = class_probs.new_zeros(len(pooled), self.all_concepts + 1)  # the last bin is of no concept
        probs = probs.index_add(1, self.concept_of_class, class_probs)[:, :-1]
        best = probs.topk(self.num_concepts, dim=-1)
        return best.indices, best.values.log().clamp_min(LEAST_LOG_PROB)

    def find_sights(self, pooled: torch.Tensor) -> torch.Tensor | None:
        """Return log-probabilities (…, all sights) of pooled features (…, channels)."""
        return F.logsigmoid(self.sight_head(pooled).float()) if self.has_sights else None


class TweetCapDecoder(nn.Module):
    """Two LSTM layers with attention between them; writes word vectors that the tied `lm_head` turns into logits."""

    num_states = 4

    def __init__(self, config: TweetCapConfig):
        super().__init__()
        self.config = config
        self.vector_size = config.embedding_size
        self.embed_tokens = nn.Embedding(config.vocab_size, config.embedding_size, config.pad_token_id)
        self.lstm_below = nn.LSTM(config.embedding_size, config.hidden_size, batch_first=True)
        self.lstm_above = nn.LSTM(config.hidden_size, config.hidden_size, batch_first=True)

        self.region_proj = nn.Linear(config.encoder_channels, config.memory_size)
        self.region_norm = nn.LayerNorm(config.memory_size)
        self.pooled_proj = nn.Linear(config.encoder_channels, config.embedding_size)
        self.pooled_norm = nn.LayerNorm(config.embedding_size)
        # The null photo passes through the same norms as real ones: a photo must not arrive ten times as loud
        # as the silence that the language stage was trained on.
        self.null_region = nn.Parameter(torch.empty(config.memory_size))
        self.null_pooled = nn.Parameter(torch.empty(config.embedding_size))

        self.query = nn.Linear(config.hidden_size, config.memory_size)
        self.key_value = nn.Linear(config.memory_size, 2 * config.memory_size)
        self.context_proj = nn.Linear(config.memory_size, config.hidden_size)
        self.output = nn.Linear(2 * config.hidden_size, config.embedding_size)
        self.output_norm = nn.LayerNorm(config.embedding_size)

        self.num_words = config.num_concepts + config.num_sights  # memory slots that are words and can be copied
        if self.num_words:
            self.concept_proj = nn.Linear(config.embedding_size, config.memory_size)
            self.concept_norm = nn.LayerNorm(config.memory_size)
            self.copy_gate = nn.Linear(config.hidden_size, 1)
        if config.num_concepts:
            self.confidence_proj = nn.Linear(1, config.memory_size)
            self.register_buffer("concept_token_ids", self._table(config.concept_token_ids))  # (concepts, longest)
        if config.num_sights:
            self.sight_confidence_proj = nn.Linear(2, config.memory_size)
            self.register_buffer("sight_token_ids", self._table(config.sight_token_ids))  # (sights, longest)
            self.register_buffer("sight_log_priors", torch.tensor([math.log(prior) for prior in config.sight_priors]))

    def _table(self, token_ids: list[list[int]]) -> torch.Tensor:
        """Return the tokens of words (words, longest), padded."""
        table = torch.full((len(token_ids), max(map(len, token_ids))), self.config.pad_token_id)
        for place, ids in enumerate(token_ids):
            table[place, : len(ids)] = torch.tensor(ids)
        return table

    def embed(self, token_ids: torch.Tensor) -> torch.Tensor:
        # Tied vectors are short so that logits start small; as input they are brought to unit variance.
        return self.embed_tokens(token_ids) * self.config.embedding_size**0.5

    def read(
        self, encoder_outputs: TweetCapEncoderOutput | None, photo_mask: torch.Tensor | None, batch_size: int
    ) -> tuple[torch.Tensor, ...]:
        """Return the memory of a batch of photos: what stays the same for every word.

        Args:
            encoder_outputs: None for no photo at all.
            photo_mask: (batch,) False where a text has no photo and reads the null memory.

        Returns:
            pooled (batch, embedding_size), key_value (batch, slots, 2 · memory_size), slot_mask (batch, slots),
            words (batch, concepts + sights, embedding_size): their words, zeros where hidden.
        """
        config = self.config
        regions = self.region_norm(self.null_region).expand(batch_size, config.grid_size**2, -1)
        pooled = self.pooled_norm(self.null_pooled).expand(batch_size, -1)
        visible = torch.zeros(batch_size, dtype=torch.bool, device=regions.device)
        if encoder_outputs is not None:
            visible = ~visible if photo_mask is None else photo_mask
            seen = self.region_norm(self.region_proj(encoder_outputs.last_hidden_state))
            seen_pooled = self.pooled_norm(self.pooled_proj(encoder_outputs.pooler_output))
            regions = torch.where(visible[:, None, None], seen, regions)
            pooled = torch.where(visible[:, None], seen_pooled, pooled)
        slot_mask = regions.new_ones(regions.shape[:2], dtype=torch.bool)
        words = regions.new_zeros(batch_size, 0, config.embedding_size)
        for offered in self._words_of(encoder_outputs, batch_size):
            found, confidence, mask = offered
            mask = mask & visible[:, None]
            slots = self.concept_norm(self.concept_proj(found) + confidence)
            regions = torch.cat([regions, torch.where(mask.unsqueeze(-1), slots, 0).to(regions.dtype)], 1)
            slot_mask = torch.cat([slot_mask, mask], 1)
            words = torch.cat([words, torch.where(mask.unsqueeze(-1), found, 0).to(words.dtype)], 1)
        return pooled, self.key_value(regions), slot_mask, words

    def _words_of(self, encoder_outputs: TweetCapEncoderOutput | None, batch_size: int):
        """Yield the words that a batch of photos is offered: concepts, then sights.

        A log-probability of -inf hides a word: training drops some so that the photo is trusted first.

        Yields:
            word vectors (batch, words, embedding_size), confidence (batch, words, memory_size), mask (batch, words).
        """
        for count, find in ((self.config.num_concepts, self._concepts), (self.config.num_sights, self._sights)):
            if count and encoder_outputs is None:
                nothing = self.null_pooled.new_zeros(batch_size, count, 1)
                yield nothing.expand(-1, -1, self.config.embedding_size), nothing, nothing.squeeze(-1).bool()
            elif count:
                token_ids, confidence, mask = find(encoder_outputs)
                is_token = (token_ids != self.config.pad_token_id).unsqueeze(-1)
                words = (self.embed(token_ids) * is_token).sum(2) / is_token.sum(2).clamp_min(1)
                yield words, confidence, mask

    def _concepts(self, encoder_outputs: TweetCapEncoderOutput):
        log_probs = encoder_outputs.concept_log_probs
        known = log_probs.clamp_min(LEAST_LOG_PROB).to(self.confidence_proj.weight.dtype)
        confidence = self.confidence_proj(known.unsqueeze(-1))
        return self.concept_token_ids[encoder_outputs.concept_ids], confidence, log_probs.isfinite()

    def _sights(self, encoder_outputs: TweetCapEncoderOutput):
        ids = self.choose_sights(encoder_outputs.sight_log_probs)
        log_probs = encoder_outputs.sight_log_probs.gather(1, ids)
        known = log_probs.clamp_min(LEAST_LOG_PROB)
        known = torch.stack([known, known - self.sight_log_priors[ids]], -1)
        confidence = self.sight_confidence_proj(known.to(self.sight_confidence_proj.weight.dtype))
        return self.sight_token_ids[ids], confidence, log_probs.isfinite()

    def choose_sights(self, log_probs: torch.Tensor) -> torch.Tensor:
        """Return ids (batch, num_sights) of the sights that tell most, p · log(p ÷ prior), best first.

        Args:
            log_probs: (batch, all sights); -inf hides one.
        """
        known = log_probs.clamp_min(LEAST_LOG_PROB)
        told = known.exp() * (known - self.sight_log_priors)
        return told.masked_fill(log_probs == -torch.inf, -torch.inf).topk(self.config.num_sights, -1).indices

    def forward(
        self,
        token_ids: torch.Tensor,
        memory: tuple[torch.Tensor, ...],
        carried: tuple[torch.Tensor, ...] | None = None,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], torch.Tensor]:
        """Run over a stretch of tokens.

        Args:
            token_ids: (batch, length).
            memory: from `read`.
            carried: hidden and cell states of both layers, four of (batch, hidden_size); None at the beginning.

        Returns:
            word vectors (batch, length, embedding_size), the states to carry on, attention (batch, length, slots).
        """
        pooled, key_value, slot_mask, words = memory
        below, above = self._to_layers(carried)
        inputs = self._dropout(self.embed(token_ids) + pooled[:, None])
        low, below = self.lstm_below(inputs, below)  # (batch, length, hidden_size)
        context, attention = self.attend(low, key_value, slot_mask)
        high, above = self.lstm_above(self._dropout(low + self.context_proj(context)), above)
        vectors = self.output_norm(self.output(self._dropout(torch.cat([low, high], -1))))
        if self.num_words:
            copied = attention[..., -self.num_words :].to(words.dtype) @ words
            vectors = vectors + self.copy_gate(high).sigmoid() * copied
        states = tuple(layer.squeeze(0) for layer in (*below, *above))
        return vectors, states, attention

    def attend(self, hidden: torch.Tensor, key_value: torch.Tensor, slot_mask: torch.Tensor):
        """Return the context (batch, length, memory_size) and the attention (batch, length, slots), mean over heads."""
        heads = self.config.num_attention_heads
        query = self.query(hidden).unflatten(-1, (heads, -1)).transpose(1, 2)  # (batch, heads, length, size)
        key, value = (half.unflatten(-1, (heads, -1)).transpose(1, 2) for half in key_value.chunk(2, -1))
        scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5  # (batch, heads, length, slots)
        scores = scores.masked_fill(~slot_mask[:, None, None], float("-inf"))
        attention = scores.float().softmax(-1)
        context = (attention.to(value.dtype) @ value).transpose(1, 2).flatten(2)
        return context, attention.mean(1)

    def _dropout(self, hidden: torch.Tensor) -> torch.Tensor:
        return F.dropout(hidden, self.config.dropout, self.training)

    @staticmethod
    def _to_layers(carried):
        if carried is None:
            return None, None
        hidden_below, cell_below, hidden_above, cell_above = (state.unsqueeze(0).contiguous() for state in carried)
        return (hidden_below, cell_below), (hidden_above, cell_above)


class TweetCapPhotoFirstDecoder(nn.Module):
    """One LSTM layer whose first word is the photo (Vinyals et al. 2015), as in the predecessor of 2021.

    The begin token marks the place of the photo. It has no null photo of its own; the mean photo of its training
    stands for it, at which batch normalisation gives its shift.
    """

    num_states = 2

    def __init__(self, config: TweetCapConfig):
        super().__init__()
        self.config = config
        self.vector_size = config.hidden_size
        self.embed_tokens = nn.Embedding(config.vocab_size, config.embedding_size, config.pad_token_id)
        self.pooled_proj = nn.Linear(config.encoder_channels, config.embedding_size)
        self.pooled_norm = nn.BatchNorm1d(config.embedding_size, momentum=0.01)
        self.lstm = nn.LSTM(config.embedding_size, config.hidden_size, batch_first=True)

    def read(
        self, encoder_outputs: TweetCapEncoderOutput | None, photo_mask: torch.Tensor | None, batch_size: int
    ) -> tuple[torch.Tensor, ...]:
        """Return the memory of a batch of photos, (batch, embedding_size) alone; as `TweetCapDecoder.read`."""
        photo = self.pooled_norm.bias.expand(batch_size, -1)
        if encoder_outputs is not None:
            seen = self.pooled_proj(encoder_outputs.pooler_output)
            norm = self.pooled_norm
            # A single photo has no variance to train on; the running figures stand in.
            of_the_batch = norm.training and len(seen) > 1
            seen = F.batch_norm(
                seen, norm.running_mean, norm.running_var, norm.weight, norm.bias, of_the_batch, norm.momentum, norm.eps
            )
            photo = seen if photo_mask is None else torch.where(photo_mask[:, None], seen, photo)
        return (photo,)

    def forward(
        self,
        token_ids: torch.Tensor,
        memory: tuple[torch.Tensor, ...],
        carried: tuple[torch.Tensor, ...] | None = None,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], torch.Tensor]:
        """Run over a stretch of tokens; as `TweetCapDecoder.forward`.

        Returns:
            hidden states (batch, length, hidden_size), the two states to carry on, attention (batch, length, regions).
        """
        (photo,) = memory
        is_begin = (token_ids == self.config.bos_token_id).unsqueeze(-1)
        inputs = torch.where(is_begin, photo[:, None], self.embed_tokens(token_ids))
        state = None if carried is None else tuple(part.unsqueeze(0).contiguous() for part in carried)
        vectors, state = self.lstm(inputs, state)
        # A pooled photo is one that every cell has the same share in.
        regions = self.config.grid_size**2
        attention = vectors.new_full((*token_ids.shape, regions), 1 / regions)
        return vectors, tuple(part.squeeze(0) for part in state), attention


class TweetCapPreTrainedModel(PreTrainedModel):
    config_class = TweetCapConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"
    input_modalities = ("image",)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        if isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=self.config.embedding_size**-0.5)
            init.zeros_(module.weight[module.padding_idx])
        elif isinstance(module, TweetCapDecoder):
            init.normal_(module.null_region)
            init.normal_(module.null_pooled)
        elif isinstance(module, nn.Conv2d):
            # He et al. 2015 by fan-out, groups considered: anything smaller fades away in a deep CNN.
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1] // module.groups
            init.normal_(module.weight, std=(2 / fan_out) ** 0.5)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            # Glorot's keeps the variance through the decoder's projections; the library's 0.02 would shrink it.
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        else:
            super()._init_weights(module)


class TweetCapForConditionalGeneration(TweetCapPreTrainedModel, GenerationMixin):
    """Photo in, Japanese text out.

    The first tokens of a text are its prompt: begin, tone (`<説明>`, `<つぶやき>`, …) and register (`<plain>`,
    `<witty>`); what the prompt leaves open the network chooses itself.
    """

    _tied_weights_keys = {"lm_head.weight": "decoder.embed_tokens.weight"}

    def __init__(self, config: TweetCapConfig):
        super().__init__(config)
        self.encoder = TweetCapEncoder(config)
        photo_first = config.decoder_type == "photo_first"
        self.decoder = TweetCapPhotoFirstDecoder(config) if photo_first else TweetCapDecoder(config)
        self.lm_head = nn.Linear(self.decoder.vector_size, config.vocab_size, bias=photo_first)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.decoder.embed_tokens

    def set_input_embeddings(self, value: nn.Embedding):
        self.decoder.embed_tokens = value

    def get_output_embeddings(self) -> nn.Linear:
        return self.lm_head

    def forward(
        self,
        pixel_values: torch.FloatTensor | None = None,
        encoder_outputs: TweetCapEncoderOutput | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        labels: torch.LongTensor | None = None,
        state: tuple[torch.FloatTensor, ...] | None = None,
        photo_mask: torch.BoolTensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        label_smoothing: float = 0.0,
        weights: torch.FloatTensor | None = None,
        num_items_in_batch: torch.Tensor | None = None,
        **kwargs,
    ) -> TweetCapOutput:
        """Score or continue texts.

        Args:
            pixel_values: (batch, 3, height, width); without them and without `encoder_outputs` the photo is null.
            encoder_outputs: the encoder's output, worked out before.
            decoder_input_ids: (batch, length); made from `labels` where left out.
            labels: (batch, length), −100 is ignored.
            state: from an earlier call; then `decoder_input_ids` are only the tokens since.
            photo_mask: (batch,) False where the photo is replaced by the null memory.
            use_cache: return `state`.
            output_attentions: return `cross_attentions`.
            label_smoothing: probability spread over all words in the loss (Szegedy et al. 2016).
            weights: (batch,) how much each text counts in the loss; 1 where left out.
            num_items_in_batch: what the summed loss is divided by, where a step has several batches; otherwise the
                weighted number of tokens.
        """
        if decoder_input_ids is None:
            if labels is None:
                raise ValueError("Neither decoder_input_ids nor labels were given; give one of them.")
            decoder_input_ids = self.shift_right(labels)
        if state is not None:
            carried, memory = state[: self.decoder.num_states], state[self.decoder.num_states :]
        else:
            if encoder_outputs is None and pixel_values is not None:
                encoder_outputs = self.encoder(pixel_values)
            carried, memory = None, self.decoder.read(encoder_outputs, photo_mask, len(decoder_input_ids))
        vectors, carried, attention = self.decoder(decoder_input_ids, memory, carried)

        loss = logits = None
        if labels is not None and self.training:
            # Padding never reaches the output layer, the largest of all.
            loss = self.mean_loss(
                self.lm_head(vectors[labels != -100]), labels, label_smoothing, weights, num_items_in_batch
            )
        else:
            logits = self.lm_head(vectors)
            if labels is not None:
                loss = self.mean_loss(logits[labels != -100], labels, label_smoothing, weights, num_items_in_batch)
        return TweetCapOutput(
            loss=loss,
            logits=logits,
            state=(*carried, *memory) if use_cache is not False else None,
            encoder_last_hidden_state=None if encoder_outputs is None else encoder_outputs.last_hidden_state,
            cross_attentions=attention if output_attentions else None,
        )

    @staticmethod
    def mean_loss(
        logits: torch.Tensor,
        labels: torch.Tensor,
        label_smoothing: float,
        weights: torch.Tensor | None,
        num_items: torch.Tensor | None,
    ) -> torch.Tensor:
        """Return the mean loss of the tokens that count; logits are theirs alone, (counted, vocab_size)."""
        counted = labels != -100
        losses = F.cross_entropy(logits.float(), labels[counted], label_smoothing=label_smoothing, reduction="none")
        if weights is None:
            weights = losses.new_ones(len(labels))
        token_weights = weights[:, None].expand(labels.shape)[counted]
        return (losses * token_weights).sum() / (token_weights.sum() if num_items is None else num_items)

    def shift_right(self, labels: torch.LongTensor) -> torch.LongTensor:
        """Return decoder inputs (batch, length): the labels one step later, behind the begin token."""
        begin = labels.new_full((len(labels), 1), self.config.decoder_start_token_id)
        before = labels[:, :-1].masked_fill(labels[:, :-1] == -100, self.config.pad_token_id)
        return torch.cat([begin, before], 1)

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        # The carried state is the LSTM's, not a key-value cache of growing length.
        return False

    @staticmethod
    def _reorder_cache(state: tuple[torch.Tensor, ...], beam_idx: torch.LongTensor) -> tuple[torch.Tensor, ...]:
        # Beams are permuted after every step, so the LSTM states must follow them.
        return tuple(part.index_select(0, beam_idx.to(part.device)) for part in state)


TweetCapForConditionalGeneration.register_for_auto_class("AutoModelForImageTextToText")
