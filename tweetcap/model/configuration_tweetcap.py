"""The architecture of TweetCap in numbers: what `config.json` holds."""

from transformers import PretrainedConfig

DECODER_TYPES = ("attention", "photo_first")


class TweetCapConfig(PretrainedConfig):
    """Configuration of [`TweetCapForConditionalGeneration`].

    Args:
        decoder_type: `attention`, two LSTM layers with attention between them; or `photo_first`, the network of 2021:
            one LSTM layer that reads the pooled photo as its first word, and knows neither attention nor concepts.
        vocab_size: words, characters, bytes, tones and registers together.
        encoder_name: any timm convolutional network.
        grid_size: the encoder's feature map is averaged to grid_size × grid_size regions.
        encoder_channels: channels of the last feature map; it must be the network's own.
        embedding_size: size of a word vector, shared by input and output; `photo_first` shares nothing.
        hidden_size: size of each LSTM layer.
        memory_size: size of a key or value of the attention; divisible by `num_attention_heads`.
        num_attention_heads: heads of the attention over regions and concepts.
        dropout: probability, used on the decoder's inputs, between its layers and before its output; `photo_first`
            drops nothing.
        concept_classes: for each concept (an animal word) the rows of the encoder's class layer that show it.
        concept_token_ids: for each concept the tokens of its word; concepts and tokens run in parallel.
        num_classes: rows of the encoder's class layer; 0 for a network without concepts.
        num_concepts: how many of the likeliest concepts the decoder is offered for a photo.
        sight_token_ids: for each sight (a word for a thing, a place, an action) the tokens that are its spellings.
        sight_priors: for each sight the share of photos that it is said of.
        num_sights: how many of the most telling sights the decoder is offered for a photo.
        sight_rank: width of the layer that all detectors of sights share.

    Raises:
        ValueError: values that no network has, in one sentence.
    """

    model_type = "tweetcap"

    def __init__(
        self,
        decoder_type: str = "attention",
        vocab_size: int = 10_000,
        encoder_name: str = "tf_efficientnet_lite2",
        grid_size: int = 5,
        encoder_channels: int = 1280,
        embedding_size: int = 256,
        hidden_size: int = 640,
        memory_size: int = 384,
        num_attention_heads: int = 4,
        dropout: float = 0.2,
        concept_classes: list[list[int]] | None = None,
        concept_token_ids: list[list[int]] | None = None,
        num_classes: int = 0,
        num_concepts: int = 4,
        sight_token_ids: list[list[int]] | None = None,
        sight_priors: list[float] | None = None,
        num_sights: int = 0,
        sight_rank: int = 64,
        pad_token_id: int = 0,
        bos_token_id: int = 1,
        eos_token_id: int = 2,
        **kwargs,
    ):
        if decoder_type not in DECODER_TYPES:
            raise ValueError(f"decoder_type {decoder_type!r} is unknown; choose one of {', '.join(DECODER_TYPES)}.")
        if decoder_type == "photo_first" and (concept_classes or sight_token_ids):
            raise ValueError("a photo_first decoder can't be offered concepts or sights; leave them out.")
        if not isinstance(encoder_name, str) or ":" in encoder_name:  # timm would read other repositories and folders
            raise ValueError(f"encoder_name {encoder_name!r} is no plain name of a timm model; give one.")
        if memory_size % num_attention_heads:
            raise ValueError(
                f"memory_size {memory_size} is not divisible by num_attention_heads {num_attention_heads}; "
                "choose a multiple."
            )
        self.decoder_type = decoder_type
        self.vocab_size = vocab_size
        self.encoder_name = encoder_name
        self.grid_size = grid_size
        self.encoder_channels = encoder_channels
        self.embedding_size = embedding_size
        self.hidden_size = hidden_size
        self.memory_size = memory_size
        self.num_attention_heads = num_attention_heads
        self.dropout = dropout
        self.concept_classes = concept_classes or []
        self.concept_token_ids = concept_token_ids or []
        if len(self.concept_classes) != len(self.concept_token_ids):
            raise ValueError(
                f"{len(self.concept_classes)} concept_classes but {len(self.concept_token_ids)} concept_token_ids; "
                "give one list of each a concept."
            )
        self.num_classes = num_classes
        self.num_concepts = min(num_concepts, len(self.concept_classes))
        self.sight_token_ids = sight_token_ids or []
        self.sight_priors = sight_priors or []
        if len(self.sight_token_ids) != len(self.sight_priors):
            raise ValueError(
                f"{len(self.sight_token_ids)} sight_token_ids but {len(self.sight_priors)} sight_priors; "
                "give one of each a sight."
            )
        if not all(0 < prior <= 1 for prior in self.sight_priors):
            raise ValueError("sight_priors are no shares above 0 and up to 1; correct them.")
        self.num_sights = min(num_sights, len(self.sight_token_ids))
        self.sight_rank = sight_rank
        kwargs.pop("is_encoder_decoder", None)
        kwargs.pop("decoder_start_token_id", None)
        kwargs.pop("tie_word_embeddings", None)
        super().__init__(
            pad_token_id=pad_token_id,
            bos_token_id=bos_token_id,
            eos_token_id=eos_token_id,
            decoder_start_token_id=bos_token_id,
            is_encoder_decoder=True,
            tie_word_embeddings=decoder_type == "attention",
            **kwargs,
        )


TweetCapConfig.register_for_auto_class()
