"""The writer's defaults and the range of each control, in one place for Python, command line and page."""

from dataclasses import dataclass


@dataclass(frozen=True)
class WriterSettings:
    """How tweets are drawn.

    Attributes:
        count: tweets a photo.
        temperature: divides the logits; lower is safer, higher is wilder.
        top_p: only the likeliest words that together reach this probability are drawn from.
        guidance: how strongly the photo steers decoding; 0 is the plain model.
        max_length: longest text in characters.
    """

    count: int = 5
    temperature: float = 1.0
    top_p: float = 0.9
    guidance: float = 0.5
    max_length: int = 140


DEFAULTS = WriterSettings()

RANGES = {
    "count": (1, 32),
    "temperature": (0.1, 2.0),
    "top_p": (0.1, 1.0),
    "guidance": (0.0, 3.0),
    "max_length": (1, 280),
}
