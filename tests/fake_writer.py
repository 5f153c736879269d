"""A stand-in for `TweetWriter` that needs no checkpoint: reads photos for real, makes up the words."""

import hashlib
from dataclasses import dataclass

from tweetcap.data.photo import load_photo
from tweetcap.write.explanation import ExplainedWord, Explanation
from tweetcap.write.writer import Draft, check_settings


@dataclass(frozen=True)
class FakeTweet:
    text: str
    tone: str
    log_likelihood: float
    grounding: float
    register: str = "plain"


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
        temperature=1.0,
        top_p=0.9,
        guidance=0.5,
        seed=None,
        max_length=140,
        avoid=(),
    ):
        check_settings(
            tone=tone,
            tones=self.tones,
            count=count,
            temperature=temperature,
            top_p=top_p,
            guidance=guidance,
            max_length=max_length,
        )
        pixels = load_photo(photo)
        settings = (count, tone, temperature, top_p, guidance, seed, max_length)
        self.calls.append(settings)
        digest = hashlib.sha512(pixels.numpy().tobytes() + repr((settings, avoid)).encode()).hexdigest()
        return [
            FakeTweet(f"{digest[8 * n : 8 * n + 8]}なう", tone or self.tones[n % 5], -2.5 - n / 3, 0.1)
            for n in range(count)
        ]

    def encode(self, photos):
        """Return the photo itself, once it is seen to be one."""
        (photo,) = photos
        load_photo(photo)
        return photo

    def stream(self, photo, **settings):
        tweets = self.write(photo, **settings)
        for letters in range(3, 6):
            yield Draft(tweets[0].text[:letters], tweets[0].tone)
        yield from tweets

    def describe(self, photo):
        return f"幅{load_photo(photo).shape[2]}の写真"

    def explain(self, photo, text, tone, register=None):
        """A word a letter; the network looks at one cell after the other."""
        load_photo(photo)
        words = []
        for place, letter in enumerate([*text, ""]):
            attention = [[0.7 if 3 * row + column == place % 6 else 0.0 for column in range(3)] for row in range(2)]
            words.append(ExplainedWord(letter, -0.5 - place / 10, -3.0, attention, {"ネコ": 0.2, "犬": 0.1}))
        return Explanation(words, rows=2, columns=3)
