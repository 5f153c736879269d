"""tweetcap: photo of an animal in, tweet out.

from tweetcap import TweetWriter
for tweet in TweetWriter.from_pretrained().write("cat.jpg"):
    print(tweet.text)
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tweetcap.data.photo import PhotoError as PhotoError
    from tweetcap.write.writer import Tweet as Tweet
    from tweetcap.write.writer import TweetWriter as TweetWriter

__version__ = "0.1.0"
__all__ = ["PhotoError", "Tweet", "TweetWriter"]

_HOMES = {
    "PhotoError": "tweetcap.data.photo",
    "Tweet": "tweetcap.write.writer",
    "TweetWriter": "tweetcap.write.writer",
}


def __getattr__(name: str):
    # PyTorch and transformers take seconds to import: `tweetcap --help` must not wait for them.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
