"""The network as Hugging Face code; importing this package makes the Auto classes know TweetCap.

Files here travel to the Hub beside the weights, so they import one another with a single dot and nothing else of ours.
"""

from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    GenerationConfig,
)
from transformers.dynamic_module_utils import custom_object_save

from .configuration_tweetcap import TweetCapConfig
from .image_processing_tweetcap import TweetCapImageProcessor
from .modeling_tweetcap import TweetCapEncoderOutput, TweetCapForConditionalGeneration, TweetCapOutput
from .pipeline_tweetcap import DEFAULT_TONE, TweetCapPipeline
from .processing_tweetcap import TweetCapProcessor
from .tokenization_tweetcap import (
    CAPTION_TONE,
    REGISTERS,
    TONES,
    TWEET_TONES,
    TweetCapTokenizer,
    normalise,
    split_words,
)

__all__ = [
    "CAPTION_TONE",
    "REGISTERS",
    "TONES",
    "TWEET_TONES",
    "TweetCapConfig",
    "TweetCapEncoderOutput",
    "TweetCapForConditionalGeneration",
    "TweetCapImageProcessor",
    "TweetCapOutput",
    "TweetCapPipeline",
    "TweetCapProcessor",
    "TweetCapTokenizer",
    "normalise",
    "save_checkpoint",
    "split_words",
]

AutoConfig.register("tweetcap", TweetCapConfig)
AutoModelForImageTextToText.register(TweetCapConfig, TweetCapForConditionalGeneration)
AutoTokenizer.register(TweetCapConfig, slow_tokenizer_class=TweetCapTokenizer)
AutoImageProcessor.register(TweetCapConfig, image_processor_classes={"torchvision": TweetCapImageProcessor})
AutoProcessor.register(TweetCapConfig, TweetCapProcessor)


def save_checkpoint(
    model: TweetCapForConditionalGeneration,
    processor: TweetCapProcessor,
    folder: str | Path,
    half: bool = True,
    generation: GenerationConfig | None = None,
) -> None:
    """Write a folder that the Hub, `from_pretrained` and `pipeline` understand, code included.

    Args:
        half: store weights as float16, half the size; `config.json` still says float32, so that a processor
            without fast half arithmetic computes in full precision.
        generation: what `generate` does where it isn't told; left out, it draws a tweet.
    """
    folder = Path(folder)
    tokenizer = processor.tokenizer
    # A bare `generate(pixel_values)` writes a tweet: the tone is forced where the caller gave no prompt.
    model.generation_config = generation or GenerationConfig(
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.bos_token_id,
        forced_bos_token_id=tokenizer.prompt_ids(DEFAULT_TONE)[1],
        do_sample=True,
        temperature=0.8,
        top_p=0.9,
        max_new_tokens=40,
    )
    model.config.custom_pipelines = {
        "image-to-text": {
            "impl": "pipeline_tweetcap.TweetCapPipeline",
            "pt": ["AutoModelForImageTextToText"],
            "tf": [],
        }
    }
    weights = {
        name: tensor.to(torch.float16) if half and tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
        if name not in model.all_tied_weights_keys  # converted, the two ends of a tie would be stored twice
    }
    model.save_pretrained(folder, state_dict=weights)
    processor.save_pretrained(folder)
    custom_object_save(TweetCapPipeline, folder)
