"""Photos to `pixel_values`: the whole photo squashed to a square; nothing is cropped, the animal may be at the edge."""

from transformers.image_processing_backends import TorchvisionBackend
from transformers.image_utils import IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD, PILImageResampling


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


TweetCapImageProcessor.register_for_auto_class("AutoImageProcessor")
