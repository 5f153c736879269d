"""A network of a few thousand weights with the real one's every part, for tests that need a model but no sense."""

import json
from pathlib import Path

import torch

from tweetcap.model import (
    TweetCapConfig,
    TweetCapForConditionalGeneration,
    TweetCapImageProcessor,
    TweetCapProcessor,
    TweetCapTokenizer,
    normalise,
    split_words,
)
from tweetcap.model.tokenization_tweetcap import BYTE_TOKENS, SPECIAL_TOKENS

TEXTS = (
    "猫が箱の中で寝ている",
    "そこは私の席なんだけど😂",
    "「ごはんまだ？」",
    "犬がボールをくわえて跳んでた",
    "ライオン、寝起きの父すぎる",
    "朝から元気すぎるw",
)
CONCEPTS = ("猫", "犬", "ライオン")
SIGHTS = (("箱",), ("寝", "寝起き"), ("ボール",), ("朝",))
SIDE = 64  # pixels


def tiny_tokenizer(folder: Path) -> TweetCapTokenizer:
    words = dict.fromkeys(word for text in (*TEXTS, *CONCEPTS) for word in split_words(normalise(text)))
    characters = dict.fromkeys(character for word in words for character in word)
    tokens = [*SPECIAL_TOKENS, *BYTE_TOKENS, *(characters | words)]
    path = folder / "vocab.json"
    path.write_text(json.dumps(tokens, ensure_ascii=False), encoding="utf-8")
    return TweetCapTokenizer(str(path))


def tiny_model(tokenizer: TweetCapTokenizer, seed: int = 0, **overrides) -> TweetCapForConditionalGeneration:
    torch.manual_seed(seed)
    settings = {
        "vocab_size": len(tokenizer),
        "encoder_name": "test_efficientnet",
        "encoder_channels": 256,
        "grid_size": 2,
        "embedding_size": 24,
        "hidden_size": 32,
        "memory_size": 16,
        "concept_classes": [[0], [1, 2], [3]],
        "concept_token_ids": [tokenizer.encode(word) for word in CONCEPTS],
        "num_classes": 4,
        "num_concepts": 2,
        "sight_token_ids": [[tokenizer.encode(spelling)[0] for spelling in sight] for sight in SIGHTS],
        "sight_priors": [0.1, 0.2, 0.05, 0.4],
        "num_sights": 2,
        "sight_rank": 8,
    }
    model = TweetCapForConditionalGeneration(TweetCapConfig(**(settings | overrides))).eval()
    # Fresh tied embeddings make every word alike: louder ones give the tests something to tell apart.
    with torch.no_grad():
        model.decoder.output_norm.weight.mul_(3.0)
    return model


def tiny_processor(tokenizer: TweetCapTokenizer) -> TweetCapProcessor:
    return TweetCapProcessor(TweetCapImageProcessor(size={"height": SIDE, "width": SIDE}), tokenizer)


def some_photos(count: int, seed: int = 0) -> torch.Tensor:
    """Return uint8 patchworks of random colours (count, 3, 80, 100)."""
    generator = torch.Generator().manual_seed(seed)
    patches = torch.randint(0, 256, (count, 3, 4, 5), dtype=torch.uint8, generator=generator)
    return patches.repeat_interleave(20, 2).repeat_interleave(20, 3)
