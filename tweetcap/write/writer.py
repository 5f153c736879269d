"""Photo in, tweets out: `TweetWriter` is what users call.

writer = TweetWriter.from_pretrained()
writer.write("cat.jpg", count=5, temperature=0.9)  # [Tweet(text=…, tone=…, log_likelihood=…, grounding=…), …]
writer.describe("cat.jpg")                          # what is in the photo, in one plain sentence
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers.utils import cached_file

from tweetcap.data.photo import load_photo
from tweetcap.model import (
    CAPTION_TONE,
    REGISTERS,
    TWEET_TONES,
    TweetCapEncoderOutput,
    TweetCapForConditionalGeneration,
    TweetCapProcessor,
)
from tweetcap.write.animals import AnimalWords, forbid
from tweetcap.write.filters import SeenTexts, reason_to_drop
from tweetcap.write.ranking import choose
from tweetcap.write.sampling import Candidate, draw
from tweetcap.write.scoring import log_likelihoods
from tweetcap.write.settings import DEFAULTS, RANGES

EMBEDDED = Path(__file__).parents[1] / "checkpoint"
SEEN_TEXTS = "seen_texts.bin"
CANDIDATES_A_TWEET = 8
ROUNDS = 3  # how often candidates are drawn again when too few pass the filters
ENCODE_BATCH = 16


@dataclass(frozen=True)
class Tweet:
    """A text that passed every filter.

    Attributes:
        text: ready to post.
        tone: つぶやき, ツッコミ, アフレコ, ほっこり or 大喜利.
        log_likelihood: mean over tokens of log p(token | photo), in nats; nearer to 0 is more usual.
        grounding: nats by which the photo makes the whole text likelier; above 0 it fits.
    """

    text: str
    tone: str
    log_likelihood: float
    grounding: float


class TweetWriter:
    """A checkpoint with everything that stands between it and a timeline: sampling, filters, ranking.

    Attributes:
        outcomes: what became of all candidates drawn so far: `passed`, `unfinished`, `wrong_animal`, or one of
            DROP_REASONS.
    """

    tones = TWEET_TONES

    def __init__(
        self,
        model: TweetCapForConditionalGeneration,
        processor: TweetCapProcessor,
        seen: SeenTexts | None = None,
        device: str | torch.device | None = None,
    ):
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.eval().to(device)
        # Convolutions on a CPU run about a third faster over the channels of one pixel than over one channel's pixels.
        self.model.encoder.to(memory_format=torch.channels_last)
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.seen = seen
        self.outcomes: Counter[str] = Counter()
        banned = torch.zeros(model.config.vocab_size, dtype=torch.bool)
        banned[: self.tokenizer.first_piece_id] = True  # tones, registers, bytes: no words of a tweet
        banned[self.tokenizer.eos_token_id] = False
        self._banned = banned.to(self.model.device)
        concepts = [self.tokenizer.decode(ids) for ids in model.config.concept_token_ids]
        self._animals = AnimalWords(self.tokenizer, concepts)

    @classmethod
    def from_pretrained(
        cls,
        path_or_hub_id: str | Path | None = None,
        *,
        revision: str | None = None,
        device: str | None = None,
    ) -> "TweetWriter":
        """Load a checkpoint: the embedded one, a folder, or a repository on the Hub.

        Raises:
            ValueError: in one sentence, where there is no TweetCap checkpoint.
        """
        source = str(path_or_hub_id or EMBEDDED)
        try:
            model = TweetCapForConditionalGeneration.from_pretrained(source, revision=revision)
            processor = TweetCapProcessor.from_pretrained(source, revision=revision)
            seen = cached_file(source, SEEN_TEXTS, revision=revision, _raise_exceptions_for_missing_entries=False)
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise ValueError(f"{source} holds no TweetCap checkpoint ({reason}); give a folder or a Hub id.") from error
        return cls(model, processor, SeenTexts.load(seen) if seen else None, device)

    def write(
        self,
        photo,
        *,
        count: int = DEFAULTS.count,
        tone: str | None = None,
        temperature: float = DEFAULTS.temperature,
        top_p: float = DEFAULTS.top_p,
        guidance: float = DEFAULTS.guidance,
        seed: int | None = None,
        max_length: int = DEFAULTS.max_length,
    ) -> list[Tweet]:
        """Write up to `count` different tweets about a photo: the best first, then the tones take turns.

        Args:
            photo: path, bytes, PIL image, array or tensor.
            tone: one of `tones`; None mixes them.
            temperature: low is safe, high is wild.
            top_p: share of probability that words are drawn from.
            guidance: 0 writes freely, more sticks to the photo.
            seed: the same seed gives the same tweets; None draws afresh each time.
            max_length: longest text in characters.

        Returns:
            Fewer tweets than asked for only where too few candidates pass the filters.

        Raises:
            PhotoError: the photo can't be read.
            ValueError: a value is out of its range.
        """
        settings = {
            "count": count,
            "temperature": temperature,
            "top_p": top_p,
            "guidance": guidance,
            "max_length": max_length,
        }
        check_settings(tone=tone, tones=self.tones, **settings)
        encoded = self.encode([photo])
        animals = self._animals.allowed(encoded)
        banned = forbid(self._banned, self._animals.banned(animals))
        generator = torch.Generator(self.model.device)
        generator.manual_seed(seed) if seed is not None else generator.seed()
        tones = [tone] if tone else self.tones
        passed: list[tuple[str, str, Candidate]] = []
        chosen: list[tuple[str, str, Candidate]] = []
        for _ in range(ROUNDS):
            for text, drawn_tone, candidate in self._draw(
                encoded, tones, count, temperature, top_p, guidance, banned, generator
            ):
                reason = reason_to_drop(text, seen=self.seen, max_length=max_length)
                if reason is None and self._animals.names_another(text, animals):
                    reason = "wrong_animal"
                self.outcomes[reason or "passed"] += 1
                if reason is None:
                    passed.append((text, drawn_tone, candidate))
            chosen = choose(passed, count)
            if len(chosen) == count:
                break
        return [
            Tweet(text, tone, candidate.log_likelihood / candidate.tokens, candidate.grounding)
            for text, tone, candidate in chosen
        ]

    def _draw(self, encoded, tones: Sequence[str], count: int, temperature, top_p, guidance, banned, generator):
        """Return finished candidates as (text, tone, candidate): every tone and register equally often."""
        kinds = [(tone, register) for tone in tones for register in REGISTERS]
        times = -(-count * CANDIDATES_A_TWEET // len(kinds))
        kinds = kinds * times
        candidates = draw(
            self.model,
            encoded,
            [self.tokenizer.prompt_ids(tone, register) for tone, register in kinds],
            banned=banned,
            temperature=temperature,
            top_p=top_p,
            guidance=guidance,
            generator=generator,
        )
        self.outcomes["unfinished"] += sum(not candidate.finished for candidate in candidates)
        return [
            (self.tokenizer.decode(candidate.token_ids), tone, candidate)
            for (tone, _), candidate in zip(kinds, candidates, strict=True)
            if candidate.finished
        ]

    def describe(self, photo) -> str:
        """Return what is in the photo in one plain sentence, always the same for one photo.

        Raises:
            PhotoError: the photo can't be read.
        """
        prompt = self.tokenizer.prompt_ids(CAPTION_TONE)
        encoded = self.encode([photo])
        (candidate,) = draw(
            self.model,
            encoded,
            [prompt],
            banned=forbid(self._banned, self._animals.banned(self._animals.allowed(encoded))),
            temperature=0.0,
            top_p=1.0,
            guidance=0.0,
        )
        return self.tokenizer.decode(candidate.token_ids)

    @torch.inference_mode()
    def encode(self, photos: Sequence) -> TweetCapEncoderOutput:
        """Return the encoder's output for photos, one row each.

        Raises:
            PhotoError: one of them can't be read.
        """
        parts = []
        for start in range(0, len(photos), ENCODE_BATCH):
            loaded = [load_photo(photo) for photo in photos[start : start + ENCODE_BATCH]]
            pixel_values = self.processor.image_processor(loaded, return_tensors="pt")["pixel_values"]
            pixel_values = pixel_values.to(self.model.device, memory_format=torch.channels_last)
            parts.append(self.model.encoder(pixel_values))
        return TweetCapEncoderOutput(**{name: torch.cat([part[name] for part in parts]) for name in parts[0].keys()})

    def log_likelihoods(
        self,
        texts: Sequence[str],
        tones: Sequence[str],
        encoded: TweetCapEncoderOutput | None,
        rows: Sequence[int] | None = None,
        registers: Sequence[str | None] | None = None,
    ) -> list[float]:
        """Return log p(text, end | tone, register, photo) in nats for each text.

        Args:
            encoded: from `encode`; None scores without a photo.
            rows: for each text the row of its photo in `encoded`; left out, they run in parallel.
            registers: `plain`, `witty` or, for captions, None.
        """
        registers = registers or [None] * len(texts)
        prompts = [self.tokenizer.prompt_ids(tone, register) for tone, register in zip(tones, registers, strict=True)]
        return log_likelihoods(
            self.model, self.tokenizer, list(texts), prompts, encoded, None if rows is None else list(rows)
        )


def check_settings(*, tone: str | None, tones: Sequence[str], **settings: float) -> None:
    """Raise ValueError, in one sentence, for an unknown tone or a value out of its range."""
    if tone is not None and tone not in tones:
        raise ValueError(f"tone {tone!r} is unknown; choose one of {', '.join(tones)}, or leave it out for a mixture.")
    for name, value in settings.items():
        lowest, highest = RANGES[name]
        if not lowest <= value <= highest:
            raise ValueError(f"{name} {value} is out of range; choose a value from {lowest} to {highest}.")
        if isinstance(lowest, int) and not isinstance(value, int):
            raise ValueError(f"{name} {value} is not a whole number; choose one from {lowest} to {highest}.")
