"""A stand-in for `TweetWriter` that needs no checkpoint: reads photos for real, makes up the words."""

import hashlib
from dataclasses import dataclass

from tweetcap.data.photo import load_photo


@dataclass(frozen=True)
class FakeTweet:
    text: str
    tone: str
    log_likelihood: float
    grounding: float


class FakeWriter:
    tones = ("つぶやき", "ツッコミ", "アフレコ", "ほっこり", "大喜利")

    def __init__(self):
        self.calls = []

    def write(
        self,
        photo,
        *,
        count=5,
        tone=None,
        temperature=0.8,
        top_p=0.9,
        guidance=0.5,
        seed=None,
        max_length=140,
    ):
        pixels = load_photo(photo)
        settings = (count, tone, temperature, top_p, guidance, seed, max_length)
        self.calls.append(settings)
        digest = hashlib.sha256(pixels.numpy().tobytes() + repr(settings).encode()).hexdigest()
        return [
            FakeTweet(f"{digest[8 * n : 8 * n + 8]}なう", tone or self.tones[n % 5], -2.5 - n / 3, 0.1)
            for n in range(count)
        ]

    def describe(self, photo):
        return f"幅{load_photo(photo).shape[2]}の写真"
