"""Photos and texts to what the network takes, and token ids back to text."""

from transformers import BatchFeature, ProcessorMixin


class TweetCapProcessor(ProcessorMixin):
    """Image processor and tokenizer in one.

    inputs = processor(images=photo, tone="ほっこり", return_tensors="pt")
    tweets = processor.batch_decode(model.generate(**inputs), skip_special_tokens=True)
    """

    def __init__(self, image_processor=None, tokenizer=None, **kwargs):
        super().__init__(image_processor, tokenizer, **kwargs)

    def __call__(
        self,
        images=None,
        text: str | list[str] | None = None,
        tone: str | None = None,
        register: str | None = None,
        return_tensors: str | None = None,
        **kwargs,
    ) -> BatchFeature:
        """Prepare photos, texts or both.

        Args:
            images: one photo or a list: PIL image, array or tensor.
            text: targets; they become `labels`, with the prompt in front and the end token behind, padded with −100.
            tone: kind of text; without `text` it becomes `decoder_input_ids`, the prompt that `generate` goes on from.
            register: `plain` or `witty`, likewise; a register needs a tone.

        Raises:
            ValueError: for an unknown tone or register, or a register without a tone.
        """
        if images is None and text is None and tone is None:
            raise ValueError("Neither images nor text nor tone were given; give at least one of them.")
        if register is not None and tone is None:
            raise ValueError(f"register {register!r} was given without a tone; give a tone too.")
        features = {}
        if images is not None:
            features.update(self.image_processor(images, **kwargs))
        prompt = self.tokenizer.prompt_ids(tone, register)
        if text is not None:
            texts = [text] if isinstance(text, str) else text
            features["labels"] = self._labels(texts, prompt)
        elif tone is not None:
            count = len(features["pixel_values"]) if images is not None else 1
            features["decoder_input_ids"] = [prompt] * count
        return BatchFeature(features, tensor_type=return_tensors)

    def _labels(self, texts: list[str], prompt: list[int]) -> list[list[int]]:
        end = [self.tokenizer.eos_token_id]
        rows = [prompt[1:] + self.tokenizer.encode(text) + end for text in texts]
        longest = max(map(len, rows))
        return [row + [-100] * (longest - len(row)) for row in rows]

    @property
    def model_input_names(self) -> list[str]:
        return ["pixel_values", "decoder_input_ids", "labels"]


TweetCapProcessor.register_for_auto_class("AutoProcessor")
