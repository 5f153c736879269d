"""`pipeline("image-to-text")`, which transformers 5 no longer has, for TweetCap."""

import torch
from transformers import Pipeline
from transformers.image_utils import load_image

DEFAULT_TONE = "つぶやき"


class TweetCapPipeline(Pipeline):
    """Photo (path as str, URL, PIL image, array or tensor) in, `[{"generated_text": …}, …]` out.

    `tone` and `register` choose the kind of text; every other keyword goes to `generate`.
    """

    _load_processor = True
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def _sanitize_parameters(self, tone: str | None = None, register: str | None = None, **generate_kwargs):
        preprocess = {"tone": tone or DEFAULT_TONE, "register": register}
        return preprocess, {"generate_kwargs": generate_kwargs}, {}

    def preprocess(self, image, tone: str, register: str | None):
        if isinstance(image, str):
            image = load_image(image)
        return self.processor(images=image, tone=tone, register=register, return_tensors="pt")

    def _forward(self, model_inputs, generate_kwargs):
        sequences = self.model.generate(**model_inputs, **generate_kwargs)
        # One photo at a time or a batch of them: rows of one photo stay together.
        return {"sequences": sequences.view(len(model_inputs["pixel_values"]), -1, sequences.shape[-1])}

    def postprocess(self, model_outputs):
        sequences: torch.Tensor = model_outputs["sequences"].flatten(0, -2)
        return [{"generated_text": text} for text in self.processor.batch_decode(sequences, skip_special_tokens=True)]
