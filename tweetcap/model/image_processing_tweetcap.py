"""Photos to `pixel_values`: the whole photo squashed to a square; nothing is cropped, the animal may be at the edge."""

import torch
from PIL import Image
from torchvision.transforms.v2 import functional as tvf
from transformers.image_processing_backends import TorchvisionBackend
from transformers.image_utils import IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD, PILImageResampling, SizeDict


class TweetCapImageProcessor(TorchvisionBackend):
    """Resizes photos to `size` with antialiased bicubic interpolation and normalises them to −1 … 1.

    EfficientNet-Lite was trained at this mean and deviation (0.5 each).
    """

    model_input_names = ["pixel_values"]
    resample = PILImageResampling.BICUBIC
    image_mean = IMAGENET_STANDARD_MEAN
    image_std = IMAGENET_STANDARD_STD
    size = {"height": 260, "width": 260}
    do_resize = True
    do_rescale = True
    do_normalize = True
    do_convert_rgb = True

    def resize(self, image: torch.Tensor, size: SizeDict, resample=None, **kwargs) -> torch.Tensor:
        """Resize (photos, 3, height, width); by Lanczos' filter as Pillow does, bit for bit."""
        if resample != PILImageResampling.LANCZOS:
            return super().resize(image, size, resample=resample, **kwargs)
        # torchvision rounds 1 value in 250 otherwise, and a network that was trained on Pillow's may say another word.
        photos = [
            tvf.to_pil_image(photo).resize((size.width, size.height), Image.Resampling.LANCZOS) for photo in image
        ]
        return torch.stack([tvf.pil_to_tensor(photo) for photo in photos]).to(image.device)


TweetCapImageProcessor.register_for_auto_class("AutoImageProcessor")
